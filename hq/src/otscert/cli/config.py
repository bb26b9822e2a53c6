"""`otscert config`: can the configuration be used, and is it what its maker meant?"""

from __future__ import annotations

from typing import Annotated

import typer

from otscert.cli.findings import print_findings
from otscert.cli.options import ConfigOption, JsonOption, config_path, examples, load_config
from otscert.cli.show import print_json
from otscert.config import Config, ConfigError
from otscert.ops.doctor_config import config_warnings


def commands() -> typer.Typer:
    group = typer.Typer(help="The configuration.", no_args_is_help=True)
    group.callback()(_group)
    group.command(
        "check",
        short_help="Can it be used, and is it meant so?",
        epilog=examples("otscert config check", "otscert config check --strict --json"),
    )(check)
    return group


def _group() -> None:
    """The configuration."""


def _need_data_folder(loaded: Config) -> None:
    """Raise when HQ could not start for want of it: a wrong data_dir, or a disk that is not mounted."""
    if not loaded.data_dir.is_dir():
        raise ConfigError(
            f"data_dir is {loaded.data_dir}, which is not there or is no folder: HQ does not start;"
            " correct data_dir, mount the disk that it is on, or make one with otscert init"
        )


def check(
    config: ConfigOption = None,
    *,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for warnings, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Load the configuration as HQ does, and warn of what is allowed but seldom meant."""
    try:
        loaded = load_config(config)
        _need_data_folder(loaded)
    except ConfigError as error:
        if not as_json:
            raise
        print_json({"ok": False, "error": str(error), "findings": []})
        raise typer.Exit(1) from error
    warnings = config_warnings(loaded)
    good = not (strict and warnings)
    print_findings(warnings, as_json=as_json, good=good)
    if not as_json:
        count = f", with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}" if warnings else ""
        typer.echo(f"{config_path(config)} can be used{count}.")
    if not good:
        raise typer.Exit(1)
