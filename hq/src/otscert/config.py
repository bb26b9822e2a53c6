"""HQ's configuration: one TOML file, overridden by the environment, read once, checked wholly.

The only place that reads the environment. Unknown and malformed settings refuse to start, with the nearest known name.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from otscert.config_values import ConfigError, apply_environment, flatten, known
from otscert.domain.addresses import AddressError, AddressPolicy, IPAddress
from otscert.domain.admission import Model, Naming, Policy
from otscert.domain.assurance import Contribution, Source
from otscert.domain.errors import DomainError
from otscert.domain.names import parse_zone
from otscert.domain.quota import Quota
from otscert.pki import weak_rsa
from otscert.settings import REQUIRED, Kind
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import ED25519, PublicKey

_HOUR_S = 3600
_DAY_S = 24 * _HOUR_S
__all__ = ["Config", "ConfigError", "IssuerConfig", "ZoneConfig", "load", "parse", "split_host_port"]
E = TypeVar("E", Policy, Naming, Contribution, Source)


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


@dataclass(frozen=True, slots=True, kw_only=True)
class ZoneConfig:
    origin: str
    name_servers: tuple[str, ...]
    server_addresses: Mapping[str, tuple[IPAddress, ...]]
    contact: str
    check_servers: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Where a model's webhook is; `networks` are the private ones in which it may be."""

    url: str
    secret: bytes
    networks: tuple[IPv4Network | IPv6Network, ...]
    trust_file: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that was decided before HQ starts.

    Secrets are in `tokens`, `webhooks` and `IssuerConfig.eab_hmac_key` only.
    """

    data_dir: Path
    public_url: str
    trusted_proxies: tuple[IPv4Network | IPv6Network, ...]
    checkin_s: int
    zone: ZoneConfig
    listen_device: tuple[tuple[str, int], ...]
    listen_dns: tuple[tuple[str, int], ...]
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
    models: Mapping[str, Model]
    tokens: Mapping[str, tuple[bytes, ...]]
    webhooks: Mapping[str, WebhookConfig]
    open_admissions: Quota
    stale_s: int
    secret_files: tuple[Path, ...] = ()
    """Files that secrets were read from, for those who look at their modes."""

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
        return split_host_port(self.public_url.split("://", 1)[1].split("/", 1)[0], default_port=443)[0]


def load(path: Path, environment: Mapping[str, str] | None = None) -> Config:
    """Read and check the configuration; raise `ConfigError`."""
    environment = os.environ if environment is None else environment
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path} does not exist; otscert init writes one") from None
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not TOML: it is not UTF-8 text ({error.reason})") from error
    return parse(text, path=path, environment=environment)


def parse(text: str, *, path: Path, environment: Mapping[str, str]) -> Config:
    """Check the text of a configuration as if it stood at `path`; raise `ConfigError`."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    values = flatten(document)
    apply_environment(values, environment)
    return _build(_Reader(values, folder=path.parent))


_TYPES: dict[Kind, type] = {
    Kind.TEXT: str,
    Kind.NUMBER: int,
    Kind.SWITCH: bool,
    Kind.LIST: list,
    Kind.PATH: str,
    Kind.SECRET: str,
    Kind.ADDRESSES: dict,
}


class _Reader:
    """Typed access to the flat values."""

    def __init__(self, values: Mapping[str, Any], *, folder: Path) -> None:
        self._values = values
        self._folder = folder
        self.secret_files: list[Path] = []

    def names(self, table: str) -> list[str]:
        return sorted({name.split(".")[1] for name in self._values if name.startswith(f"{table}.")})

    def get(self, name: str) -> Any:
        setting = known(name)
        if setting is None:
            raise LookupError(name)
        value = self._values.get(name, setting.default)
        if value is REQUIRED:
            raise ConfigError(f"{name} is missing: {setting.sentence}")
        wrong = not isinstance(value, _TYPES[setting.kind]) or (setting.kind is Kind.NUMBER and isinstance(value, bool))
        if wrong or (setting.kind is Kind.LIST and not all(isinstance(item, str) for item in value)):
            article = "" if setting.kind is Kind.SWITCH else "a "
            raise ConfigError(f"{name} must be {article}{setting.kind.value}: {setting.sentence}")
        if setting.kind is Kind.NUMBER and value < 0:
            raise ConfigError(f"{name} must not be negative")
        return value

    def path(self, name: str) -> Path:
        return self._folder / str(self.get(name))

    def secret(self, name: str) -> str:
        """A secret from the environment or from a file; never from the configuration file itself."""
        file = self._values.get(f"{name}_file")
        if file is not None:
            path = self._folder / str(file)
            if path not in self.secret_files:
                self.secret_files.append(path)
            try:
                return path.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise ConfigError(f"{name}_file cannot be read: {path}: {error.strerror}") from error
            except UnicodeDecodeError as error:
                raise ConfigError(f"{name}_file cannot be read: {path} is not UTF-8 text") from error
        return str(self.get(name))


def _build(reader: _Reader) -> Config:
    zone = _zone(reader)
    models = {name: _model(reader, name) for name in reader.names("model")}
    issuers = tuple(_issuer(reader, name) for name in reader.names("issuer"))
    if not models:
        raise ConfigError("there is no model: add a [model.NAME] table for the product line, see docs/settings.md")
    if not issuers:
        raise ConfigError("there is no issuer: add an [issuer.NAME] table with the CA's directory_url")
    if len(issuers) > 1:
        raise ConfigError("there is more than one [issuer.NAME]; this release orders from one")
    return Config(
        data_dir=reader.path("data_dir"),
        public_url=_public_url(reader, zone.origin),
        trusted_proxies=_networks(reader, "trusted_proxies"),
        checkin_s=_at_least(reader, "checkin_s", 1),
        zone=zone,
        listen_device=_endpoints(reader, "listen.device"),
        listen_dns=_endpoints(reader, "listen.dns"),
        hellos_per_address=_quota(reader, "limits.hellos_per_address_per_hour", _HOUR_S),
        hellos_per_model=_quota(reader, "limits.hellos_per_model_per_hour", _HOUR_S),
        orders_per_device=_quota(reader, "limits.orders_per_device_per_week", 7 * _DAY_S),
        manifest_keys=tuple(_manifest_key(text) for text in reader.get("factory.manifest_keys")),
        label_url=_label_url(reader) or _public_url(reader, zone.origin),
        log_level=_one_of(reader, "log.level", ("debug", "info", "warning", "error")),
        log_format=_one_of(reader, "log.format", ("text", "json")),
        issuers=issuers,
        models=models,
        tokens={name: _tokens(reader, name) for name in models},
        webhooks={name: _webhook(reader, name) for name, model in models.items() if model.webhook},
        open_admissions=_quota(reader, "limits.open_admissions_per_day", _DAY_S),
        stale_s=_at_least(reader, "stale_days", 1) * _DAY_S,
        secret_files=tuple(reader.secret_files),
    )


def _public_url(reader: _Reader, origin: str) -> str:
    url = str(reader.get("public_url")).rstrip("/")
    scheme, _, rest = url.partition("://")
    if scheme != "https" or not rest or "/" in rest or "@" in rest or "?" in rest:
        raise ConfigError(f"public_url is {url!r}, but must look like https://hq.example.com:8443, without a path")
    host, _ = split_host_port(rest, default_port=443)
    if host == origin or host.endswith(f".{origin}"):
        raise ConfigError(
            f"public_url lies in the zone {origin}: the zone is for boxes alone, give HQ a name outside of it"
        )
    return url


def _label_url(reader: _Reader) -> str:
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


def _zone(reader: _Reader) -> ZoneConfig:
    try:
        origin = parse_zone(reader.get("zone.origin"))
    except DomainError as error:
        raise ConfigError(f"zone.origin: {error}") from error
    servers = tuple(server.rstrip(".").lower() for server in reader.get("zone.name_servers")) or (f"ns1.{origin}",)
    addresses = {
        host.rstrip(".").lower(): tuple(_address("zone.server_addresses", text) for text in texts)
        for host, texts in reader.get("zone.server_addresses").items()
    }
    for server in servers:
        if server.endswith(f".{origin}") and not addresses.get(server):
            raise ConfigError(
                f'zone.server_addresses has no address for {server}: add "{server}" = ["its public address"]'
            )
    return ZoneConfig(
        origin=origin,
        name_servers=servers,
        server_addresses=addresses,
        contact=reader.get("zone.contact") or f"hostmaster.{origin}",
        check_servers=_endpoints(reader, "zone.check_servers"),
    )


def _model(reader: _Reader, name: str) -> Model:
    prefix = f"model.{name}."
    policies = tuple(_member(Policy, f"{prefix}policies", text) for text in reader.get(f"{prefix}policies"))
    try:
        addresses = AddressPolicy(
            networks=_networks(reader, f"{prefix}networks"), allow_loopback=reader.get(f"{prefix}allow_loopback")
        )
    except AddressError as error:
        raise ConfigError(f"{prefix}networks: {error}") from error
    return Model(
        name=name,
        policies=policies,
        addresses=addresses,
        naming=_member(Naming, f"{prefix}naming", reader.get(f"{prefix}naming")),
        static_address=reader.get(f"{prefix}static_address"),
        admissions_per_address=_quota(reader, f"{prefix}admissions_per_address_per_day", _DAY_S),
        admissions_per_model=_quota(reader, f"{prefix}admissions_per_model_per_day", _DAY_S),
        admissions_per_token=_quota(reader, f"{prefix}admissions_per_token_per_day", _DAY_S),
        waiting_per_address=_quota(reader, f"{prefix}waiting_per_address_per_day", _DAY_S),
        min_contribution=_min_contribution(reader, prefix, policies),
        min_source=_member(Source, f"{prefix}min_source", reader.get(f"{prefix}min_source")),
        rekey_after_s=reader.get(f"{prefix}rekey_after_days") * _DAY_S,
        allow_rsa=_allow_rsa(reader, prefix, policies),
        webhook=bool(reader.get(f"{prefix}webhook_url")),
        revoke_replaced=reader.get(f"{prefix}revoke_replaced"),
    )


def _min_contribution(reader: _Reader, prefix: str, policies: tuple[Policy, ...]) -> Contribution:
    text = reader.get(f"{prefix}min_contribution")
    if text:
        return _member(Contribution, f"{prefix}min_contribution", text)
    return Contribution.SEALED if policies == (Policy.FACTORY,) else Contribution.OPEN


def _allow_rsa(reader: _Reader, prefix: str, policies: tuple[Policy, ...]) -> bool:
    allowed = bool(reader.get(f"{prefix}allow_rsa"))
    if allowed and _min_contribution(reader, prefix, policies) is not Contribution.NONE:
        raise ConfigError(
            f'{prefix}allow_rsa needs {prefix}min_contribution = "none":'
            " HQ's randomness cannot be put into an RSA key in a way that HQ can check"
        )
    missing = weak_rsa.missing() if allowed else None
    if missing is not None:
        raise ConfigError(f"{prefix}allow_rsa: {missing}, or take {prefix}allow_rsa out")
    return allowed


def _webhook(reader: _Reader, model: str) -> WebhookConfig:
    prefix = f"model.{model}."
    url, secret = reader.get(f"{prefix}webhook_url"), reader.secret(f"{prefix}webhook_secret").encode()
    if not re.fullmatch(r"https://[^\s/?#@]+([/?][^\s#]*)?", url):
        raise ConfigError(f"{prefix}webhook_url must start with https:// and hold no user name or password")
    if len(secret) < 16:
        raise ConfigError(
            f"{prefix}webhook_secret has {len(secret)} bytes, at least 16 are needed: set {prefix}webhook_secret_file"
        )
    return WebhookConfig(
        url=url,
        secret=secret,
        networks=_networks(reader, f"{prefix}webhook_networks"),
        trust_file=reader.path(f"{prefix}webhook_trust_file") if reader.get(f"{prefix}webhook_trust_file") else None,
    )


def _tokens(reader: _Reader, model: str) -> tuple[bytes, ...]:
    lines = [line.strip() for line in reader.secret(f"model.{model}.token").splitlines()]
    tokens = tuple(line.encode() for line in lines if line and not line.startswith("#"))
    if any(len(token) < 16 for token in tokens):
        raise ConfigError(f"model.{model}.token: a claim token has at least 16 characters")
    if Policy.TOKEN.value in reader.get(f"model.{model}.policies") and not tokens:
        raise ConfigError(
            f"model.{model} has the policy token but no token: set model.{model}.token_file,"
            " or take token out of its policies"
        )
    return tokens


def _issuer(reader: _Reader, name: str) -> IssuerConfig:
    prefix = f"issuer.{name}."
    directory_url = reader.get(f"{prefix}directory_url")
    if not directory_url.startswith("https://"):
        raise ConfigError(f"{prefix}directory_url must start with https:// (RFC 8555, section 6.1)")
    kid, key = reader.get(f"{prefix}eab_kid"), reader.secret(f"{prefix}eab_hmac_key")
    if bool(kid) != bool(key):
        raise ConfigError(f"{prefix}eab_kid and {prefix}eab_hmac_key belong together; one of them is missing")
    return IssuerConfig(
        name=name,
        directory_url=directory_url,
        contact=tuple(reader.get(f"{prefix}contact")),
        terms_agreed=reader.get(f"{prefix}terms_agreed"),
        profile=reader.get(f"{prefix}profile") or None,
        trust_file=reader.path(f"{prefix}trust_file") if reader.get(f"{prefix}trust_file") else None,
        eab_kid=kid,
        eab_hmac_key=key,
        caa_identity=reader.get(f"{prefix}caa_identity"),
        max_in_flight=_at_least(reader, f"{prefix}max_in_flight", 1),
    )


def _at_least(reader: _Reader, name: str, least: int) -> int:
    value = int(reader.get(name))
    if value < least:
        raise ConfigError(f"{name} must be at least {least}")
    return value


def _quota(reader: _Reader, name: str, period_s: int) -> Quota:
    return Quota(count=reader.get(name), period_s=period_s)


def _one_of(reader: _Reader, name: str, choices: tuple[str, ...]) -> str:
    value = reader.get(name)
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}, but must be one of {', '.join(choices)}")
    return str(value)


def _member(kind: type[E], name: str, text: str) -> E:
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{name} has {text!r}, but knows {', '.join(kind)}") from None


def _address(name: str, text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{name} has {text!r}, which is not an IP address") from None


def _networks(reader: _Reader, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text) for text in reader.get(name))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; write networks such as 10.0.0.0/8") from error


def _endpoints(reader: _Reader, name: str) -> tuple[tuple[str, int], ...]:
    return tuple(split_host_port(text, name=name) for text in reader.get(name))


def split_host_port(text: str, *, name: str = "address", default_port: int | None = None) -> tuple[str, int]:
    """Read `host:port` or `[v6]:port`; raise `ConfigError` naming the setting."""
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, "" if default_port is None else str(default_port)
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise ConfigError(f"{name} has {text!r}, which is not host:port")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)
