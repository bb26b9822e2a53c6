"""`otscert factory`: stamp units, import their manifest, look at a unit or an image before it leaves the line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli import database, factory_options, show
from otscert.cli.factory_options import KeyOption
from otscert.cli.factory_stamp import stamp_batch
from otscert.cli.factory_units import list_units, show_unit
from otscert.cli.findings import print_findings
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.cli.progress import Progress
from otscert.domain.unit import Unit
from otscert.factory.checks import Check, Verdict
from otscert.factory.errors import FactoryError, ManifestRefused
from otscert.factory.image import Image
from otscert.factory.importing import Importing, Outcome, units_of
from otscert.factory.linting import lint
from otscert.factory.reading import read_manifest
from otscert.factory.verifying import StampedUnit, check_manifest, check_table, read_unit
from otscert.ops import doctor_finding
from otscert.ops.doctor_finding import Finding
from otscert.store.transaction import Transaction


def commands() -> typer.Typer:
    group = typer.Typer(help="The maker's line: stamp, import, list, verify, lint.", no_args_is_help=True)
    group.command(
        "stamp",
        short_help="Make secrets, labels and the manifest of a batch.",
        epilog=examples(
            "otscert factory stamp --model box --count 100 --out batch-7",
            "otscert factory stamp --model box --serials serials.txt --out batch-8 --key /media/usb/factory.key"
            " --hq-url https://hq.example.com",
        ),
    )(stamp_batch)
    group.command(
        "import",
        short_help="Let the units of a manifest enrol.",
        epilog=examples("otscert factory import batch-7/manifest.jsonl"),
    )(import_manifest)
    group.command(
        "list",
        short_help="Imported batches, or the units of one.",
        epilog=examples("otscert factory list", "otscert factory list --batch batch-7 --limit 20"),
    )(list_units)
    group.command(
        "show",
        short_help="What became of a stamped unit.",
        epilog=examples("otscert factory show SN-00042", "otscert factory show 7kq2mzt4xw5a --json"),
    )(show_unit)
    group.command(
        "verify",
        short_help="Does a stamped unit work?",
        epilog=examples(
            "otscert factory verify batch-7/units/SN-00042 --manifest batch-7/manifest.jsonl",
            "otscert factory verify /mnt/factory --hq https://hq.example.com:8443 --root root.pem",
        ),
    )(verify)
    group.command(
        "lint",
        short_help="May this image be copied to many boxes?",
        epilog=examples("otscert factory lint build/rootfs"),
    )(lint_image)
    return group


def import_manifest(
    manifest: Annotated[Path, typer.Argument(metavar="MANIFEST", help="manifest.jsonl of a stamped batch.")],
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Check a manifest and let its units enrol: all of them, or none. A second time changes nothing."""
    loaded = load_config(config)
    progress = Progress()
    try:
        read = read_manifest(manifest, factory_options.trusted_keys(loaded), partial(progress, "units"))
        importing = Importing(manifest=read, units=units_of(read))
        # Asked first without holding HQ up; asked again when it is written.
        outcome = database.read(loaded, importing.known)
        if outcome is None:
            outcome = database.write(loaded, partial(importing, now_s=int(time.time())))
    except ManifestRefused as error:
        raise ManifestRefused(f"{error.text}; nothing was imported", error.line, str(manifest)) from error
    except FactoryError as error:
        raise FactoryError(f"{error}; nothing was imported") from error
    finally:
        progress.finish()
    header = read.header
    hindrance = factory_options.hindrance(header.model, loaded)
    if as_json:
        view = {"model": header.model, "batch": header.batch, "units": header.count, "outcome": outcome.value}
        show.print_json(view)
    elif outcome is Outcome.KNOWN:
        typer.echo(f"Batch {header.batch} was imported before: its {header.count} units are here, just like this.")
    else:
        now = "" if hindrance else " They may enrol now."
        typer.echo(f"Imported {header.count} units of model {header.model}, batch {header.batch}.{now}")
    if hindrance:
        typer.echo(f"otscert: {hindrance}", err=True)


def verify(
    folder: Annotated[Path, typer.Argument(metavar="DEVICE-DIR", help="The unit's folder, or its factory partition.")],
    *,
    manifest: Annotated[Path | None, typer.Option(help="Also look for the unit in this manifest.")] = None,
    hq: Annotated[str, typer.Option("--hq", help="Also say hello to the HQ at this URL.")] = "",
    root: Annotated[Path | None, typer.Option("--root", help="HQ's root (root.pem), as firmware has it.")] = None,
    key: KeyOption = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Prove that a stamped unit works. Spends neither a certificate nor, after ten minutes, a name."""
    if hq and root is None:
        raise typer.BadParameter("needed with --hq: the root that firmware has", param_hint="--root")
    loaded = factory_options.config_if_there(config)
    unit, checks = read_unit(folder)
    if unit is not None:
        if manifest is not None:
            checks.append(check_manifest(unit, manifest, factory_options.trusted_keys(loaded, key)))
        if loaded is not None and database.exists(loaded):
            known, namesake = database.read(loaded, partial(_at_hq, unit=unit))
            lacks_model = "" if unit.facts.model in loaded.models else factory_options.adding(unit.facts.model)
            checks.append(check_table(unit, known, namesake=namesake, lacks_model=lacks_model))
        if hq and root is not None:
            from otscert.factory.hello_check import check_hello  # noqa: PLC0415 - an HTTP client, for this alone
            from otscert.factory.hq_hello import Trusted  # noqa: PLC0415 - as above

            checks.append(check_hello(unit, Trusted.at(hq, root)))
    _print(checks, as_json=as_json)


def lint_image(
    image: Annotated[Path, typer.Argument(metavar="IMAGE-DIR", help="The image's root file system, unpacked.")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Refuse an image that would make two boxes one: agent state, a factory secret, a saved random seed."""
    checks = lint(Image.at(image))
    if not checks and not as_json:
        typer.echo("The image holds no state of a box, no secret of a unit, and no saved seed.")
        return
    _print(checks, as_json=as_json)


def _at_hq(transaction: Transaction, *, unit: StampedUnit) -> tuple[Unit | None, Unit | None]:
    """The unit with this one's key, and the one with its serial number."""
    units, facts = transaction.units, unit.facts
    return units.by_thumbprint(unit.factory.public.thumbprint()), units.by_serial(facts.model, facts.serial)


def _print(checks: Sequence[Check], *, as_json: bool) -> None:
    findings = [_finding(check) for check in checks]
    # Unlike the doctor's, a check that could not be made is no proof: the unit or image does not pass.
    good = not any(check.verdict in {Verdict.BAD, Verdict.UNKNOWN} for check in checks)
    print_findings(findings, as_json=as_json, good=good)
    if not good:
        raise typer.Exit(1)


_OUTCOMES = {
    Verdict.GOOD: doctor_finding.Outcome.OK,
    Verdict.ODD: doctor_finding.Outcome.WARNING,
    Verdict.UNKNOWN: doctor_finding.Outcome.UNKNOWN,
    Verdict.BAD: doctor_finding.Outcome.FAILED,
}


def _finding(check: Check) -> Finding:
    return Finding(check=check.name, outcome=_OUTCOMES[check.verdict], what=check.what, why=check.why, mend=check.mend)
