"""`otscert init`: HQ's own root, a configuration to start from, and what to tell the parent zone."""

from __future__ import annotations

import secrets
import time
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli.options import examples, load_config
from otscert.config import ConfigError
from otscert.domain.errors import DomainError
from otscert.domain.names import parse_zone
from otscert.pki.files import PkiFolder

EXAMPLES = examples(
    "otscert init --zone boxes.example.com --public-url https://hq.example.com:8443 --address 192.0.2.1",
    "otscert init ... --issuer letsencrypt --contact ops@example.com --agree-terms",
)
DIRECTORIES = {
    "letsencrypt": "https://acme-v02.api.letsencrypt.org/directory",
    "letsencrypt-staging": "https://acme-staging-v02.api.letsencrypt.org/directory",
}


def init(
    *,
    zone: Annotated[str, typer.Option(help="The zone for boxes, such as boxes.example.com, used for nothing else.")],
    public_url: Annotated[str, typer.Option(help="The URL at which boxes will reach HQ.")],
    address: Annotated[str, typer.Option(help="HQ's public IP address, for the zone's name server.")],
    model: Annotated[str, typer.Option(help="The name of the first product line.")] = "box",
    issuer: Annotated[str, typer.Option(help="letsencrypt-staging, letsencrypt, or an ACME directory URL.")] = (
        "letsencrypt-staging"
    ),
    contact: Annotated[str, typer.Option(help="An e-mail address for the CA account.")] = "",
    agree_terms: Annotated[bool, typer.Option("--agree-terms", help="You agree to the CA's terms.")] = False,
    config: Annotated[Path, typer.Option("--config", "-c", help="The file to write.")] = Path("otscert.toml"),
    data_dir: Annotated[Path, typer.Option(help="The data folder, relative to the file.")] = Path("hq-data"),
    encrypt_root: Annotated[
        bool, typer.Option("--encrypt-root", help="Ask for a passphrase for HQ's root key.")
    ] = False,
) -> None:
    """Make HQ's root and answer key, write a configuration, and say what to delegate in DNS."""
    try:
        origin = parse_zone(zone)
    except DomainError as error:
        raise ConfigError(str(error)) from error
    if config.exists():
        raise ConfigError(f"{config} exists; move it away first, or edit it")
    passphrase = (
        typer.prompt("Passphrase for the root key", hide_input=True, confirmation_prompt=True) if encrypt_root else ""
    )
    folder = config.parent / data_dir
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    token = folder / f"token-{model}"
    text = _document(
        origin=origin,
        public_url=public_url,
        address=address,
        model=model,
        issuer=issuer,
        contact=contact,
        agree_terms=agree_terms,
        data_dir=data_dir,
    )
    candidate = config.with_name(f".{config.name}.new")
    candidate.write_text(text, encoding="utf-8")
    try:
        if not token.exists():
            token.touch(mode=0o600)
            token.write_text(secrets.token_urlsafe(24) + "\n", encoding="utf-8")
        loaded = load_config(candidate)
        pki = PkiFolder(folder=folder / "pki")
        pki.create(
            zone=origin, hosts=(loaded.public_host,), passphrase=passphrase.encode() or None, now_s=int(time.time())
        )
        candidate.rename(config)
    finally:
        candidate.unlink(missing_ok=True)
    _tell(config, pki, origin=origin, address=address, token=token, encrypted=encrypt_root)


def _document(
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
device = ["0.0.0.0:8443"]
dns = ["0.0.0.0:53"]

[issuer.{name}]
directory_url = "{DIRECTORIES.get(issuer, issuer)}"
contact = {contacts}
terms_agreed = {str(agree_terms).lower()}

[model.{model}]
policies = ["token"]
token_file = "{data_dir}/token-{model}"
"""


def _tell(config: Path, pki: PkiFolder, *, origin: str, address: str, token: Path, encrypted: bool) -> None:
    label, _, parent = origin.partition(".")
    family = "AAAA" if ":" in address else "A"
    typer.echo(f"Wrote {config} and HQ's own keys in {pki.folder}.")
    typer.echo("")
    typer.echo(f"1. In the zone {parent}, delegate {label} to HQ:")
    typer.echo(f"     {origin}.      NS   ns1.{origin}.")
    typer.echo(f"     ns1.{origin}.  {family:4} {address}")
    typer.echo(f"2. Put into the firmware: {pki.root_pem} (the root that boxes pin) and the token in {token}.")
    typer.echo("3. Run: otscert doctor, then otscert serve.")
    if not encrypted:
        typer.echo(f"Keep a copy of {pki.folder} offline: whoever has root.key can speak for HQ to every box.")
