"""One HTTP answer of a CA, read whole within the size cap; it knows headers and JSON, not resources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime

from multidict import CIMultiDictProxy

from otscert.acme import fault, link, members, retry_after
from otscert.acme.fault import Asked
from otscert.acme.problem import Problem
from otscert.ca.errors import CaAnswerError

MAX_BODY_BYTES = 1 << 20  # the longest honest answer, a page of orders or a chain, is a few dozen kB


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Status, headers and body; `url` is what was asked, `received` when."""

    url: str
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes
    received: datetime

    @property
    def nonce(self) -> str | None:
        return self.headers.get("Replay-Nonce")

    @property
    def location(self) -> str | None:
        return self.headers.get("Location")

    @property
    def retry_after_s(self) -> float | None:
        return retry_after.parse(self.headers.get("Retry-After"), self.received)

    def links(self, relation: str) -> tuple[str, ...]:
        return link.targets(self.headers.getall("Link", []), relation, self.url)

    def document(self) -> Mapping[str, object]:
        """Return the JSON object in the body.

        Raises:
            CaAnswerError: when it is something else. A maintenance page with status 200 looks like that.
        """
        document = members.json_object(self.body)
        if document is None:
            kind = self.headers.get("Content-Type", "no content type")[:80]
            raise CaAnswerError(f"HTTP {self.status} holds no JSON object ({kind!r})", self.retry_after_s)
        return document

    def fault(self, asked: Asked = Asked.OTHER) -> fault.Fault:
        """Sort this answer, whose status is 300 or above, into its class."""
        problem = Problem.parse(members.json_object(self.body))
        found = fault.classify(self.status, problem, self.headers, self.received, asked=asked)
        if found.remedy is not fault.Remedy.ACCOUNT or found.link is not None:
            return found
        # RFC 8555 section 7.3.3: userActionRequired comes with the link to the terms.
        return replace(found, link=next(iter(self.links("terms-of-service")), None))
