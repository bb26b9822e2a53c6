"""Authorizations (RFC 8555 section 7.1.4): the right to certify one identifier, and the challenges that give it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from otscert.acme import members
from otscert.acme.challenge import DNS_01, DNS_PERSIST_01, Challenge
from otscert.acme.identifier import Identifier


class AuthorizationStatus(Enum):
    """The states of RFC 8555 section 7.1.6, and one for a word that we do not know."""

    PENDING = "pending"
    VALID = "valid"
    INVALID = "invalid"
    DEACTIVATED = "deactivated"
    EXPIRED = "expired"
    REVOKED = "revoked"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> AuthorizationStatus:  # noqa: ARG003 - whatever it is, we do not know it
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Authorization:
    """What the CA says about one identifier; for a wildcard the identifier is the base name and `wildcard` is True."""

    url: str
    status: AuthorizationStatus
    identifier: Identifier | None
    wildcard: bool
    challenges: tuple[Challenge, ...]
    expires: datetime | None = None

    @property
    def dns01(self) -> Challenge | None:
        """The dns-01 challenge that can be answered: one with a URL and a token."""
        usable = (each for each in self.challenges if each.type == DNS_01 and each.url and each.token)
        return next(usable, None)

    @property
    def dns_persist(self) -> Challenge | None:
        """The dns-persist-01 challenge that can be answered: it has no token."""
        usable = (each for each in self.challenges if each.type == DNS_PERSIST_01 and each.url and each.issuer_domains)
        return next(usable, None)

    @classmethod
    def parse(cls, url: str, document: members.JsonObject) -> Authorization:
        """Read an authorization object; never fails, a member that is not usable is not there."""
        return cls(
            url=url,
            status=AuthorizationStatus(document.get("status")),
            identifier=Identifier.parse(document.get("identifier")),
            wildcard=members.flag(document, "wildcard"),
            challenges=tuple(map(Challenge.parse, members.items(document, "challenges"))),
            expires=members.moment(document, "expires"),
        )
