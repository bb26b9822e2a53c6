"""What the factory's commands have in common: the key of manifests, and a configuration that need not be there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import config_path, load_config
from otscert.config import Config
from otscert.factory.signing_key import load_key, make_key
from otscert_agent.wire.keys import PublicKey, Signer

KeyOption = Annotated[Path | None, typer.Option("--key", help="The manifest key's file; else factory.key in data_dir.")]


def config_if_there(path: Path | None) -> Config | None:
    """The configuration, None where there is none: the line's computer needs no HQ. One that is named must be there."""
    return load_config(path) if path is not None or config_path(path).exists() else None


def signing_key(path: Path | None, loaded: Config | None) -> tuple[Signer, bool, Path]:
    """The key that signs manifests, whether it was made just now, and its file."""
    file = path or (loaded.factory_key if loaded else None)
    if file is None:
        raise CommandFailed("name the manifest key with --key, or an HQ's configuration with --config")
    known = load_key(file)
    return (known, False, file) if known is not None else (make_key(file), True, file)


def trusted_keys(loaded: Config | None, path: Path | None = None) -> set[PublicKey]:
    """Keys whose manifests are believed: those that the configuration lists, and those of the files that are here."""
    files = [file for file in (path, loaded.factory_key if loaded else None) if file is not None]
    keys = {signer.public for file in files if (signer := load_key(file)) is not None}
    keys.update(loaded.manifest_keys if loaded else ())
    if not keys:
        raise CommandFailed(
            "no manifest key is trusted here: set factory.manifest_keys to the key that otscert factory stamp printed,"
            " or name its file with --key"
        )
    return keys
