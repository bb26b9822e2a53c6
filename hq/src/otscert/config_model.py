"""What the tables [model.NAME] mean: policies, quotas, assurance, claim tokens, the webhook."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from urllib.parse import urlsplit

from otscert.config_reader import DAY_S, Reader, member, networks, quota
from otscert.config_values import ConfigError
from otscert.domain.addresses import AddressError, AddressPolicy
from otscert.domain.admission import Model, Naming, Policy
from otscert.domain.assurance import Contribution, Source
from otscert.pki import weak_rsa


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookConfig:
    """Where a model's webhook is; `networks` are the private ones in which it may be."""

    url: str
    secret: bytes
    networks: tuple[IPv4Network | IPv6Network, ...]
    trust_file: Path | None


def read_model(reader: Reader, name: str) -> Model:
    prefix = f"model.{name}."
    policies = tuple(member(Policy, f"{prefix}policies", text) for text in reader.get(f"{prefix}policies"))
    try:
        addresses = AddressPolicy(
            networks=networks(reader, f"{prefix}networks"),
            allow_loopback=reader.get(f"{prefix}allow_loopback"),
            computed_names=reader.get(f"{prefix}computed_names"),
            own_global=reader.get(f"{prefix}global_ipv6"),
            https_record=reader.get(f"{prefix}https_record"),
        )
    except AddressError as error:
        raise ConfigError(f"{prefix}networks: {error}") from error
    return Model(
        name=name,
        policies=policies,
        addresses=addresses,
        naming=member(Naming, f"{prefix}naming", reader.get(f"{prefix}naming")),
        static_address=reader.get(f"{prefix}static_address"),
        admissions_per_address=quota(reader, f"{prefix}admissions_per_address_per_day", DAY_S),
        admissions_per_model=quota(reader, f"{prefix}admissions_per_model_per_day", DAY_S),
        admissions_per_token=quota(reader, f"{prefix}admissions_per_token_per_day", DAY_S),
        waiting_per_address=quota(reader, f"{prefix}waiting_per_address_per_day", DAY_S),
        min_contribution=_min_contribution(reader, prefix, policies),
        min_source=member(Source, f"{prefix}min_source", reader.get(f"{prefix}min_source")),
        rekey_after_s=reader.get(f"{prefix}rekey_after_days") * DAY_S,
        allow_rsa=_allow_rsa(reader, prefix, policies),
        webhook=bool(reader.get(f"{prefix}webhook_url")),
        revoke_replaced=reader.get(f"{prefix}revoke_replaced"),
        issuers=tuple(reader.get(f"{prefix}issuers")),
        profile=reader.get(f"{prefix}profile") or None,
    )


def _min_contribution(reader: Reader, prefix: str, policies: tuple[Policy, ...]) -> Contribution:
    text = reader.get(f"{prefix}min_contribution")
    if text:
        return member(Contribution, f"{prefix}min_contribution", text)
    return Contribution.SEALED if policies == (Policy.FACTORY,) else Contribution.OPEN


def _allow_rsa(reader: Reader, prefix: str, policies: tuple[Policy, ...]) -> bool:
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


def read_webhook(reader: Reader, model: str) -> WebhookConfig:
    prefix = f"model.{model}."
    url, secret = reader.get(f"{prefix}webhook_url"), reader.secret(f"{prefix}webhook_secret").encode()
    if not re.fullmatch(r"https://[^\s/?#@]+([/?][^\s#]*)?", url):
        raise ConfigError(f"{prefix}webhook_url must start with https:// and hold no user name or password")
    try:
        urlsplit(url).port  # noqa: B018 - it is looked at where it is read
    except ValueError as error:
        raise ConfigError(f"{prefix}webhook_url cannot be used: {error}") from error
    if len(secret) < 16:
        raise ConfigError(
            f"{prefix}webhook_secret has {len(secret)} bytes, at least 16 are needed: set {prefix}webhook_secret_file"
        )
    return WebhookConfig(
        url=url,
        secret=secret,
        networks=networks(reader, f"{prefix}webhook_networks"),
        trust_file=reader.path(f"{prefix}webhook_trust_file") if reader.get(f"{prefix}webhook_trust_file") else None,
    )


def read_tokens(reader: Reader, model: str) -> tuple[bytes, ...]:
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
