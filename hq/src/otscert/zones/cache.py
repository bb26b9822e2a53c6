"""Answers as octets, remembered within bounds: what makes a question cost a microsecond.

Knows how many it may keep. Does not know what an answer says: the zone forgets a name when it changes.

The bound is a choice: with 100,000 boxes that are all asked for, everything fits; beyond, the names that were not asked
for longest are built again (a few microseconds each). Two generations approximate "longest" without a list.
"""

from __future__ import annotations

from typing import NamedTuple


class Remembered(NamedTuple):
    """All of an answer but its id and question: the header behind the id, and the sections.

    `origin_offset` is 0 for an answer with records; else the SOA for that offset goes in front of `tail`.
    """

    head: bytes
    origin_offset: int
    tail: bytes
    counter: list[int]


class AnswerCache:
    """From a name, lower-cased on the wire, to its answers by everything else that the query said."""

    __slots__ = ("_entries", "_entries_per_generation", "_older", "recent")

    def __init__(self, *, entries_per_generation: int) -> None:
        self._entries_per_generation = entries_per_generation
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.recent: dict[bytes, dict[bytes, Remembered]] = {}
        self._older: dict[bytes, dict[bytes, Remembered]] = {}
        self._entries = 0

    def forget(self, name: bytes) -> None:
        """Forget all answers of one name."""
        self.recent.pop(name, None)
        self._older.pop(name, None)

    def remember(self, name: bytes, key: bytes, answer: Remembered) -> None:
        """Keep one answer beside those of its name; at the bound, what only the older generation knows is forgotten."""
        answers = self.recent.get(name)
        if answers is None:
            answers = self.recent[name] = self._older.pop(name, {})
            self._entries += len(answers)
        answers[key] = answer
        self._entries += 1
        if self._entries >= self._entries_per_generation:
            self._older = self.recent
            self.recent = {}
            self._entries = 0
