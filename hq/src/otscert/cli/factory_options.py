"""What the factory's commands have in common: the key of manifests, a configuration that need not be there, models."""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import config_in_place, load_config
from otscert.config import Config, ConfigError
from otscert.domain.admission import Policy
from otscert.factory.signing_key import load_key, make_key
from otscert_agent.wire.keys import PublicKey, Signer

KeyOption = Annotated[Path | None, typer.Option("--key", help="The manifest key's file; else factory.key in data_dir.")]


def config_if_there(path: Path | None) -> Config | None:
    """The configuration, None where there is none: the line's computer needs no HQ. One that is named must be there."""
    return load_config(path) if path is not None or config_in_place() is not None else None


def stamping_config(path: Path | None, *, needed: bool) -> Config | None:
    """The configuration for a stamp; one that is neither named nor needed is looked at only if that works."""
    if needed or path is not None:
        return load_config(path)
    try:
        return config_if_there(None)
    except ConfigError:  # HQ's own user may read it, and whoever runs the line may not
        return None


def not_a_model(model: str, loaded: Config) -> str | None:
    """What is wrong with a model that this HQ lacks, with the nearest names; None when HQ has it."""
    if model in loaded.models:
        return None
    near = difflib.get_close_matches(model, loaded.models, n=3, cutoff=0.5) or sorted(loaded.models)
    return f"this HQ has no model {model}, but {', '.join(near)}; {adding(model)} adds it"


def no_factory_policy(model: str, loaded: Config) -> str | None:
    """Why units of this model are not let in for being stamped; None when they are, or HQ lacks the model."""
    known = loaded.models.get(model)
    if known is None or Policy.FACTORY in known.policies:
        return None
    policies = ",".join((Policy.FACTORY, *known.policies))
    return (
        f"model {model} does not have the policy factory, so being stamped lets no unit in:"
        f" otscert model set {model} policies={policies}"
    )


def hindrance(model: str, loaded: Config) -> str | None:
    """Why imported units of this model cannot enrol yet."""
    if model not in loaded.models:
        return f"this HQ has no model {model} yet, so the units are refused until it has: {adding(model)}"
    return no_factory_policy(model, loaded)


def adding(model: str) -> str:
    """The command that adds a model for stamped units."""
    return f"otscert model add {model} --policy {Policy.FACTORY}"


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
