"""Accounts (RFC 8555 sections 7.1.2 and 7.3) and their binding to an account elsewhere (EAB, section 7.3.4)."""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from types import MappingProxyType

import msgspec

from otscert.acme import members
from otscert.acme.errors import ExternalAccountError
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError

# RFC 7518 section 3.2: HMAC with SHA-2.
_DIGESTS = MappingProxyType({"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"})


class AccountStatus(Enum):
    """The states of RFC 8555 section 7.1.6, and one for a word that we do not know."""

    VALID = "valid"
    DEACTIVATED = "deactivated"
    REVOKED = "revoked"
    UNKNOWN = "unknown"

    @classmethod
    def _missing_(cls, value: object) -> AccountStatus:  # noqa: ARG003 - whatever it is, we do not know it
        return cls.UNKNOWN


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """An account as the CA shows it. `orders` is None at a CA that keeps no list (Let's Encrypt)."""

    url: str
    status: AccountStatus
    contact: tuple[str, ...] = ()
    orders: str | None = None

    @classmethod
    def parse(cls, url: str, document: members.JsonObject) -> Account:
        """Read an account object; never fails, a member that is not usable is not there."""
        return cls(
            url=url,
            status=AccountStatus(document.get("status")),
            contact=members.texts(document, "contact"),
            orders=members.text(document, "orders"),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExternalAccount:
    """What a CA hands out to bind an ACME account to a customer: a key id and a MAC key (never shown)."""

    kid: str
    mac_key: bytes = field(repr=False)
    algorithm: str = "HS256"

    def __post_init__(self) -> None:
        if self.algorithm not in _DIGESTS:
            raise ExternalAccountError(f"the EAB algorithm must be one of {', '.join(_DIGESTS)}")

    @classmethod
    def of(cls, kid: str, mac_key_b64: str, algorithm: str = "HS256") -> ExternalAccount:
        """Read the MAC key in the form that CAs hand out: base64url, padded or not.

        Raises:
            ExternalAccountError: for an unknown algorithm, or a key that is empty or no base64url (never quoted).
        """
        try:
            mac_key = b64.decode(mac_key_b64.strip().rstrip("="))
        except WireError:
            raise ExternalAccountError("the EAB MAC key is not base64url") from None
        if not mac_key:
            raise ExternalAccountError("the EAB MAC key is empty")
        return cls(kid=kid, mac_key=mac_key, algorithm=algorithm)

    def binding(self, account_jwk: Mapping[str, str], new_account_url: str) -> dict[str, str]:
        """Return the `externalAccountBinding` JWS: the account's public key, signed with the MAC key."""
        header = {"alg": self.algorithm, "kid": self.kid, "url": new_account_url}
        protected = b64.encode(msgspec.json.encode(header))
        payload = b64.encode(msgspec.json.encode(account_jwk))
        mac = hmac.digest(self.mac_key, f"{protected}.{payload}".encode("ascii"), _DIGESTS[self.algorithm])
        return {"protected": protected, "payload": payload, "signature": b64.encode(mac)}


def existing_account_payload() -> dict[str, object]:
    """Return the payload of newAccount that only looks up the account of the key (RFC 8555 section 7.3.1)."""
    return {"onlyReturnExisting": True}


def new_account_payload(
    *, contact: Sequence[str], terms_agreed: bool, binding: Mapping[str, str] | None
) -> dict[str, object]:
    """Return the payload of newAccount; `contact` holds URIs ("mailto:..."), or nothing."""
    payload: dict[str, object] = {"termsOfServiceAgreed": terms_agreed}
    if contact:
        payload["contact"] = list(contact)
    if binding is not None:
        payload["externalAccountBinding"] = binding
    return payload
