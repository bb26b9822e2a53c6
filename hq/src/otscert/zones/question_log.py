"""A sample of the questions, for the log: one in so many, without the client's own address.

Knows how to say a question in words. Without sampling none of this is in the way of an answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from otscert.zones import wire
from otscert.zones.counters import rcode_text, type_text
from otscert.zones.errors import MalformedMessageError
from otscert.zones.rate import network_text

_log = logging.getLogger(__name__)
_LONGEST_TEXT = 255

T = TypeVar("T")


class QuestionLog:
    """Logs every `one_in`th question of all answer functions that it watches, as the event dns.question."""

    def __init__(self, *, one_in: int) -> None:
        self._one_in = one_in
        self._seen = 0

    def watch(self, answer: Callable[[bytes, str], T], *, transport: str) -> Callable[[bytes, str], T]:
        """The same answer function, with a sample of its questions in the log."""

        def watched(query: bytes, client: str) -> T:
            result = answer(query, client)
            self._seen += 1
            if self._seen >= self._one_in:
                self._seen = 0
                _write(query, client, result, transport)
            return result

        return watched


def _write(query: bytes, client: str, result: object, transport: str) -> None:
    try:
        question = wire.parse_question(query) if len(query) >= wire.HEADER_BYTES else None
    except MalformedMessageError:
        question = None
    if isinstance(result, bytes):
        code = rcode_text(result[3] & 0xF)
    else:
        code = "silence" if result is None else "several messages"
    fields = {
        "question": name_text(question) if question else "unreadable",
        "type": type_text(question.qtype) if question else "none",
        "code": code,
        "transport": transport,
        "network": network_text(client) if client else "unknown",
    }
    _log.info("dns.question", extra=fields)


def name_text(question: wire.Question) -> str:
    r"""The name as RFC 1035 5.1 writes it (what is not a letter, digit, hyphen or underscore as \\DDD), cut at 255."""
    labels = (question.name[start + 1 : start + 1 + question.name[start]] for start in question.label_starts)
    return (".".join("".join(map(_character, label)) for label in labels) or ".")[:_LONGEST_TEXT]


def _character(octet: int) -> str:
    character = chr(octet)
    return character if octet < 128 and (character.isalnum() or character in "-_") else f"\\{octet:03}"
