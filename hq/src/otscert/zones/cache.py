"""Answers as octets, remembered within bounds: what makes a question cost a microsecond.

Knows how many it may keep. Does not know what an answer says: the zone forgets a name when it changes.

The bound is a choice: with 100,000 boxes that are all asked for, everything fits; beyond, the names that were not asked
for longest are built again (a few microseconds each). Two generations approximate "longest" without a list.
"""

from __future__ import annotations

from typing import NamedTuple

# Resolvers differ in flags and EDNS sizes; whoever asks for one name in more ways than all of them makes them up.
_MOST_WAYS = 256


class Remembered(NamedTuple):
    """All of an answer but its id and question: the header behind the id, and the sections.

    `origin_offset` is 0 for an answer with records; else the SOA for that offset goes in front of `tail`. `stands` is
    emptied when the zone forgets the answer.
    """

    head: bytes
    origin_offset: int
    tail: bytes
    counter: list[int]
    stands: list[bool]


class Whole(NamedTuple):
    """An answer as it went out but for its id; good as long as `stands` is not empty."""

    octets: bytes
    counter: list[int]
    stands: list[bool]


class AnswerCache:
    """From a name, lower-cased on the wire, to its answers by everything else that the query said.

    `whole` knows some of these answers by the query as it came, without its id: what is asked again and again in the
    same letters is then found in one step.
    """

    __slots__ = ("_entries", "_entries_per_generation", "_older", "recent", "whole")

    def __init__(self, *, entries_per_generation: int) -> None:
        self._entries_per_generation = entries_per_generation
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.recent: dict[bytes, dict[bytes, Remembered]] = {}
        self._older: dict[bytes, dict[bytes, Remembered]] = {}
        self.whole: dict[bytes, Whole] = {}
        self._entries = 0

    def forget(self, name: bytes) -> None:
        """Forget all answers of one name."""
        for generation in (self.recent, self._older):
            for answer in generation.pop(name, {}).values():
                answer.stands.clear()

    def remember_whole(self, query: bytes, answer: bytes, known: Remembered) -> None:
        """Keep an answer as it goes out, with its id, for queries that are the same but for theirs."""
        if len(self.whole) >= self._entries_per_generation:
            self.whole.clear()
        self.whole[query[2:]] = Whole(answer[2:], known.counter, known.stands)

    def remember(self, name: bytes, key: bytes, answer: Remembered) -> None:
        """Keep one answer beside those of its name; at the bound, what only the older generation knows is forgotten."""
        answers = self.recent.get(name)
        if answers is None:
            answers = self.recent[name] = self._older.pop(name, {})
            self._entries += len(answers)
        if len(answers) >= _MOST_WAYS:
            # A name that is asked for in every generation would otherwise carry all its answers along for ever.
            self.forget(name)
            answers = self.recent[name] = {}
        answers[key] = answer
        self._entries += 1
        if self._entries >= self._entries_per_generation:
            # What is dropped here could not be told any more that the zone has forgotten it.
            self.whole.clear()
            self._older = self.recent
            self.recent = {}
            self._entries = 0
