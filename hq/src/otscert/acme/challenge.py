"""Challenges (RFC 8555 sections 7.1.5 and 8): any type is read, dns-01 is understood.

dns-persist-01 has no token and the next type may have no anything, so nothing but `type` is taken for granted.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from enum import Enum

from otscert.acme import members
from otscert.acme.problem import Problem
from otscert_agent.wire import b64

DNS_01 = "dns-01"
DNS_PERSIST_01 = "dns-persist-01"


class ChallengeStatus(Enum):
    """The states of RFC 8555 section 7.1.6, and one for a word that we do not know."""

    PENDING = "pending"
    PROCESSING = "processing"
    VALID = "valid"
    INVALID = "invalid"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> ChallengeStatus:  # noqa: ARG003 - whatever it is, we do not know it
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Challenge:
    """One way that the CA offers to prove control of an identifier."""

    type: str
    url: str | None
    status: ChallengeStatus
    token: str | None = None
    error: Problem | None = None
    issuer_domains: tuple[str, ...] = ()
    """Of dns-persist-01: what the CA is called in the records that it takes, in lower case."""

    @classmethod
    def parse(cls, value: object) -> Challenge:
        """Read a challenge object of any type; never fails."""
        document = members.mapping(value)
        return cls(
            type=members.text(document, "type") or "",
            url=members.text(document, "url"),
            status=ChallengeStatus(document.get("status")),
            token=members.text(document, "token"),
            error=Problem.parse(document.get("error")),
            issuer_domains=tuple(each.lower() for each in members.texts(document, "issuer-domain-names")),
        )


def dns01_value(token: str, thumbprint: str) -> str:
    """Return the TXT value for a dns-01 challenge (RFC 8555 sections 8.1 and 8.4).

    "keyAuthorization = token || '.' || base64url(Thumbprint(accountKey))"; the record holds "the base64url encoding
    of [its SHA-256] digest".
    """
    return b64.encode(hashlib.sha256(f"{token}.{thumbprint}".encode()).digest())


def persist_value(issuer_domain: str, account_url: str) -> str:
    """Return the TXT value that lets an account have certificates for a name and its wildcard, for good.

    draft-ietf-acme-dns-persist-01: an issue-value (RFC 8659 4.2) without a final semicolon; `accounturi` is compared
    octet by octet.
    """
    return f"{issuer_domain}; accounturi={account_url}; policy=wildcard"
