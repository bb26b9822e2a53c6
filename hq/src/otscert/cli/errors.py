"""What a command raises when it cannot do what was asked."""

from __future__ import annotations


class CommandFailed(Exception):
    """The text says what is wrong and what to do; it is printed as it stands, and the exit status is 1."""
