"""Options that several commands share."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from otscert.config import Config, load

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


def load_config(path: Path | None) -> Config:
    """Load the configuration from where the option or convention says; raises `ConfigError`."""
    return load(path or next((place for place in _PLACES if place.exists()), _PLACES[0]), os.environ)
