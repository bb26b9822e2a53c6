"""`otscert zone export`: what the store holds for the zone, as a zone file; HQ may run meanwhile, and need not."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TextIO

import typer

from otscert.cli import database, show
from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, load_config
from otscert.cli.progress import Progress
from otscert.config import Config

if TYPE_CHECKING:
    from otscert.store.transaction import Transaction

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="Write to this file, wholly or not at all, not to stdout."),
]
_NOT_IN_IT = (
    "Names with an address in them (192-168-1-20.<label>) are not in it: HQ's name server computes them, and another"
    " one has to as well (docs/dns.md)."
)


class _Ended(Exception):
    """The command is being ended; the thread that writes has to end too."""


def export(config: ConfigOption = None, output: OutputOption = None) -> None:
    """Write the zone as a zone file (RFC 1035) that other name servers read. Works while HQ runs, and without it."""
    loaded = load_config(config)
    if loaded.zone_elsewhere:
        raise CommandFailed(
            "the zone is held by updates.servers, and what is in it besides boxes is known there only: export it there"
            f" (dig AXFR {loaded.zone.origin}, named-compilezone, knotc zone-backup)"
        )
    if output is None:
        boxes = _to_stdout(loaded)
    else:
        with _replaced(output) as file:
            boxes = asyncio.run(_write(loaded, file))
    where = f" to {output}" if output else ""
    some = any(model.computed_names for model in loaded.models.values())
    typer.echo(f"{boxes:,} boxes written{where}.{f' {_NOT_IN_IT}' if some else ''}", err=True)


def _to_stdout(config: Config) -> int:
    try:
        boxes = asyncio.run(_write(config, sys.stdout))
        sys.stdout.flush()
    except BrokenPipeError:
        raise  # the reader has enough, and the command ends quietly
    except OSError as error:
        # What is still in stdout's buffer would fail once more when Python ends, with an exit status of its own.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CommandFailed(
            f"stdout cannot be written ({error.strerror}): what is there is not the whole zone"
        ) from error
    return boxes


async def _write(config: Config, file: TextIO) -> int:
    """Write all lines, in a thread; return how many boxes."""
    from otscert.ops.zone_export import zone_lines  # noqa: PLC0415 - dnspython: 0.2 s for other commands
    from otscert.roles.dns import make_zone  # noqa: PLC0415 - as above
    from otscert.zones.errors import ZoneError  # noqa: PLC0415 - as above

    progress, ended, written = Progress(), threading.Event(), 0

    def work(transaction: Transaction) -> None:
        nonlocal written
        total = sum(group.count for group in transaction.statistics.devices() if group.in_dns)

        def on_page(boxes: int) -> None:
            nonlocal written
            if ended.is_set():
                raise _Ended
            written = boxes
            progress("boxes", boxes, total)

        lines = zone_lines(
            transaction,
            new_zone=lambda: make_zone(config),
            models=config.models,
            issuers=[issuer.name for issuer in config.issuers],
            moment=show.moment(int(time.time())),
            on_page=on_page,
        )
        file.writelines(f"{line}\n" for line in lines)

    store = database.open_store(config)
    try:
        await store.survey(work)
    except ZoneError as error:
        raise CommandFailed(f"a box's row does not fit into the zone: {error}") from error
    finally:
        ended.set()
        progress.finish()
        await store.close()
    return written


@contextmanager
def _replaced(path: Path) -> Iterator[TextIO]:
    """A new file that takes the place of `path` once it is whole and on disk; nothing changes when the block raises."""
    real = path.resolve()
    fresh = real.with_name(f".{real.name}.new-{os.getpid()}")
    try:
        if real.exists() and not real.is_file():
            raise CommandFailed(f"{path} is not a file: leave --output out to write to stdout")
        with fresh.open("w", encoding="ascii") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        fresh.rename(real)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written ({error.strerror}): it is as it was") from error
    finally:
        fresh.unlink(missing_ok=True)
