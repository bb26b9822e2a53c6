"""What the rules raise: somebody asked for something that cannot be."""

from __future__ import annotations


class DomainError(Exception):
    """A rule of the domain was broken; the text says which and what to do."""


class IllegalMove(DomainError):
    """A state machine was asked for a move that its table does not have."""

    def __init__(self, machine: str, state: str, event: str) -> None:
        super().__init__(f"{machine}: event {event} is not legal in state {state}")
