"""The texts of `otscert init`: the configuration to start from, and what is to be done next. Writes nothing."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from otscert.config import Config, IssuerConfig

PRODUCTION = "letsencrypt"
STAGING = "letsencrypt-staging"
DIRECTORIES = {
    STAGING: "https://acme-staging-v02.api.letsencrypt.org/directory",
    PRODUCTION: "https://acme-v02.api.letsencrypt.org/directory",
}
_HTTPS_PORT = 443
_DEFAULT_PLACE = Path("otscert.toml")


def document(
    *,
    origin: str,
    public_url: str,
    address: str,
    model: str,
    issuer: str,
    contact: str,
    agree_terms: bool,
    data_dir: Path,
) -> str:
    """Return a configuration as TOML; whether its values can be used is `config`'s to say."""
    name = issuer if issuer in DIRECTORIES else "ca"
    contacts = f'["mailto:{contact}"]' if contact else "[]"
    return f"""# HQ's configuration; every setting is in docs/settings.md.
data_dir = "{data_dir}"
public_url = "{public_url}"

[zone]
origin = "{origin}"
name_servers = ["ns1.{origin}"]

[zone.server_addresses]
"ns1.{origin}" = ["{address}"]

[listen]
device = ["0.0.0.0:{_port(public_url)}"]
dns = ["0.0.0.0:53"]

[issuer.{name}]
directory_url = "{DIRECTORIES.get(issuer, issuer)}"
contact = {contacts}
terms_agreed = {str(agree_terms).lower()}

[model.{model}]
policies = ["token"]
token_file = "{data_dir}/token-{model}"
"""


def _port(public_url: str) -> int:
    """The port at which boxes will come; a URL that is none is refused by `config`, whatever this says."""
    try:
        return urlsplit(public_url).port or _HTTPS_PORT
    except ValueError:
        return _HTTPS_PORT


def next_steps(config_: Config, *, config: Path, address: str, root: Path, token: Path, closed: bool) -> list[str]:
    """Return the lines to print; `closed` says that the root key has a passphrase."""
    origin, issuer = config_.zone.origin, config_.issuers[0]
    label, _, parent = origin.partition(".")
    family = "AAAA" if ":" in address else "A"
    option = "" if config == _DEFAULT_PLACE else f" --config {config}"
    steps = [
        (
            f"In the zone {parent}, delegate {label} to HQ:\n"
            f"     {origin}.      NS   ns1.{origin}.\n"
            f"     ns1.{origin}.  {family:4} {address}"
        ),
        f"Put into the firmware: {root} (the root that boxes pin) and the token in {token}.",
        *_terms(issuer, config=config, option=option),
        f"Run: otscert doctor{option}, then otscert serve{option}.",
        *_production(issuer, config=config),
    ]
    return [
        f"Wrote {config} and HQ's own keys in {root.parent}.",
        "",
        *(f"{number}. {step}" for number, step in enumerate(steps, 1)),
        *([] if closed else [f"Keep a copy of {root.parent} offline: whoever has root.key can speak for HQ to all."]),
    ]


def _terms(issuer: IssuerConfig, *, config: Path, option: str) -> list[str]:
    if issuer.terms_agreed:
        return []
    return [
        (
            f"Read the CA's terms (otscert issuer test{option} shows where they are), then set terms_agreed = true in\n"
            f"   [issuer.{issuer.name}] of {config}: before that the CA registers no account and issues nothing.\n"
            "   (--agree-terms says so at once.)"
        )
    ]


def _production(issuer: IssuerConfig, *, config: Path) -> list[str]:
    if issuer.name != STAGING:
        return []
    return [
        (
            f"Browsers do not trust what staging issues. Once boxes come up, rename [issuer.{STAGING}] in {config} to\n"
            f'   [issuer.{PRODUCTION}], with directory_url = "{DIRECTORIES[PRODUCTION]}".'
        )
    ]
