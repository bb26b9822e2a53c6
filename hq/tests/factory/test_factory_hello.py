"""A unit's hello from the line, at a real HQ."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from otscert.domain.quota import Quota
from otscert.domain.unit import UnitState
from otscert.factory.checks import Check, Verdict
from otscert.factory.errors import FactoryError
from otscert.factory.hello_check import check_hello
from otscert.factory.hq_hello import Trusted, say_hello
from otscert.factory.importing import Importing, units_of
from otscert.factory.reading import read_manifest
from otscert.factory.verifying import StampedUnit, read_unit
from otscert.pki.files import PkiFolder
from otscert.service.hello import HELLOS_PER_DEVICE
from otscert_agent.wire import b64
from otscert_agent.wire.factory import BENCH
from otscert_agent.wire.keys import Signer
from otscert_agent.wire.messages import Challenge
from tests.harness.box import Box, open_session
from tests.harness.hq import HqOptions, RunningHq, run_hq


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[RunningHq]:
    folder = tmp_path / "hq"
    folder.mkdir()
    async with run_hq(HqOptions(folder=folder)) as running:
        yield running


@pytest.fixture
def unit(stamped: Path) -> StampedUnit:
    unit, checks = read_unit(stamped / "units" / "SN-2")
    assert unit is not None
    assert {check.verdict for check in checks} == {Verdict.GOOD}
    return unit


async def import_batch(hq: RunningHq, stamped: Path, signer: Signer) -> None:
    manifest = read_manifest(stamped / "manifest.jsonl", {signer.public})
    await hq.store.write(partial(Importing(manifest=manifest, units=units_of(manifest)), now_s=1))


async def ask(hq: RunningHq, unit: StampedUnit, **changes: Any) -> Check:
    trusted = Trusted(url=hq.url, roots_pem=hq.roots_pem.decode())
    return await asyncio.to_thread(check_hello, unit, changes.get("trusted", trusted))


async def test_a_stamped_unit_is_known_as_often_as_it_asks_and_nothing_is_spent(
    hq: RunningHq, unit: StampedUnit, stamped: Path, signer: Signer
) -> None:
    await import_batch(hq, stamped, signer)
    for _ in range(3):
        check = await ask(hq, unit)
        assert check.verdict is Verdict.GOOD, check
        assert "opened with its secret" in check.what
    assert [await hq.count(table) for table in ("device", "cert_order", "verified_key")] == [0, 0, 0]
    assert await hq.rows("SELECT state, device_id, fingerprint FROM factory_unit WHERE serial = 'SN-2'") == [
        ("stamped", None, None)
    ]
    assert "unit.cloned" not in await hq.event_kinds()


async def test_a_unit_of_no_imported_manifest_is_refused_with_what_to_do(hq: RunningHq, unit: StampedUnit) -> None:
    check = await ask(hq, unit)
    assert check.verdict is Verdict.BAD
    assert "in no manifest of this HQ" in check.what
    assert "otscert factory import" in check.mend


async def test_a_blocked_unit_is_refused(hq: RunningHq, unit: StampedUnit, stamped: Path, signer: Signer) -> None:
    await import_batch(hq, stamped, signer)
    thumbprint = unit.factory.public.thumbprint()
    await hq.store.write(lambda transaction: transaction.units.set_state(thumbprint, UnitState.BLOCKED))
    check = await ask(hq, unit)
    assert check.verdict is Verdict.BAD
    assert "HQ refuses this unit" in check.what


async def test_a_unit_that_has_a_board_is_not_taken_for_a_clone_of_itself(
    hq: RunningHq, unit: StampedUnit, stamped: Path, signer: Signer
) -> None:
    await import_batch(hq, stamped, signer)
    thumbprint = unit.factory.public.thumbprint()
    await hq.store.write(
        lambda transaction: transaction.units.enrolled(thumbprint, device_id="device", fingerprint="its board")
    )
    assert (await ask(hq, unit)).verdict is Verdict.GOOD
    assert await hq.rows("SELECT state FROM factory_unit WHERE serial = 'SN-2'") == [("stamped",)]
    assert "unit.cloned" not in await hq.event_kinds()


async def test_nobody_enrols_with_a_hello_of_the_line(hq: RunningHq) -> None:
    """Else a stolen secret would need no board: it could always say that it is the line."""
    async with open_session(hq) as session:
        box = Box(hq=hq, session=session)
        box.take_challenge(await box.hello(hardware_fingerprint=BENCH))
        reply = await box.enroll()
        assert reply.status == 404
        assert "a test on the maker's line" in reply.detail
    assert await hq.count("device") == 0


async def test_a_crowded_hq_is_not_the_units_fault(
    tmp_path: Path, unit: StampedUnit, stamped: Path, signer: Signer
) -> None:
    folder = tmp_path / "crowded"
    folder.mkdir()
    async with run_hq(HqOptions(folder=folder, hellos_per_model=Quota(count=1, period_s=3600))) as hq:
        await import_batch(hq, stamped, signer)
        for _ in range(HELLOS_PER_DEVICE.count):  # a quota that strangers share is not the unit's
            assert (await ask(hq, unit)).verdict is Verdict.GOOD
        check = await ask(hq, unit)
        assert check.verdict is Verdict.UNKNOWN
        assert "ask again later" in check.mend


async def test_another_hq_and_no_hq_are_not_believed(hq: RunningHq, unit: StampedUnit, tmp_path: Path) -> None:
    foreign = PkiFolder(folder=tmp_path / "foreign")
    foreign.create(zone="boxes.example.com", hosts=("127.0.0.1",), passphrase=None, now_s=1_700_000_000)
    check = await ask(hq, unit, trusted=Trusted(url=hq.url, roots_pem=foreign.root_pem.read_text()))
    assert check.verdict is Verdict.BAD
    assert "is not this HQ" in check.what
    check = await ask(hq, unit, trusted=Trusted(url="https://127.0.0.1:1", roots_pem=hq.roots_pem.decode()))
    assert "cannot be reached" in check.what
    with pytest.raises(FactoryError, match="must look like"):
        Trusted.at("http://127.0.0.1", tmp_path)
    with pytest.raises(FactoryError, match="cannot be read"):
        Trusted.at(hq.url, tmp_path / "nothing")
    (tmp_path / "text").write_text("no certificate")
    with pytest.raises(FactoryError, match="no PEM certificate"):
        Trusted.at(hq.url, tmp_path / "text")


async def test_the_answer_is_the_units_own_and_sealed(
    hq: RunningHq, unit: StampedUnit, stamped: Path, signer: Signer
) -> None:
    await import_batch(hq, stamped, signer)
    trusted = Trusted(url=hq.url, roots_pem=hq.roots_pem.decode())
    answered = await asyncio.to_thread(say_hello, trusted, unit.factory, model="box", serial="SN-2")
    assert isinstance(answered.message, Challenge)
    assert answered.message.contribution.open is None
    assert len(b64.decode(answered.message.contribution.sealed or "")) == 32
