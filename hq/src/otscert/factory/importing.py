"""Enters a manifest's units into HQ's store: all of them or none, and a second time changes nothing.

Knows what a unit is before it has ever called. Does not read files.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from otscert.domain.unit import Unit, UnitState
from otscert.factory.errors import ManifestRefused
from otscert.factory.reading import Manifest
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64

FIRST_ROW = 2
"""The line of the first unit; the header is line 1."""


class Outcome(Enum):
    IMPORTED = "imported"
    KNOWN = "known"  # every unit was there already, just like this


def units_of(manifest: Manifest) -> list[Unit]:
    """The manifest's rows as units that nobody has enrolled yet."""
    header = manifest.header
    return [
        Unit(
            thumbprint=row.public.thumbprint(),
            model=header.model,
            serial=row.serial,
            short_id=row.short_id,
            sign_key=row.public.sign.raw,
            seal_key=row.public.seal,
            setup_hash=row.setup_hash,
            batch=header.batch,
            state=UnitState.STAMPED,
            device_id=None,
            fingerprint=None,
        )
        for row in manifest.rows
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Importing:
    """The use case, one transaction; raises `ManifestRefused` when a unit is like another one that HQ has."""

    manifest: Manifest
    units: list[Unit]

    def known(self, transaction: Transaction) -> Outcome | None:
        """`KNOWN` when all of the units are there, None when none of them is; raises as the use case does."""
        there = transaction.units.like(self.units)
        if there:
            self._judge(there)
            return Outcome.KNOWN
        return None

    def __call__(self, transaction: Transaction, *, now_s: int) -> Outcome:
        if self.known(transaction) is not None:
            return Outcome.KNOWN
        transaction.units.add_many(self.units, now_s=now_s)
        header = self.manifest.header
        transaction.events.append(
            "factory.imported",
            now_s=now_s,
            data={
                "model": header.model,
                "batch": header.batch,
                "units": header.count,
                "key": b64.encode(header.key),
                "sha256": self.manifest.sha256,
            },
        )
        return Outcome.IMPORTED

    def _judge(self, there: list[Unit]) -> None:
        """Raise unless the store has exactly these units."""
        by_thumbprint = {unit.thumbprint: unit for unit in there}
        by_serial = {(unit.model, unit.serial): unit for unit in there}
        by_short_id = {unit.short_id: unit for unit in there}
        by_seal = {unit.seal_key: unit for unit in there}
        for line, unit in enumerate(self.units, FIRST_ROW):
            found = (
                by_thumbprint.get(unit.thumbprint)
                or by_serial.get((unit.model, unit.serial))
                or by_short_id.get(unit.short_id)
                or by_seal.get(unit.seal_key)
            )
            if found is not None and _stamped(found) != _stamped(unit):
                raise ManifestRefused(
                    f"{_shared(unit, found)} is at this HQ already, as unit {found.serial} of model {found.model},"
                    f" batch {found.batch}",
                    line=line,
                )
        if len(by_thumbprint) != len(self.units):
            raise ManifestRefused(
                f"{len(by_thumbprint)} of its {len(self.units)} units are at this HQ already, from another manifest"
            )


def _stamped(unit: Unit) -> tuple[object, ...]:
    """What the manifest says of a unit, without what became of it."""
    return (unit.thumbprint, unit.model, unit.serial, unit.short_id, unit.seal_key, unit.setup_hash, unit.batch)


def _shared(unit: Unit, found: Unit) -> str:
    if unit.thumbprint == found.thumbprint:
        return f"the sign key of {unit.serial}"
    if (unit.model, unit.serial) == (found.model, found.serial):
        return f"the serial number {unit.serial}"
    if unit.short_id == found.short_id:
        return f"the short id {unit.short_id}"
    return f"the seal key of {unit.serial}"
