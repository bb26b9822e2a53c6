"""`otscert factory stamp`: from options to a batch of units in a folder."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from otscert.cli import factory_options, show
from otscert.cli.errors import CommandFailed
from otscert.cli.factory_options import KeyOption
from otscert.cli.options import ConfigOption, JsonOption
from otscert.cli.progress import Progress
from otscert.config import Config
from otscert.factory.manifest import MOST_UNITS
from otscert.factory.reading import NAME
from otscert.factory.serials import chosen, counted, listed
from otscert.factory.unit_folder import Form
from otscert_agent.wire import b64

_LONGEST_URL = 120
"""The QR code of a longer one has modules too small for a label."""


def stamp_batch(
    *,
    model: Annotated[str, typer.Option(help="Needed: the product line, as HQ knows it.")] = "",
    out: Annotated[Path | None, typer.Option(help="Needed: the folder to make; it must not be there.")] = None,
    count: Annotated[
        int | None, typer.Option(min=1, max=MOST_UNITS, help="How many units; may be left out with --serials.")
    ] = None,
    batch: Annotated[str, typer.Option(help="The batch's name; else model, date and time.")] = "",
    serials: Annotated[Path | None, typer.Option(help="A file with the units' serial numbers, one a line.")] = None,
    serial_prefix: Annotated[str, typer.Option(help="What counted serial numbers begin with.")] = "",
    first_serial: Annotated[
        str, typer.Option(help="Count serial numbers from this one, such as 00042. Else the short id is the number.")
    ] = "",
    form: Annotated[Form, typer.Option(help="files: a factory partition. uboot: text for a U-Boot environment.")] = (
        Form.FILES
    ),
    hold: Annotated[bool, typer.Option("--hold", help="Write a hold file, which keeps a box from enrolling.")] = False,
    hq_url: Annotated[
        str, typer.Option(help="What QR codes begin with; else factory.label_url, else public_url.")
    ] = "",
    key: KeyOption = None,
    force: Annotated[bool, typer.Option("--force", help="Also stamp for a model that this HQ does not have.")] = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a batch: a secret and a folder for each unit, labels, a table for the line, and a manifest for HQ."""
    from otscert.factory.stamping import Batch, stamp  # noqa: PLC0415 - what draws labels is slow to load

    if not model or out is None:
        raise typer.BadParameter("needed, but not given", param_hint="--out" if model else "--model")
    now = time.gmtime()
    name = batch or f"{model[:40]}-{time.strftime('%Y%m%d-%H%M%S', now)}"
    _check_name(model, hint="--model")
    _check_name(name, hint="--batch")
    numbers = _serials(serials, serial_prefix, first_serial, count)
    how_many = _how_many(numbers, count)
    loaded = factory_options.stamping_config(config, needed=key is None or not hq_url)
    _judge_model(model, loaded, force=force)
    label_url = _label_url(hq_url, loaded)
    if loaded and label_url == loaded.public_url:
        typer.echo(
            f"otscert: QR codes lead to {label_url}/u/..., where HQ speaks to boxes under a root of its own:"
            " a phone gets a certificate warning, and no page. Name a site of yours with factory.label_url or --hq-url"
            " (docs/factory.md says what it serves)",
            err=True,
        )
    if out.exists():  # stamp looks again; here, so that no key is made for nothing
        raise CommandFailed(f"{out} exists; a batch is stamped into a new folder, and no secret is ever replaced")
    signer, made, key_file = factory_options.signing_key(key, loaded)
    made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", now)
    progress = Progress()
    with _ended_gently():
        try:
            files = stamp(
                Batch(
                    model=model,
                    name=name,
                    made_at=made_at,
                    count=how_many,
                    serials=numbers,
                    label_url=label_url,
                    form=form,
                    hold=hold,
                ),
                out,
                signer,
                progress,
            )
        finally:
            progress.finish()
    public = b64.encode(signer.public.raw)
    if as_json:
        show.print_json(
            {"out": str(out), "batch": name, "units": how_many, "files": files, "key": public, "key_made": made}
        )
        return
    typer.echo(_next_steps(out, count=how_many, batch=name))
    if made:
        typer.echo(
            f"\nThe manifest was signed with a new key, {key_file}. Keep it where units are stamped, and back it up."
            f'\nAn HQ elsewhere has to trust it:\n  [factory]\n  manifest_keys = ["{public}"]'
        )


def _next_steps(out: Path, *, count: int, batch: str) -> str:
    return f"""Stamped {count} units, batch {batch}, into {out}.
  {out}/units/   a folder for each unit: into its factory partition or U-Boot environment, then delete it here
  {out}/line.csv   which folder and which label belong to which unit; it holds setup codes: keep it closed
  {out}/labels-1.pdf   labels, 21 on an A4 page: print at 100 %, without fitting to the page
  {out}/manifest.jsonl   for HQ; nothing in it is secret

Next: otscert factory import {out}/manifest.jsonl"""


def _judge_model(model: str, loaded: Config | None, *, force: bool) -> None:
    """Refuse a model that the HQ here lacks: a misspelt one would be in every unit's folder and on no list."""
    unknown = factory_options.not_a_model(model, loaded) if loaded else None
    if unknown and not force:
        raise CommandFailed(f"{unknown}, and --force stamps all the same")
    warning = unknown or (factory_options.no_factory_policy(model, loaded) if loaded else None)
    if warning:
        typer.echo(f"otscert: {warning}", err=True)


def _check_name(text: str, *, hint: str) -> None:
    if not NAME.match(text):
        raise typer.BadParameter(f"{text!r} is not a name of at most 64 letters, digits, - and _", param_hint=hint)


def _how_many(numbers: Sequence[str] | None, count: int | None) -> int:
    how_many = len(numbers) if numbers is not None else count
    if how_many is None:
        raise typer.BadParameter("say how many units, or name them with --serials FILE", param_hint="--count")
    if how_many > MOST_UNITS:
        raise CommandFailed(
            f"{how_many} units are too many for one batch; {MOST_UNITS} is the most: stamp more batches"
        )
    return how_many


def _label_url(given: str, loaded: Config | None) -> str:
    url = given.rstrip("/") if given else loaded.label_url if loaded else ""
    if not url.startswith(("https://", "http://")) or any(character in url for character in "?# \t\n@"):
        raise typer.BadParameter(f"{url!r} must look like https://hq.example.com", param_hint="--hq-url")
    if len(url) > _LONGEST_URL or not url.isascii():
        raise typer.BadParameter(f"is no ASCII text of at most {_LONGEST_URL} characters", param_hint="--hq-url")
    return url


def _serials(file: Path | None, prefix: str, first: str, count: int | None) -> Sequence[str] | None:
    """The units' serial numbers; None when the maker numbers nothing."""
    if file is None:
        if prefix and not first:
            raise typer.BadParameter("say where to begin: a number that no batch had", param_hint="--first-serial")
        return counted(prefix, first, _how_many(None, count)) if first else None
    if prefix or first:
        raise typer.BadParameter("the numbers come from the file or are counted, not both", param_hint="--serials")
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file} is not UTF-8 text") from error
    return chosen(listed(text, source=str(file)), count, source=str(file))


@contextmanager
def _ended_gently() -> Iterator[None]:
    """SIGTERM and SIGHUP end the block as Ctrl-C does, so that nothing half done stays."""

    def end(number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
