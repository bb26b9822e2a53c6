"""What the tables [dns], [tsig.NAME], [secondary.NAME] and [updates] mean: who else has the zone, and how."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from otscert.config_reader import Reader, endpoints, one_of
from otscert.config_values import ConfigError
from otscert.domain.admission import Model
from otscert.domain.errors import DomainError
from otscert.domain.names import parse_zone

ALGORITHMS = ("hmac-sha256", "hmac-sha384", "hmac-sha512")
# RFC 8945 8: a key is to be as long as the digest; less than 128 bits is refused.
_SHORTEST_KEY_BYTES = 16

ServerAddress = tuple[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class TsigConfig:
    """A TSIG key (RFC 8945): its name as in messages, its algorithm, and its octets."""

    name: str
    algorithm: str
    secret: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SecondaryConfig:
    """A name server that transfers the zone from HQ; `servers` are told when it changes."""

    name: str
    servers: tuple[ServerAddress, ...]
    key: TsigConfig
    computes_names: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdatesConfig:
    """The server that holds the zone in HQ's place.

    `challenge_zone` is the zone of challenges, which HQ serves; empty when those are sent as updates too.
    `challenge_servers` are its name servers, each process with the role dns; empty: this process's own.
    """

    servers: tuple[ServerAddress, ...]
    key: TsigConfig
    challenge_zone: str = ""
    challenge_servers: tuple[ServerAddress, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DnsConfig:
    rate_limit_per_s: int = 200
    """UDP answers a second to one network without a cookie; 0: no limit."""
    share_port: bool = False
    log_one_in: int = 0
    """0: no question is logged."""
    secondaries: tuple[SecondaryConfig, ...] = ()
    updates: UpdatesConfig | None = None
    """None: HQ serves the zone itself."""


def read_dns(reader: Reader) -> DnsConfig:
    """Read them; raise `ConfigError`."""
    keys = {name: _tsig(reader, name) for name in reader.names("tsig")}
    return DnsConfig(
        rate_limit_per_s=reader.get("dns.rate_limit_per_s"),
        share_port=reader.get("dns.share_port"),
        log_one_in=reader.get("dns.log_one_in"),
        secondaries=tuple(_secondary(reader, name, keys) for name in reader.names("secondary")),
        updates=_updates(reader, keys),
    )


def check_computed_names(dns: DnsConfig, models: Mapping[str, Model]) -> None:
    """Raise `ConfigError` where a secondary would deny names that HQ answers: computed names are no records."""
    computing = sorted(name for name, model in models.items() if model.computed_names)
    if computing and dns.updates is not None:
        raise ConfigError(
            f"updates.servers names who holds the zone, and model.{computing[0]}.computed_names is true: names that say"
            " an address (192-168-1-20 below a box's name) are computed, so they cannot be written into a zone. Set"
            f" model.{computing[0]}.computed_names = false"
        )
    plain = sorted(secondary.name for secondary in dns.secondaries if not secondary.computes_names)
    if computing and plain:
        raise ConfigError(
            f"secondary.{plain[0]} transfers the zone, and model.{computing[0]}.computed_names is true: names that say"
            " an address (192-168-1-20 below a box's name) are computed, so they are not transferred and that server"
            f" would deny them. Set model.{computing[0]}.computed_names = false, or have the server compute them"
            f" (examples/knot-secondary) and set secondary.{plain[0]}.computes_names = true"
        )


def check_persist(dns: DnsConfig, issuers: Sequence[str]) -> None:
    """Raise `ConfigError` where an issuer of these, which prove names for good, has no zone that shows the record."""
    if issuers and dns.updates is not None:
        raise ConfigError(
            f"updates.servers names who holds the zone, and issuer.{issuers[0]}.dns_persist is true: HQ does not send"
            " the record _validation-persist of every box to servers elsewhere. Set"
            f" issuer.{issuers[0]}.dns_persist = false, and names are proved by dns-01"
        )


def _tsig(reader: Reader, name: str) -> TsigConfig:
    prefix = f"tsig.{name}."
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9_-]{0,61}[A-Za-z0-9])?", name):
        raise ConfigError(f"tsig.{name}: the name of a TSIG key is a host name's label")
    try:
        secret = base64.b64decode(reader.secret(f"{prefix}secret"), validate=True)
    except (binascii.Error, ValueError):
        # Never quoted: it is a secret.
        raise ConfigError(f"{prefix}secret is not base64, as tsig-keygen and keymgr print it") from None
    if len(secret) < _SHORTEST_KEY_BYTES:
        raise ConfigError(
            f"{prefix}secret has {len(secret)} octets, at least {_SHORTEST_KEY_BYTES} are needed: set"
            f" {prefix}secret_file (openssl rand -base64 32 makes a key)"
        )
    return TsigConfig(name=name.lower(), algorithm=one_of(reader, f"{prefix}algorithm", ALGORITHMS), secret=secret)


def _key(setting: str, name: str, keys: Mapping[str, TsigConfig]) -> TsigConfig:
    if name not in keys:
        raise ConfigError(f"{setting} is {name!r}, but there is no [tsig.{name or 'NAME'}] with its secret_file")
    return keys[name]


def _secondary(reader: Reader, name: str, keys: Mapping[str, TsigConfig]) -> SecondaryConfig:
    prefix = f"secondary.{name}."
    return SecondaryConfig(
        name=name,
        servers=endpoints(reader, f"{prefix}servers"),
        key=_key(f"{prefix}key", reader.get(f"{prefix}key"), keys),
        computes_names=reader.get(f"{prefix}computes_names"),
    )


def _updates(reader: Reader, keys: Mapping[str, TsigConfig]) -> UpdatesConfig | None:
    servers = endpoints(reader, "updates.servers")
    challenge_zone, challenge_servers = read_challenge_zone(reader), endpoints(reader, "updates.challenge_servers")
    if not servers:
        if challenge_zone or challenge_servers or reader.get("updates.key"):
            raise ConfigError("updates.servers is empty, so HQ serves the zone itself: take the rest of [updates] out")
        return None
    if not endpoints(reader, "zone.check_servers"):
        raise ConfigError(
            "updates.servers is set, so zone.check_servers must name every public name server of the zone (host:port):"
            " before a CA is told, HQ asks each of them whether it serves the challenge"
        )
    if challenge_servers and not challenge_zone:
        raise ConfigError("updates.challenge_servers is set, but there is no updates.challenge_zone that they serve")
    return UpdatesConfig(
        servers=servers,
        key=_key("updates.key", reader.get("updates.key"), keys),
        challenge_zone=challenge_zone,
        challenge_servers=challenge_servers,
    )


def read_challenge_zone(reader: Reader) -> str:
    """Read `updates.challenge_zone`, empty when there is none; raise `ConfigError`."""
    text = str(reader.get("updates.challenge_zone"))
    if not text:
        return ""
    try:
        zone, boxes = parse_zone(text), parse_zone(reader.get("zone.origin"))
    except DomainError as error:
        raise ConfigError(f"updates.challenge_zone: {error}") from error
    if f".{zone}".endswith(f".{boxes}") or f".{boxes}".endswith(f".{zone}"):
        raise ConfigError(
            f"updates.challenge_zone is {zone}, and the boxes' zone is {boxes}: neither may lie in the other, because"
            f" HQ serves only the first; delegate one beside it to HQ, such as acme.{boxes.split('.', 1)[1]}"
        )
    return zone
