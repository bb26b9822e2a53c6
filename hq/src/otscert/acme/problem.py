"""Problem documents (RFC 7807, RFC 8555 section 6.7) as values; what to do about one is `fault`'s business."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.acme import members
from otscert.acme.identifier import Identifier

ACME_URN = "urn:ietf:params:acme:error:"
MAX_SUBPROBLEMS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """What a CA says went wrong.

    `type` is the URI as sent ("about:blank" when there is none: RFC 7807 section 3.1). `identifier` stands in
    subproblems only (RFC 8555 section 6.7.1). `instance` is where a person is sent (userActionRequired).
    """

    type: str
    detail: str = ""
    title: str = ""
    status: int | None = None
    instance: str | None = None
    identifier: Identifier | None = None
    subproblems: tuple[Problem, ...] = ()

    @property
    def name(self) -> str | None:
        """The error's name in ACME's own namespace ("badNonce"), None for a type of somebody else's."""
        return self.type.removeprefix(ACME_URN) if self.type.startswith(ACME_URN) else None

    @classmethod
    def parse(cls, value: object) -> Problem | None:
        """Return the problem in decoded JSON; None when `value` is no object or has nothing of a problem in it."""
        if not isinstance(value, dict) or value.keys().isdisjoint(("type", "detail", "title", "subproblems")):
            return None
        return cls._of(value, nested=members.items(value, "subproblems")[:MAX_SUBPROBLEMS])

    @classmethod
    def _of(cls, document: members.JsonObject, nested: list[object]) -> Problem:
        # "a subproblem ... MUST NOT contain further subproblems" (6.7.1 by its construction): one level is read.
        return cls(
            type=members.text(document, "type") or "about:blank",
            detail=members.text(document, "detail") or "",
            title=members.text(document, "title") or "",
            status=members.whole_number(document, "status"),
            instance=members.text(document, "instance"),
            identifier=Identifier.parse(document.get("identifier")),
            subproblems=tuple(cls._of(members.mapping(item), nested=[]) for item in nested),
        )

    def __str__(self) -> str:
        head = f"{self.name or self.type}: {self.detail or self.title}".removesuffix(": ")
        subject = f" ({self.identifier.value})" if self.identifier else ""
        return "; ".join([head + subject, *map(str, self.subproblems)])
