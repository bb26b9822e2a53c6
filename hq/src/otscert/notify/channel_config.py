"""How the channels of alerts are configured: values alone, so that reading a configuration loads no network code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path


class Security(StrEnum):
    STARTTLS = "starttls"  # RFC 3207
    TLS = "tls"  # from the first byte: RFC 8314, section 3.3
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class MailConfig:
    """`user` is empty where no log-in is wanted. `greeting` is this machine's name for the server."""

    host: str
    port: int
    security: Security
    sender: str
    recipients: Sequence[str]
    greeting: str
    user: str = ""
    password: str = field(default="", repr=False)
    trust_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertWebhookConfig:
    """`networks` are the private ones in which the server may be."""

    url: str = field(repr=False)
    secret: bytes = field(repr=False)
    networks: tuple[IPv4Network | IPv6Network, ...]
    trust_file: Path | None


def apprise_missing() -> str | None:
    """Why Apprise cannot be used; None when it can."""
    return None if find_spec("apprise") else "Apprise is not installed: pip install 'otscert[apprise]'"
