"""Stamps a batch: a secret for every unit, and the files that the line, the printer and HQ are given.

All is made in a folder beside the one that was asked for, which gets its name when everything is on disk; whatever goes
wrong before, nothing is left. Knows no HQ. The secrets are in the units' folders and nowhere else.
"""

from __future__ import annotations

import base64
import csv
import io
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from otscert.domain import setup_code
from otscert.factory.errors import FactoryError
from otscert.factory.labels import A_SHEET, Label, page_of, write_sheet
from otscert.factory.manifest import Header, ManifestWriter, Row
from otscert.factory.unit_folder import UNITS_FOLDER, Form, UnitFacts, sync_folder, write_durably, write_unit
from otscert_agent.wire import b64
from otscert_agent.wire.factory import SECRET_BYTES, Factory
from otscert_agent.wire.keys import Signer

MANIFEST_FILE = "manifest.jsonl"
LINE_FILE = "line.csv"
_SHORT_ID_BYTES = 8
_SHORT_ID_LENGTH = 12
COLUMNS = ("serial", "short_id", "setup_code", "folder", "labels", "page", "url")


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What to stamp. `serials` is None when the maker numbers nothing: then the short id is the serial number."""

    model: str
    name: str
    made_at: str
    count: int
    serials: Sequence[str] | None
    label_url: str
    form: Form
    hold: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stamped:
    row: Row
    setup_code: str
    url: str


Progress = Callable[[str, int, int], None]
"""What is being made, how many of them are, and how many there will be."""


def stamp(batch: Batch, out: Path, signer: Signer, progress: Progress = lambda _what, _done, _all: None) -> list[str]:
    """Make the folder `out`, whole or not at all; returns the names in it. Raises `FactoryError`."""
    with _made_whole(out) as folder:
        stamped = _stamp_units(batch, folder / UNITS_FOLDER, progress)
        sheets = _write_labels(batch, stamped, folder, progress)
        _write_line(stamped, folder / LINE_FILE)
        _write_manifest(batch, stamped, signer, folder / MANIFEST_FILE)
    return [MANIFEST_FILE, LINE_FILE, *sheets, UNITS_FOLDER]


@contextmanager
def _made_whole(out: Path) -> Iterator[Path]:
    """A new folder that becomes `out` when the block ends, and nothing when it raises."""
    if out.exists() or out.is_symlink():
        raise FactoryError(f"{out} exists; a batch is stamped into a new folder, and no secret is ever replaced")
    folder = out.with_name(f".{out.name}.{secrets.token_hex(4)}.partial")
    try:
        try:
            folder.mkdir(mode=0o700)
            yield folder
            sync_folder(folder)
            folder = folder.rename(out)
            sync_folder(out.parent)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    except OSError as error:
        raise FactoryError(
            f"{out} cannot be made: {error.strerror}; nothing was left behind, and no secret was given out"
        ) from error
    except BrokenExecutor as error:
        raise FactoryError(
            f"{out} cannot be made: a process that draws labels was ended, perhaps for want of memory;"
            " nothing was left behind, and no secret was given out"
        ) from error


def _stamp_units(batch: Batch, folder: Path, progress: Progress) -> list[_Stamped]:
    """Every unit with its folder. Hashing and waiting for the disk are what takes long, and both let others run."""
    folder.mkdir(mode=0o700)
    short_ids = _short_ids(batch.count)
    serials = batch.serials or short_ids
    stamped: list[_Stamped] = []
    with ThreadPoolExecutor(max_workers=2 * (os.cpu_count() or 1)) as pool:
        waiting: list[Future[_Stamped]] = []
        try:
            waiting = [
                pool.submit(_stamp_unit, batch, folder, serial, short_id)
                for serial, short_id in zip(serials, short_ids, strict=True)
            ]
            for done in waiting:
                stamped.append(done.result())
                progress("units", len(stamped), batch.count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    sync_folder(folder)
    return stamped


def _short_ids(count: int) -> list[str]:
    ids: dict[str, None] = {}
    while len(ids) < count:
        ids[base64.b32encode(secrets.token_bytes(_SHORT_ID_BYTES)).decode("ascii").lower()[:_SHORT_ID_LENGTH]] = None
    return list(ids)


def _stamp_unit(batch: Batch, folder: Path, serial: str, short_id: str) -> _Stamped:
    factory = Factory.from_bytes(secrets.token_bytes(SECRET_BYTES))
    code = setup_code.make(secrets.token_bytes(setup_code.RANDOM_BYTES))
    public, url = factory.public, f"{batch.label_url}/u/{short_id}"
    facts = UnitFacts(
        model=batch.model,
        serial=serial,
        short_id=short_id,
        batch=batch.name,
        thumbprint=public.thumbprint(),
        sign=b64.encode(public.sign.raw),
        seal=b64.encode(public.seal),
        url=url,
    )
    write_unit(folder / serial, factory, facts, form=batch.form, hold=batch.hold)
    setup_hash = setup_code.hash_code(code, model=batch.model, serial=serial)
    row = Row(serial=serial, short_id=short_id, public=public, setup_hash=setup_hash)
    return _Stamped(row=row, setup_code=setup_code.shown(code), url=url)


def _sheet_name(number: int) -> str:
    return f"labels-{number + 1}.pdf"


def _write_labels(batch: Batch, stamped: Sequence[_Stamped], folder: Path, progress: Progress) -> list[str]:
    """Label sheets of 1008; a process each, because drawing is all that they do."""
    sheets = [stamped[start : start + A_SHEET] for start in range(0, len(stamped), A_SHEET)]
    names = [_sheet_name(number) for number in range(len(sheets))]
    labels = [
        [Label(model=batch.model, serial=unit.row.serial, url=unit.url, setup_code=unit.setup_code) for unit in sheet]
        for sheet in sheets
    ]
    title = f"{batch.model}, batch {batch.name}"
    done = 0
    if len(sheets) == 1:
        _write_sheet(folder / names[0], labels[0], title)
        return names
    with ProcessPoolExecutor(max_workers=os.cpu_count()) as pool:
        futures = [
            pool.submit(_write_sheet, folder / name, sheet, title) for name, sheet in zip(names, labels, strict=True)
        ]
        try:
            for future, sheet in zip(futures, labels, strict=True):
                future.result()
                done += len(sheet)
                progress("labels", done, batch.count)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return names


def _write_sheet(path: Path, labels: Sequence[Label], title: str) -> None:
    buffer = io.BytesIO()
    write_sheet(buffer, labels, title=title)
    write_durably(path, buffer.getvalue(), mode=0o600)


def _write_line(stamped: Sequence[_Stamped], path: Path) -> None:
    """The table for the line: which folder goes into which unit, and which label onto it."""
    buffer = io.StringIO(newline="")
    writer = csv.writer(buffer)
    writer.writerow(COLUMNS)
    for number, unit in enumerate(stamped):
        sheet, place = divmod(number, A_SHEET)
        writer.writerow(
            (
                unit.row.serial,
                unit.row.short_id,
                unit.setup_code,
                f"{UNITS_FOLDER}/{unit.row.serial}",
                _sheet_name(sheet),
                page_of(place),
                unit.url,
            )
        )
    write_durably(path, buffer.getvalue().encode("ascii"), mode=0o600)


def _write_manifest(batch: Batch, stamped: Sequence[_Stamped], signer: Signer, path: Path) -> None:
    buffer = io.BytesIO()
    header = Header(
        model=batch.model, batch=batch.name, count=len(stamped), made_at=batch.made_at, key=signer.public.raw
    )
    writer = ManifestWriter(buffer, header)
    for unit in stamped:
        writer.add(unit.row)
    writer.sign(signer)
    write_durably(path, buffer.getvalue(), mode=0o644)
