"""Orders (RFC 8555 sections 7.1.3 and 7.4): what the CA says about one, and how one is asked for.

It does not know where HQ is with an order; that state machine is `otscert.domain`'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from otscert.acme import members
from otscert.acme.identifier import Identifier
from otscert.acme.problem import Problem


class OrderStatus(Enum):
    """The states of RFC 8555 section 7.1.6, and one for a word that we do not know (poll again, it may pass)."""

    PENDING = "pending"
    READY = "ready"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> OrderStatus:  # noqa: ARG003 - whatever it is, we do not know it
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One certificate being obtained, as the CA sees it; `finalize`, `certificate` are None until the CA names them."""

    url: str
    status: OrderStatus
    identifiers: tuple[Identifier, ...]
    authorizations: tuple[str, ...]
    finalize: str | None
    certificate: str | None = None
    expires: datetime | None = None
    error: Problem | None = None
    profile: str | None = None
    replaces: str | None = None

    @property
    def names(self) -> frozenset[str]:
        """The DNS names in lower case; a wildcard keeps its `*.`."""
        return frozenset(each.value.lower() for each in self.identifiers if each.type == "dns")

    @classmethod
    def parse(cls, url: str, document: members.JsonObject) -> Order:
        """Read an order object; never fails, a member that is not usable is not there."""
        return cls(
            url=url,
            status=OrderStatus(document.get("status")),
            identifiers=Identifier.parse_all(members.items(document, "identifiers")),
            authorizations=members.texts(document, "authorizations"),
            finalize=members.text(document, "finalize"),
            certificate=members.text(document, "certificate"),
            expires=members.moment(document, "expires"),
            error=Problem.parse(document.get("error")),
            profile=members.text(document, "profile"),
            replaces=members.text(document, "replaces"),
        )


def new_order_payload(names: Sequence[str], *, profile: str | None, replaces: str | None) -> dict[str, object]:
    """Return the payload of newOrder for DNS `names`; `replaces` is an ARI certificate id (RFC 9773 section 5)."""
    payload: dict[str, object] = {"identifiers": [{"type": "dns", "value": name} for name in names]}
    if profile is not None:
        payload["profile"] = profile
    if replaces is not None:
        payload["replaces"] = replaces
    return payload
