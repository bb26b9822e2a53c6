"""`otscert init`: HQ's own root, a configuration to start from, and what to tell the parent zone.

Everything is checked before the first byte is written, so that what is refused leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.init_text import DIRECTORIES, document, next_steps
from otscert.cli.options import check_text, examples
from otscert.config import Config, ConfigError
from otscert.domain.errors import DomainError
from otscert.domain.names import parse_zone
from otscert.pki.files import PkiFolder

EXAMPLES = examples(
    "otscert init --zone boxes.example.com --public-url https://hq.example.com:8443 --address 192.0.2.1",
    "otscert init ... --issuer letsencrypt --contact ops@example.com --agree-terms",
)
_MODEL = re.compile(r"[A-Za-z0-9_-]+")


def init(
    *,
    zone: Annotated[
        str, typer.Option(help="Needed: the zone for boxes, such as boxes.example.com, used for nothing else.")
    ] = "",
    public_url: Annotated[str, typer.Option(help="Needed: the URL at which boxes will reach HQ.")] = "",
    address: Annotated[str, typer.Option(help="Needed: HQ's public IP address, for the zone's name server.")] = "",
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
    _need({"--zone": zone, "--public-url": public_url, "--address": address})
    _check_words(address=address, model=model, issuer=issuer)
    try:
        origin = parse_zone(zone)
    except DomainError as error:
        raise ConfigError(str(error)) from error
    text = document(
        origin=origin,
        public_url=public_url,
        address=address,
        model=model,
        issuer=issuer,
        contact=contact,
        agree_terms=agree_terms,
        data_dir=data_dir,
    )
    files = _Files(config=config, folder=config.parent / data_dir, token=config.parent / data_dir / f"token-{model}")
    token = secrets.token_urlsafe(24)
    loaded = check_text(text, config, model=model, token=token)
    files.refuse_unless_free()
    passphrase = (
        typer.prompt("Passphrase for the root key", hide_input=True, confirmation_prompt=True) if encrypt_root else ""
    )
    files.write(text, token=token, loaded=loaded, passphrase=passphrase.encode() or None)
    steps = next_steps(
        loaded, config=config, address=address, root=files.pki.root_pem, token=files.token, closed=encrypt_root
    )
    typer.echo("\n".join(steps))


def _need(given: dict[str, str]) -> None:
    missing = [option for option, value in given.items() if not value]
    if missing:
        raise typer.BadParameter("needed, but not given", param_hint=missing)


def _check_words(*, address: str, model: str, issuer: str) -> None:
    """Judge options under the names that they have on the command line."""
    if issuer not in DIRECTORIES and not issuer.startswith("https://"):
        choices = f"{', '.join(DIRECTORIES)}, or the https:// URL of an ACME directory"
        raise typer.BadParameter(f"{issuer!r} is not known; write {choices}", param_hint="--issuer")
    if not _MODEL.fullmatch(model):
        raise typer.BadParameter(f"{model!r} is not a name of letters, digits, - and _", param_hint="--model")
    try:
        ip_address(address)
    except ValueError:
        raise typer.BadParameter(f"{address!r} is not an IP address", param_hint="--address") from None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Files:
    """What is written, and where."""

    config: Path
    folder: Path
    token: Path

    @property
    def pki(self) -> PkiFolder:
        return PkiFolder(folder=self.folder / "pki")

    def refuse_unless_free(self) -> None:
        """Raise when a file is there already, or cannot be written."""
        try:
            if self.config.exists():
                raise ConfigError(f"{self.config} exists; move it away first, or edit it")
            if self.pki.root_pem.exists():
                raise CommandFailed(self.pki.root_exists())
        except PermissionError as error:
            raise _cannot_write(Path(str(error.filename)), error) from error
        for folder in (self.config.parent, self.folder):
            nearest = next(each for each in (folder, *folder.absolute().parents) if each.exists())
            if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
                raise _cannot_write(nearest, PermissionError(0, "Permission denied"))

    def write(self, text: str, *, token: str, loaded: Config, passphrase: bytes | None) -> None:
        """Write all; the configuration, which says that all is there, comes last."""
        candidate = self.config.with_name(f".{self.config.name}.new")
        try:
            self.config.parent.mkdir(parents=True, exist_ok=True)
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                candidate.write_text(text, encoding="utf-8")
                if not self.token.exists():
                    self.token.touch(mode=0o600)
                    self.token.write_text(f"{token}\n", encoding="utf-8")
                hosts, now_s = (loaded.public_host,), int(time.time())
                self.pki.create(zone=loaded.zone.origin, hosts=hosts, passphrase=passphrase, now_s=now_s)
                candidate.rename(self.config)
            finally:
                candidate.unlink(missing_ok=True)
        except OSError as error:
            raise _cannot_write(Path(str(error.filename or self.folder)), error) from error


def _cannot_write(path: Path, error: OSError) -> CommandFailed:
    return CommandFailed(
        f"{path} cannot be written ({error.strerror}): run this as the user that owns it (sudo),"
        " or choose another place with --config"
    )
