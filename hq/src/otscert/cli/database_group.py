"""`otscert database`: which schema it has, a newer one for it, a backup of it, and moving it to PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from otscert.cli import show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config
from otscert.store.backup import back_up
from otscert.store.migrating import found_version, upgrade
from otscert.store.opening import describe
from otscert.store.schema import SCHEMA_VERSION


def commands() -> typer.Typer:
    group = typer.Typer(help="HQ's database: its schema, backups, the move to PostgreSQL.", no_args_is_help=True)
    group.callback()(_group)
    group.command("status", short_help="Which schema it has.", epilog=examples("otscert database status --json"))(
        status
    )
    group.command(
        "upgrade",
        short_help="Give an older database this release's schema.",
        epilog=examples("otscert database upgrade"),
    )(upgrade_database)
    group.command(
        "backup",
        short_help="Copy SQLite's database, also while HQ runs.",
        epilog=examples("otscert database backup /var/backups/hq.db"),
    )(backup_database)
    group.command("copy", short_help="Copy SQLite's rows into PostgreSQL.", epilog=examples("otscert database copy"))(
        copy_database
    )
    return group


def _group() -> None:
    """HQ's database: its schema, backups, the move to PostgreSQL."""


def status(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Show where the database is, and which schema it has and needs. Status 1 when HQ could not start with it."""
    loaded = load_config(config)
    found = found_version(loaded)
    document: dict[str, Any] = {"database": describe(loaded), "schema": found, "needed": SCHEMA_VERSION}
    if as_json:
        show.print_json(document)
    else:
        has = "none yet: otscert serve makes it" if found is None else str(found)
        show.print_fields(document["database"], {"schema": has, "needed by this release": str(SCHEMA_VERSION)})
    if found is not None and found != SCHEMA_VERSION:
        older = found < SCHEMA_VERSION
        typer.echo(
            "Stop HQ and run otscert database upgrade." if older else "A newer release made it: run that one.", err=True
        )
        raise typer.Exit(1)


def upgrade_database(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Give an older database the schema of this release; HQ has to be stopped. SQLite is backed up beside it first."""
    loaded = load_config(config)
    with _hq_stopped(loaded):
        done = upgrade(loaded)
    if as_json:
        version = done.version if done else found_version(loaded)
        backup = str(done.backup) if done and done.backup else None
        show.print_json({"upgraded": done is not None, "schema": version, "backup": backup})
    elif done is None:
        typer.echo("There is nothing to upgrade.")
    else:
        kept = f" It is as it was before in {done.backup}." if done.backup else ""
        typer.echo(f"The database had schema {done.found} and has schema {done.version} now.{kept}")


def backup_database(
    file: Annotated[Path, typer.Argument(help="Where the copy is written; it must not be there yet.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Copy SQLite's database as it is at one moment; HQ may run. The copy is of mode 0600 and on disk."""
    loaded = load_config(config)
    if loaded.database_url:
        raise CommandFailed("the database is PostgreSQL: back it up with pg_dump, see docs/postgresql.md")
    if not loaded.database.exists():
        raise CommandFailed(f"there is no database at {loaded.database} yet: otscert serve makes it")
    back_up(loaded.database, to=file)
    if as_json:
        show.print_json({"backup": str(file), "bytes": file.stat().st_size})
    else:
        typer.echo(f"{file} is a copy of the database. Keep it with a copy of the folder {loaded.pki_dir}.")


def copy_database(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Copy all rows of SQLite in the data folder into the empty PostgreSQL of database_url; HQ has to be stopped."""
    loaded = load_config(config)
    if not loaded.database_url:
        raise CommandFailed("there is no database_url, so nowhere to copy to: see docs/postgresql.md")
    if not loaded.database.exists():
        raise CommandFailed(f"there is no database at {loaded.database}, so nothing to copy")
    from otscert.store.copying import copy_to_postgresql  # noqa: PLC0415 - the driver is an extra

    with _hq_stopped(loaded):
        rows = copy_to_postgresql(loaded.database, loaded.database_url)
    if as_json:
        show.print_json({"copied": True, "rows": rows})
    else:
        typer.echo(f"{sum(rows.values()):,} rows of {loaded.database} are in {describe(loaded)} now; start HQ.")


@contextmanager
def _hq_stopped(config: Config) -> Iterator[None]:
    from otscert.process import CannotStart, only_one  # noqa: PLC0415 - all of HQ is behind it

    try:
        with only_one(config.data_dir):
            yield
    except CannotStart as error:
        raise CommandFailed(str(error)) from error
