from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from otscert.domain.unit import Unit, UnitState
from otscert.factory.errors import ManifestRefused
from otscert.factory.importing import Importing, Outcome, units_of
from otscert.factory.reading import Manifest, read_manifest
from otscert.factory.stamping import Batch, stamp
from otscert.store.sqlite import SqliteStore
from otscert_agent.wire.keys import Signer

MakeBatch = Callable[..., Batch]


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    store = SqliteStore.open(tmp_path / "hq.db")
    yield store
    await store.close()


@pytest.fixture
def manifest(stamped: Path, signer: Signer) -> Manifest:
    return read_manifest(stamped / "manifest.jsonl", {signer.public})


@pytest.fixture
def another(tmp_path: Path, make_batch: MakeBatch, signer: Signer) -> Manifest:
    stamp(make_batch(serials=["SN-7", "SN-8", "SN-9"], name="batch-8"), tmp_path / "next", signer)
    return read_manifest(tmp_path / "next" / "manifest.jsonl", {signer.public})


async def enter(store: SqliteStore, manifest: Manifest, units: list[Unit] | None = None) -> Outcome:
    importing = Importing(manifest=manifest, units=units or units_of(manifest))
    return await store.write(partial(importing, now_s=1000))


async def unit_at(store: SqliteStore, thumbprint: str) -> Unit | None:
    return await store.read(lambda transaction: transaction.units.by_thumbprint(thumbprint))


async def rows(store: SqliteStore, table: str) -> int:
    sql = f"SELECT count(*) FROM {table}"  # noqa: S608 - a test's own word
    return int(await store.read(lambda transaction: transaction._connection.execute(sql).fetchone()[0]))


async def test_units_are_found_by_their_keys_and_serial_numbers(store: SqliteStore, manifest: Manifest) -> None:
    assert await enter(store, manifest) is Outcome.IMPORTED
    for row in manifest.rows:
        unit = await unit_at(store, row.public.thumbprint())
        assert unit is not None
        assert (unit.model, unit.serial, unit.short_id, unit.batch) == ("box", row.serial, row.short_id, "batch-7")
        assert (unit.sign_key, unit.seal_key, unit.setup_hash) == (row.public.sign.raw, row.public.seal, row.setup_hash)
        assert (unit.state, unit.device_id, unit.fingerprint) == (UnitState.STAMPED, None, None)
    assert await rows(store, "event") == 1


async def test_the_same_manifest_again_changes_nothing_even_when_units_have_lived(
    store: SqliteStore, manifest: Manifest
) -> None:
    await enter(store, manifest)
    thumbprint = manifest.rows[0].public.thumbprint()
    await store.write(lambda transaction: transaction.units.set_state(thumbprint, UnitState.BLOCKED))
    assert await enter(store, manifest) is Outcome.KNOWN
    unit = await unit_at(store, thumbprint)
    assert unit is not None
    assert unit.state is UnitState.BLOCKED
    assert (await rows(store, "factory_unit"), await rows(store, "event")) == (3, 1)


@pytest.mark.parametrize(
    ("member", "why"),
    [
        ("thumbprint", "the sign key of SN-9"),
        ("serial", "the serial number SN-2"),
        ("short_id", "the short id"),
        ("seal_key", "the seal key of SN-9"),
    ],
)
async def test_a_unit_like_one_that_is_there_is_refused_with_its_line_and_nothing_is_entered(
    store: SqliteStore, manifest: Manifest, another: Manifest, member: str, why: str
) -> None:
    await enter(store, manifest)
    units = units_of(another)
    units[2] = replace(units[2], **{member: getattr(units_of(manifest)[1], member)})
    with pytest.raises(ManifestRefused) as refused:
        await enter(store, another, units)
    assert refused.value.line == 4
    assert why in refused.value.text
    assert "as unit SN-2 of model box, batch batch-7" in refused.value.text
    assert (await rows(store, "factory_unit"), await rows(store, "event")) == (3, 1)


async def test_two_models_may_have_the_same_serial_numbers(
    store: SqliteStore, manifest: Manifest, tmp_path: Path, make_batch: MakeBatch, signer: Signer
) -> None:
    await enter(store, manifest)
    stamp(make_batch(model="other"), tmp_path / "other", signer)
    other = read_manifest(tmp_path / "other" / "manifest.jsonl", {signer.public})
    assert await enter(store, other) is Outcome.IMPORTED
    assert await rows(store, "factory_unit") == 6


async def test_a_manifest_that_is_there_in_part_is_refused(store: SqliteStore, manifest: Manifest) -> None:
    await store.write(lambda transaction: transaction.units.add_many(units_of(manifest)[:2], now_s=1))
    with pytest.raises(ManifestRefused, match="2 of its 3 units are at this HQ already"):
        await enter(store, manifest)
    assert await rows(store, "factory_unit") == 2


async def test_another_setup_code_for_the_same_unit_is_refused(store: SqliteStore, manifest: Manifest) -> None:
    await enter(store, manifest)
    units = [replace(unit, setup_hash=bytes(32)) for unit in units_of(manifest)]
    with pytest.raises(ManifestRefused, match="at this HQ already"):
        await enter(store, manifest, units)
