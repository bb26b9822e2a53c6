"""Typed access to the values of a configuration: one method or function for each kind, each with its sentence.

Knows kinds and spellings. Which settings belong together, and what they mean, is `config`'s and `config_model`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from pathlib import Path
from typing import Any, TypeVar

from otscert.config_values import ConfigError, known
from otscert.domain.addresses import IPAddress
from otscert.domain.admission import Naming, Policy
from otscert.domain.assurance import Contribution, Source
from otscert.domain.quota import Quota
from otscert.owner import who_may
from otscert.settings import REQUIRED, Kind

HOUR_S = 3600
DAY_S = 24 * HOUR_S
MOST = 2**31 - 1
"""So many days are still a number of seconds that the database can hold."""
E = TypeVar("E", Policy, Naming, Contribution, Source)
_TYPES: dict[Kind, type] = {
    Kind.TEXT: str,
    Kind.NUMBER: int,
    Kind.SWITCH: bool,
    Kind.LIST: list,
    Kind.PATH: str,
    Kind.SECRET: str,
    Kind.ADDRESSES: dict,
}


class Reader:
    """Typed access to the flat values."""

    def __init__(self, values: Mapping[str, Any], *, folder: Path) -> None:
        self._values = values
        self._folder = folder
        self.secret_files: list[Path] = []

    def names(self, table: str) -> list[str]:
        return sorted({name.split(".")[1] for name in self._values if name.startswith(f"{table}.")})

    def names_in_order(self, table: str) -> list[str]:
        """As `names`, but as they stand in the file."""
        return list(dict.fromkeys(name.split(".")[1] for name in self._values if name.startswith(f"{table}.")))

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
        if setting.kind is Kind.NUMBER and value > MOST:
            raise ConfigError(f"{name} must not be larger than {MOST}")
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
                hint = who_may(path, error)
                raise ConfigError(f"{name}_file cannot be read: {path}: {error.strerror}{hint}") from error
            except UnicodeDecodeError as error:
                raise ConfigError(f"{name}_file cannot be read: {path} is not UTF-8 text") from error
        return str(self.get(name))


def at_least(reader: Reader, name: str, least: int) -> int:
    value = int(reader.get(name))
    if value < least:
        raise ConfigError(f"{name} must be at least {least}")
    return value


def quota(reader: Reader, name: str, period_s: int) -> Quota:
    return Quota(count=reader.get(name), period_s=period_s)


def one_of(reader: Reader, name: str, choices: tuple[str, ...]) -> str:
    value = reader.get(name)
    if value not in choices:
        raise ConfigError(f"{name} is {value!r}, but must be one of {', '.join(choices)}")
    return str(value)


def member(kind: type[E], name: str, text: str) -> E:
    try:
        return kind(text)
    except ValueError:
        raise ConfigError(f"{name} has {text!r}, but knows {', '.join(kind)}") from None


def address_of(name: str, text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise ConfigError(f"{name} has {text!r}, which is not an IP address") from None


def networks(reader: Reader, name: str) -> tuple[IPv4Network | IPv6Network, ...]:
    try:
        return tuple(ip_network(text) for text in reader.get(name))
    except ValueError as error:
        raise ConfigError(f"{name}: {error}; write networks such as 10.0.0.0/8") from error


def endpoints(reader: Reader, name: str) -> tuple[tuple[str, int], ...]:
    return tuple(split_host_port(text, name=name) for text in reader.get(name))


def split_host_port(text: str, *, name: str = "address", default_port: int | None = None) -> tuple[str, int]:
    """Read `host:port` or `[v6]:port`; raise `ConfigError` naming the setting."""
    host, colon, port = text.rpartition(":")
    if text.endswith("]") or not colon:
        host, port = text, "" if default_port is None else str(default_port)
    if not port.isascii() or not port.isdigit() or int(port) > 65535 or not host:
        raise ConfigError(f"{name} has {text!r}, which is not host:port")
    return host.removeprefix("[").removesuffix("]").lower(), int(port)
