"""The one error of a run."""

from __future__ import annotations


class BenchError(Exception):
    """A figure could not be taken; the text says why."""
