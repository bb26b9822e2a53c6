"""HQ's configuration: one TOML file, overridden by the environment, read once, checked wholly.

The only place that reads the environment. Unknown and malformed settings refuse to start, with the nearest known name.
"""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from otscert.acme.directory import ISSUER_DOMAIN
from otscert.config_alerts import AlertsConfig, read_alerts
from otscert.config_dns import DnsConfig, check_computed_names, check_persist, read_challenge_zone, read_dns
from otscert.config_limits import read_limits, read_public_suffix
from otscert.config_model import WebhookConfig, read_model, read_tokens, read_webhook
from otscert.config_reader import (
    DAY_S,
    HOUR_S,
    Reader,
    address_of,
    at_least,
    endpoints,
    networks,
    one_of,
    quota,
    split_host_port,
)
from otscert.config_values import ConfigError, apply_environment, flatten
from otscert.domain.addresses import IPAddress
from otscert.domain.admission import Model
from otscert.domain.errors import DomainError
from otscert.domain.limits import NONE_KNOWN, Limits
from otscert.domain.names import parse_zone
from otscert.domain.quota import Quota
from otscert.owner import who_may
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import ED25519, PublicKey

__all__ = ["Config", "ConfigError", "IssuerConfig", "WebhookConfig", "ZoneConfig", "load", "parse", "split_host_port"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IssuerConfig:
    name: str
    directory_url: str
    contact: tuple[str, ...]
    terms_agreed: bool
    profile: str | None
    trust_file: Path | None
    eab_kid: str
    eab_hmac_key: str
    caa_identity: str
    max_in_flight: int
    limits: Limits = NONE_KNOWN
    """What the CA allows, as far as it is known or set."""
    dns_persist: bool = False
    """Whether dns-persist-01 is answered where the CA offers it."""
    preferred_root: str | None = None
    """Common name of the root below which the chain is wanted, where the CA offers several."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneConfig:
    origin: str
    name_servers: tuple[str, ...]
    server_addresses: Mapping[str, tuple[IPAddress, ...]]
    contact: str
    check_servers: tuple[tuple[str, int], ...]
    public_suffix: bool | None = None
    """Whether CAs take it for a public suffix; None: as the Public Suffix List has it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was decided before HQ starts.

    Secrets are in `database_url`, `tokens`, `webhooks`, `alerts`, `dns` and `IssuerConfig.eab_hmac_key` only.
    """

    data_dir: Path
    database_url: str = field(repr=False)
    """Of PostgreSQL, with its password; empty: SQLite at `database`."""
    public_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    checkin_s: int
    zone: ZoneConfig
    listen_device: tuple[tuple[str, int], ...]
    listen_dns: tuple[tuple[str, int], ...]
    listen_metrics: tuple[tuple[str, int], ...]
    hellos_per_address: Quota
    hellos_per_model: Quota
    orders_per_device: Quota
    manifest_keys: tuple[PublicKey, ...]
    """Whose factory manifests are imported."""
    label_url: str
    """What QR codes on labels begin with."""
    log_level: str
    log_format: str
    issuers: tuple[IssuerConfig, ...]
    """All that are configured; those that new orders go to first, in order of preference."""
    preference: tuple[str, ...]
    """The names of those that new orders go to."""
    models: Mapping[str, Model]
    tokens: Mapping[str, tuple[bytes, ...]]
    webhooks: Mapping[str, WebhookConfig]
    open_admissions: Quota
    stale_s: int
    dns: DnsConfig = field(default_factory=DnsConfig)
    """Who else has the zone, and how the name server behaves."""
    alerts: AlertsConfig = field(default_factory=AlertsConfig)
    """Who is told what is wrong."""
    secret_files: tuple[Path, ...] = ()
    """Files that secrets were read from, for those who look at their modes."""

    @property
    def zone_elsewhere(self) -> bool:
        """Whether other name servers hold the zone, and HQ sends them updates."""
        return self.dns.updates is not None

    @property
    def served_zone(self) -> str:
        """The zone that HQ's own name server answers for; empty where it has none."""
        return self.zone.origin if self.dns.updates is None else self.dns.updates.challenge_zone

    @property
    def database(self) -> Path:
        return self.data_dir / "hq.db"

    @property
    def pki_dir(self) -> Path:
        return self.data_dir / "pki"

    @property
    def factory_key(self) -> Path:
        """The private key that signs the manifests of units stamped here."""
        return self.data_dir / "factory.key"

    @property
    def public_host(self) -> str:
        return _host(self.public_url)


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration; raise `ConfigError`."""
    environment = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; otscert init writes one") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}{who_may(path, error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8 text ({error.reason})") from error
    return parse(text, path=path, environment=environment)


def parse(text: str, *, path: Path, environment: Mapping[str, str]) -> Config:
    """Check the text of a configuration as if it stood at `path`; raise `ConfigError`."""
    try:
        values = flatten(tomllib.loads(text))
    except ValueError as error:  # TOML that is wrong, or a number of thousands of digits
        raise ConfigError(f"{path} is not TOML: {error}") from error
    except RecursionError:
        raise ConfigError(f"{path} is not TOML: it is nested too deeply") from None
    apply_environment(values, environment)
    return _build(Reader(values, folder=path.parent))


def _build(reader: Reader) -> Config:
    zone = _zone(reader)
    models = {name: read_model(reader, name) for name in reader.names("model")}
    issuers, preference = _issuers(reader)
    if not models:
        raise ConfigError("there is no model: add a [model.NAME] table for the product line, see docs/settings.md")
    dns = read_dns(reader)
    check_computed_names(dns, models)
    check_persist(dns, [issuer.name for issuer in issuers if issuer.dns_persist])
    for model in models.values():
        _check_known(f"model.{model.name}.issuers", model.issuers, {issuer.name for issuer in issuers})
    return Config(
        data_dir=reader.path("data_dir"),
        database_url=_database_url(reader),
        public_url=_public_url(reader, zone.origin),
        trusted_proxies=networks(reader, "trusted_proxies"),
        checkin_s=at_least(reader, "checkin_s", 1),
        zone=zone,
        listen_device=endpoints(reader, "listen.device"),
        listen_dns=endpoints(reader, "listen.dns"),
        listen_metrics=_listen_metrics(reader),
        hellos_per_address=quota(reader, "limits.hellos_per_address_per_hour", HOUR_S),
        hellos_per_model=quota(reader, "limits.hellos_per_model_per_hour", HOUR_S),
        orders_per_device=quota(reader, "limits.orders_per_device_per_week", 7 * DAY_S),
        manifest_keys=tuple(_manifest_key(text) for text in reader.get("factory.manifest_keys")),
        label_url=_label_url(reader) or _public_url(reader, zone.origin),
        log_level=one_of(reader, "log.level", ("debug", "info", "warning", "error")),
        log_format=one_of(reader, "log.format", ("text", "json")),
        issuers=issuers,
        preference=preference,
        models=models,
        tokens={name: read_tokens(reader, name) for name in models},
        webhooks={name: read_webhook(reader, name) for name, model in models.items() if model.webhook},
        open_admissions=quota(reader, "limits.open_admissions_per_day", DAY_S),
        stale_s=at_least(reader, "stale_days", 1) * DAY_S,
        dns=dns,
        alerts=read_alerts(reader, host=_host(_public_url(reader, zone.origin))),
        secret_files=tuple(reader.secret_files),
    )


def _database_url(reader: Reader) -> str:
    url = reader.secret("database_url")
    if url and not url.startswith(("postgresql://", "postgres://")):
        # Not shown: whatever it is, it may hold a password.
        raise ConfigError("database_url must look like postgresql://user:password@host:5432/database")
    return url


def _public_url(reader: Reader, origin: str) -> str:
    url = str(reader.get("public_url")).rstrip("/")
    scheme, _, rest = url.partition("://")
    if scheme != "https" or not rest or "/" in rest or "@" in rest or "?" in rest:
        raise ConfigError(f"public_url is {url!r}, but must look like https://hq.example.com:8443, without a path")
    host, _ = split_host_port(rest, default_port=443)
    for zone in (origin, read_challenge_zone(reader)):
        if zone and f".{host}".endswith(f".{zone}"):
            raise ConfigError(
                f"public_url lies in the zone {zone}: the zone is for boxes alone, give HQ a name outside of it"
            )
    return url


def _listen_metrics(reader: Reader) -> tuple[tuple[str, int], ...]:
    metrics = endpoints(reader, "listen.metrics")
    for host, port in metrics:
        if port and (host, port) in endpoints(reader, "listen.device"):
            raise ConfigError(
                f"listen.metrics has {host}:{port}, which listen.device has too: metrics are not for those who reach"
                " the device API, give them a port of their own on loopback or a management network"
            )
    return metrics


def _host(url: str) -> str:
    return split_host_port(url.split("://", 1)[1].split("/", 1)[0], default_port=443)[0]


def _label_url(reader: Reader) -> str:
    url = str(reader.get("factory.label_url")).rstrip("/")
    if url and not re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url):
        raise ConfigError(f"factory.label_url is {url!r}, but must look like https://hq.example.com, without ? and #")
    return url


def _manifest_key(text: str) -> PublicKey:
    try:
        return PublicKey.from_raw(ED25519, b64.decode(text, length=32, what="the key"))
    except WireError as error:
        raise ConfigError(
            f"factory.manifest_keys has {text!r}: {error}; otscert factory stamp prints the key that it signs with"
        ) from error


def _zone(reader: Reader) -> ZoneConfig:
    try:
        origin = parse_zone(reader.get("zone.origin"))
    except DomainError as error:
        raise ConfigError(f"zone.origin: {error}") from error
    served = read_challenge_zone(reader) or origin
    servers = tuple(server.rstrip(".").lower() for server in reader.get("zone.name_servers")) or (f"ns1.{served}",)
    addresses = {
        host.rstrip(".").lower(): tuple(address_of("zone.server_addresses", text) for text in texts)
        for host, texts in reader.get("zone.server_addresses").items()
    }
    for server in servers:
        if reader.get("updates.servers") and served == origin:
            break  # the zone's servers and their addresses are what its primary says
        if server.endswith(f".{served}") and not addresses.get(server):
            raise ConfigError(
                f'zone.server_addresses has no address for {server}: add "{server}" = ["its public address"]'
            )
    return ZoneConfig(
        origin=origin,
        name_servers=servers,
        server_addresses=addresses,
        contact=reader.get("zone.contact") or f"hostmaster.{origin}",
        check_servers=endpoints(reader, "zone.check_servers"),
        public_suffix=read_public_suffix(reader),
    )


def _issuers(reader: Reader) -> tuple[tuple[IssuerConfig, ...], tuple[str, ...]]:
    """All issuers, and the names of those that new orders go to, in order of preference."""
    names = reader.names_in_order("issuer")
    if not names:
        raise ConfigError("there is no issuer: add an [issuer.NAME] table with the CA's directory_url")
    wanted = tuple(reader.get("issuers"))
    _check_known("issuers", wanted, set(names))
    preference = wanted or tuple(names)
    return tuple(_issuer(reader, name) for name in dict.fromkeys((*preference, *names))), preference


def _check_known(setting: str, names: tuple[str, ...], known: set[str]) -> None:
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(sorted(known))}"
            raise ConfigError(f"{setting} names {name!r}, but there is no [issuer.{name}]: {hint}")
        if names.count(name) > 1:
            raise ConfigError(f"{setting} names {name!r} twice: each issuer has one place in the order of preference")


def _issuer(reader: Reader, name: str) -> IssuerConfig:
    prefix = f"issuer.{name}."
    directory_url = reader.get(f"{prefix}directory_url")
    if not directory_url.startswith("https://"):
        raise ConfigError(f"{prefix}directory_url must start with https:// (RFC 8555, section 6.1)")
    kid, key = reader.get(f"{prefix}eab_kid"), reader.secret(f"{prefix}eab_hmac_key")
    if bool(kid) != bool(key):
        raise ConfigError(f"{prefix}eab_kid and {prefix}eab_hmac_key belong together; one of them is missing")
    try:
        b64.decode(key.strip().rstrip("="), what="the key")
    except WireError as error:
        # Never quoted: it is a secret, and a slip in it is one letter.
        raise ConfigError(
            f"{prefix}eab_hmac_key is not base64url (letters, digits, - and _): copy it again from the CA's page"
        ) from error
    identity = reader.get(f"{prefix}caa_identity")
    if identity and not ISSUER_DOMAIN.fullmatch(identity):
        raise ConfigError(f"{prefix}caa_identity is {identity!r}, but must be a domain name such as letsencrypt.org")
    return IssuerConfig(
        name=name,
        directory_url=directory_url,
        contact=tuple(reader.get(f"{prefix}contact")),
        terms_agreed=reader.get(f"{prefix}terms_agreed"),
        profile=reader.get(f"{prefix}profile") or None,
        trust_file=reader.path(f"{prefix}trust_file") if reader.get(f"{prefix}trust_file") else None,
        eab_kid=kid,
        eab_hmac_key=key,
        caa_identity=identity,
        max_in_flight=at_least(reader, f"{prefix}max_in_flight", 1),
        limits=read_limits(reader, prefix, directory_url),
        dns_persist=reader.get(f"{prefix}dns_persist"),
        preferred_root=reader.get(f"{prefix}preferred_root") or None,
    )
