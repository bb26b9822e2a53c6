"""The directory (RFC 8555 section 7.1.1): where a CA's resources are and what it says about itself."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from otscert.acme import members

REQUIRED = ("newNonce", "newAccount", "newOrder")
# RFC 8659 4.2: issuer-domain-name, with the bounds of a host's name. Whatever else stands in its place would be read as
# a parameter of the zone's records, or could not be written into them.
ISSUER_DOMAIN = re.compile(
    r"(?=.{1,253}\Z)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*", re.IGNORECASE | re.ASCII
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """The `meta` member. `profiles` maps a profile's name to its description (draft-ietf-acme-profiles).

    `caa_identities` are domain names; what a CA says there besides is left out.
    """

    terms_of_service: str | None = None
    website: str | None = None
    caa_identities: tuple[str, ...] = ()
    external_account_required: bool = False
    profiles: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, value: object) -> Meta:
        document = members.mapping(value)
        profiles = members.mapping(document.get("profiles"))
        return cls(
            terms_of_service=members.text(document, "termsOfService"),
            website=members.text(document, "website"),
            caa_identities=tuple(filter(ISSUER_DOMAIN.fullmatch, members.texts(document, "caaIdentities"))),
            external_account_required=members.flag(document, "externalAccountRequired"),
            profiles={name: about for name, about in profiles.items() if isinstance(about, str)},
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Directory:
    """The URLs of a CA; those in `REQUIRED` are never empty, the others may be None."""

    new_nonce: str
    new_account: str
    new_order: str
    revoke_cert: str | None = None
    key_change: str | None = None
    renewal_info: str | None = None
    meta: Meta = field(default_factory=Meta)

    def urls(self) -> dict[str, str]:
        """The resources that the CA has, by the names of RFC 8555 section 9.7.5 (and RFC 9773 section 8)."""
        named = {
            "newNonce": self.new_nonce,
            "newAccount": self.new_account,
            "newOrder": self.new_order,
            "revokeCert": self.revoke_cert,
            "keyChange": self.key_change,
            "renewalInfo": self.renewal_info,
        }
        return {name: url for name, url in named.items() if url}

    @classmethod
    def parse(cls, document: members.JsonObject) -> Directory | tuple[str, ...]:
        """Return the directory, or the names of the required members that it lacks."""
        lacks = tuple(name for name in REQUIRED if not members.text(document, name))
        if lacks:
            return lacks
        return cls(
            new_nonce=members.text(document, "newNonce") or "",
            new_account=members.text(document, "newAccount") or "",
            new_order=members.text(document, "newOrder") or "",
            revoke_cert=members.text(document, "revokeCert"),
            key_change=members.text(document, "keyChange"),
            renewal_info=members.text(document, "renewalInfo"),
            meta=Meta.parse(document.get("meta")),
        )
