"""Does a stamped unit work? Looks at its folder, at the manifest and at HQ's table; `hello_check` asks HQ itself.

Each check gives a verdict with its reason; none changes anything. Does not print.
"""

from __future__ import annotations

import stat
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from otscert.domain.unit import Unit, UnitState
from otscert.factory.checks import Check, Verdict, bad, good
from otscert.factory.errors import FactoryError
from otscert.factory.reading import find_row
from otscert.factory.unit_folder import HOLD_FILE, UNIT_FILE, UNITS_FOLDER, UnitFacts, read_facts, read_secret
from otscert_agent.wire import b64
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import PublicKey

_STAMP_AGAIN = "take the unit off the line, and stamp a new one in its place"


@dataclass(frozen=True, slots=True, kw_only=True)
class StampedUnit:
    """A unit's folder, read."""

    factory: Factory
    facts: UnitFacts


def read_unit(folder: Path) -> tuple[StampedUnit | None, list[Check]]:
    """The unit, None when its folder cannot be used, and what there is to say about its files."""
    checks: list[Check] = []
    if misplaced := _no_unit_there(folder):
        return None, [misplaced]
    try:
        path, mode, factory = read_secret(folder)
    except FactoryError as error:
        checks.append(bad("unit.secret", str(error), why="without it the box cannot enrol", mend=_STAMP_AGAIN))
        return None, checks
    if stat.S_IMODE(mode) & 0o077:
        checks.append(
            bad(
                "unit.secret",
                f"{path} has mode {stat.S_IMODE(mode):04o}",
                why="whoever reads it can enrol in this unit's name",
                mend=f"chmod 600 {path}; if strangers could read it, {_STAMP_AGAIN}",
            )
        )
    else:
        checks.append(good("unit.secret", f"{path.name} holds a factory secret and is closed to others"))
    try:
        facts = read_facts(folder)
    except FactoryError as error:
        mend = f"copy {UNIT_FILE} of this unit from the stamped batch again"
        checks.append(bad("unit.description", str(error), why="it says which unit this is", mend=mend))
        return None, checks
    unit = StampedUnit(factory=factory, facts=facts)
    checks.append(_check_keys(unit))
    if (folder / HOLD_FILE).exists():
        checks.append(good("unit.hold", f"the file {HOLD_FILE} is there: the box waits until it is removed"))
    return unit, checks


def _no_unit_there(folder: Path) -> Check | None:
    """Whether whoever asks looks in the wrong place, which is no fault of a unit."""
    name, why = "unit.folder", "there is no unit to look at"
    try:
        if not folder.is_dir():
            what = "is not a folder" if folder.exists() else "is not there"
            return bad(
                name, f"{folder} {what}", why=why, mend="name the folder of a unit, such as batch-7/units/SN-00042"
            )
        units = folder if folder.name == UNITS_FOLDER else folder / UNITS_FOLDER
        some = sorted(each for each in units.iterdir() if each.is_dir())[:1] if units.is_dir() else []
    except OSError as error:
        return bad(name, f"{folder} cannot be read: {error.strerror}", why=why, mend="look as a user that may read it")
    if not some:
        return None
    return bad(name, f"{folder} is the folder of a batch", why=why, mend=f"name one of its units, such as {some[0]}")


def _check_keys(unit: StampedUnit) -> Check:
    public, facts = unit.factory.public, unit.facts
    derived = (public.thumbprint(), b64.encode(public.sign.raw), b64.encode(public.seal))
    if derived == (facts.thumbprint, facts.sign, facts.seal):
        return good("unit.keys", f"the secret is that of unit {facts.serial} ({facts.model})")
    return bad(
        "unit.keys",
        f"the secret is not that of unit {facts.serial}, which {UNIT_FILE} names",
        why="HQ would take this box for another one, and its label has another setup code",
        mend="copy both files from one folder of the batch",
    )


def check_manifest(unit: StampedUnit, path: Path, trusted: Collection[PublicKey]) -> Check:
    """Whether the unit is in the manifest that HQ is given, just as its folder says."""
    facts, name = unit.facts, "manifest"
    why, mend = "HQ would not know this box", "look for the batch that it belongs to"
    try:
        header, row = find_row(path, trusted, facts.serial)
    except FactoryError as error:
        return bad(name, str(error), why=why, mend="look at the file, and at where it came from")
    if row is None:
        return bad(name, f"the manifest of batch {header.batch} has no unit {facts.serial}", why=why, mend=mend)
    same = row.public == unit.factory.public and row.short_id == facts.short_id
    if not same or (header.model, header.batch) != (facts.model, facts.batch):
        return bad(name, f"the manifest has another unit {facts.serial} than this folder", why=why, mend=mend)
    return good(name, f"the manifest of batch {header.batch} has this unit, with these keys")


def check_table(unit: StampedUnit, known: Unit | None, *, namesake: Unit | None = None, lacks_model: str = "") -> Check:
    """What HQ's own table says: of this key (`known`), and of the serial number (`namesake`).

    `lacks_model` is the command that adds the unit's model to HQ, empty when HQ has it.
    """
    facts, public, name = unit.facts, unit.factory.public, "hq.table"
    if known is None or lacks_model:
        return _not_at_hq(name, facts, known=known, namesake=namesake, lacks_model=lacks_model)
    told = (known.model, known.serial, known.short_id, known.sign_key, known.seal_key)
    if told != (facts.model, facts.serial, facts.short_id, public.sign.raw, public.seal):
        what = f"HQ has this key as unit {known.serial} of model {known.model}, with other data than {UNIT_FILE}"
        return bad(name, what, why="the unit's description was changed", mend="copy it from the batch again")
    if known.state not in {UnitState.STAMPED, UnitState.CONFIRMED}:
        mend = "ask whoever runs HQ"
        return bad(name, f"HQ has unit {facts.serial} as {known.state}", why="it would be refused", mend=mend)
    if known.device_id is not None:
        return Check(
            name=name,
            verdict=Verdict.ODD,
            what=f"HQ knows unit {facts.serial}, and it has enrolled already",
            why="a unit that leaves the line has no name yet",
            mend="if it was switched on for a test, nothing needs to be done: it gets a new name when it is reset",
        )
    return good(name, f"HQ knows unit {facts.serial}, and it has not enrolled yet")


def _not_at_hq(name: str, facts: UnitFacts, *, known: Unit | None, namesake: Unit | None, lacks_model: str) -> Check:
    """HQ lacks the unit, or its model, or both."""
    if known is None and namesake is not None:
        return bad(
            name,
            f"HQ has {facts.serial} of batch {namesake.batch} with another key: stamped twice",
            why="the unit would be refused as unknown-unit, and its batch cannot be imported",
            mend=f"write the files of batch {namesake.batch} into this unit, or stamp it under a new serial number",
        )
    if lacks_model:
        import_too = ", then otscert factory import the manifest of its batch" if known is None else ""
        return bad(
            name,
            f"HQ has no model {facts.model}, which unit {facts.serial} was stamped for",
            why="its hello would be refused",
            mend=f"{lacks_model}{import_too}",
        )
    return bad(
        name,
        f"HQ does not have unit {facts.serial}",
        why="it would be refused as unknown-unit",
        mend="otscert factory import the manifest of its batch",
    )
