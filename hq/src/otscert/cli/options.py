"""Options that several commands share, and the examples below a command's help."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from otscert.config import Config, ConfigError, load, parse

_PLACES = (Path("otscert.toml"), Path("/etc/otscert/otscert.toml"))

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        "-c",
        envvar="OTSCERT_CONFIG",
        help="The configuration file; else ./otscert.toml, else /etc/otscert/otscert.toml.",
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON for scripts instead of text for people.")]
LimitOption = Annotated[int, typer.Option("--limit", min=1, max=10_000, help="How many to list.")]
AfterOption = Annotated[str, typer.Option("--after", help="Go on after this id, the last one of the page before.")]


def load_config(path: Path | None) -> Config:
    """Load the configuration from where the option or convention says; raises `ConfigError`."""
    return load(config_path(path), os.environ)


def check_text(text: str, path: Path, *, model: str, token: str) -> Config:
    """Check a configuration that is not written yet, nor is the file of its model's token; raises `ConfigError`."""
    variable = f"OTSCERT_MODEL_{model.upper().replace('-', '_')}_TOKEN"
    return parse(text, path=path, environment={**os.environ, variable: token})


def config_path(path: Path | None) -> Path:
    """Where the configuration is read from; raises `ConfigError` when none is named and none is in its places."""
    found = path or config_in_place()
    if found is None:
        raise ConfigError(
            f"no {_PLACES[0]} in {Path.cwd()}; --config FILE or OTSCERT_CONFIG names another, otscert init writes one"
        )
    return found


def config_in_place() -> Path | None:
    """The configuration that is used when none is named; None when there is none."""
    return next((place for place in _PLACES if place.exists()), None)


def examples(*lines: str) -> str:
    """The epilogue of a command's help: one example a line."""
    return "\n\n".join(("Examples:", *lines))
