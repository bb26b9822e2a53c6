"""What the table [alerts] means: who is told, through which channels, when the digest comes."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from email.utils import parseaddr
from ipaddress import ip_address
from urllib.parse import urlsplit

from otscert.config_reader import Reader, networks, one_of
from otscert.config_values import ConfigError
from otscert.notify.channel_config import AlertWebhookConfig, MailConfig, Security, apprise_missing

MAIL, WEBHOOK = "mail", "webhook"
_PORTS = {Security.TLS: 465, Security.STARTTLS: 587, Security.NONE: 25}
_ADDRESS = re.compile(r"[^\s@<>\",;:()\\]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_TIME = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])")


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsConfig:
    """A channel that is not configured is None or empty. `digest_at_s` are seconds since midnight UTC."""

    mail: MailConfig | None = None
    webhook: AlertWebhookConfig | None = None
    apprise_urls: tuple[str, ...] = field(default=(), repr=False)
    digest_at_s: int | None = None
    away_boxes: int = 1

    @property
    def names(self) -> tuple[str, ...]:
        """The channels as the outbox calls them."""
        found = [MAIL] if self.mail else []
        found += [WEBHOOK] if self.webhook else []
        return (*found, *(apprise_name(number) for number, _ in enumerate(self.apprise_urls, 1)))


def apprise_name(number: int) -> str:
    """The channel of the URL on this line, from 1."""
    return f"apprise-{number}"


def read_alerts(reader: Reader, *, host: str) -> AlertsConfig:
    """`host` is HQ's public name, by which it greets mail servers; raises `ConfigError`."""
    return AlertsConfig(
        mail=_mail(reader, host),
        webhook=_webhook(reader),
        apprise_urls=_apprise(reader),
        digest_at_s=_digest(reader),
        away_boxes=reader.get("alerts.away_boxes"),
    )


def _mail(reader: Reader, host: str) -> MailConfig | None:
    recipients, server = tuple(reader.get("alerts.email_to")), str(reader.get("alerts.smtp_host"))
    if not recipients:
        if server:
            raise ConfigError("alerts.smtp_host is set, but nobody is to be told: set alerts.email_to")
        return None
    sender = str(reader.get("alerts.email_from"))
    for name, text in (("alerts.email_from", parseaddr(sender)[1]), *(("alerts.email_to", to) for to in recipients)):
        if not (text.isascii() and _ADDRESS.fullmatch(text)):
            raise ConfigError(f"{name} has {text!r}, which is not an e-mail address such as ops@example.com")
    if not server or not re.fullmatch(r"[A-Za-z0-9._:-]+", server):
        raise ConfigError(f"alerts.smtp_host is {server!r}, but must name the mail server, without a port")
    security = Security(one_of(reader, "alerts.smtp_security", tuple(Security)))
    port = int(reader.get("alerts.smtp_port")) or _PORTS[security]
    if port > 65_535:
        raise ConfigError(f"alerts.smtp_port is {port}, which is no port")
    user, password = str(reader.get("alerts.smtp_user")), reader.secret("alerts.smtp_password")
    if bool(user) != bool(password):
        raise ConfigError("alerts.smtp_user and alerts.smtp_password_file belong together; one of them is missing")
    if security is Security.NONE and password and not _is_loopback(server):
        raise ConfigError(
            'alerts.smtp_security is "none", which would send the password in the clear: use starttls or tls'
        )
    trust = reader.path("alerts.smtp_trust_file") if reader.get("alerts.smtp_trust_file") else None
    return MailConfig(
        host=server,
        port=port,
        security=security,
        sender=sender,
        recipients=recipients,
        greeting=host,
        user=user,
        password=password,
        trust_file=trust,
    )


def _webhook(reader: Reader) -> AlertWebhookConfig | None:
    url = str(reader.get("alerts.webhook_url"))
    if not url:
        return None
    if not re.fullmatch(r"https://[^\s/?#@]+([/?][^\s#]*)?", url):
        raise ConfigError("alerts.webhook_url must start with https:// and hold no user name or password")
    try:
        urlsplit(url).port  # noqa: B018 - it is looked at where it is read
    except ValueError as error:
        raise ConfigError(f"alerts.webhook_url cannot be used: {error}") from error
    secret = reader.secret("alerts.webhook_secret").encode()
    if len(secret) < 16:
        raise ConfigError(
            f"alerts.webhook_secret has {len(secret)} bytes, at least 16 are needed: set alerts.webhook_secret_file"
        )
    return AlertWebhookConfig(
        url=url,
        secret=secret,
        networks=networks(reader, "alerts.webhook_networks"),
        trust_file=reader.path("alerts.webhook_trust_file") if reader.get("alerts.webhook_trust_file") else None,
    )


def _apprise(reader: Reader) -> tuple[str, ...]:
    """The URLs; what is wrong with one is said without showing it."""
    lines = [line.strip() for line in reader.secret("alerts.apprise_urls").splitlines()]
    urls = tuple(line for line in lines if line and not line.startswith("#"))
    problem = apprise_missing() if urls else None
    if problem is not None:
        raise ConfigError(f"alerts.apprise_urls: {problem}, or take alerts.apprise_urls_file out")
    for number, url in enumerate(urls, 1):
        if not re.match(r"[A-Za-z0-9]+://.", url):
            raise ConfigError(f"alerts.apprise_urls: URL {number} is none that Apprise takes, such as slack://...")
    return urls


def _digest(reader: Reader) -> int | None:
    text = str(reader.get("alerts.digest_at"))
    if text == "off":
        return None
    found = _TIME.fullmatch(text)
    if found is None:
        raise ConfigError(f"alerts.digest_at is {text!r}, but must be a time in UTC such as 07:30, or off")
    return int(found[1]) * 3600 + int(found[2]) * 60


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
