"""Orders of boxes that are away, held or gone: nothing is done for them, nothing of them is served, they come back."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import dns.asyncquery
import dns.message
import dns.rcode
import pytest
from hq.tests.service.conftest import SetStage, Stage

from otscert.domain.device import Device, DeviceEvent, Retired, move
from otscert.service import housekeeping, lifecycle
from otscert.store.transaction import Transaction
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import Box, leaf_sha256
from tests.harness.hq import DAY_S, RunningHq, default_models
from tests.harness.scene import Scene
from tests.harness.unit import MODEL, UnitBox, import_units, stamp, stamped_model
from tests.scripted_ca import Script

PATIENCE_S = 40


async def ask(hq: RunningHq, name: str, rtype: str = "A") -> tuple[dns.rcode.Rcode, set[str]]:
    query = dns.message.make_query(name, rtype)
    answer = await dns.asyncquery.udp(query, hq.dns[0], port=hq.dns[1], timeout=5)
    return answer.rcode(), {rdata.to_text().strip('"') for rrset in answer.answer for rdata in rrset}


async def until(scene: Scene, sql: str, *wanted: tuple[Any, ...]) -> None:
    """Until the database says so."""
    rows: list[tuple[Any, ...]] = []
    async with asyncio.timeout(PATIENCE_S):
        while True:
            rows = await scene.hq.rows(sql)
            if rows == list(wanted):
                return
            await asyncio.sleep(0.005)


async def act(scene: Scene, work: Callable[[Transaction, Device, int], object]) -> None:
    """What an operator does to the only box, beside HQ."""

    def write(transaction: Transaction) -> None:
        (device,) = transaction.devices.page(after_id="", limit=2)
        work(transaction, device, scene.hq.hq.now_s())

    await scene.hq.store.write(write)


def quarantine(transaction: Transaction, device: Device, now_s: int) -> None:
    lifecycle.quarantine(transaction, device, reason="", now_s=now_s)


def freeze(transaction: Transaction, device: Device, _now_s: int) -> None:
    transaction.devices.set_state(device.id, move(device.state, DeviceEvent.FREEZE))


def rearm(transaction: Transaction, device: Device, now_s: int) -> None:
    lifecycle.rearm(transaction, device, None, same_board=False, now_s=now_s)


def retire(transaction: Transaction, device: Device, now_s: int) -> None:
    lifecycle.end(transaction, device, Retired.REMOVED, revoke=True, now_s=now_s)


async def admitted(setting: Stage) -> Box:
    """A box whose order nobody has begun: this HQ has no CA."""
    async with setting.hq(ca=None) as scene:
        box = scene.box()
        await box.admit()
    return box


def moved(box: Box, scene: Scene) -> Box:
    """The same box at the next HQ of the folder: its port is another one."""
    box.order_url = scene.hq.url + box.order_path
    box.hq, box.session = scene.hq, scene.session
    return box


@pytest.mark.parametrize(("hold", "why"), [(quarantine, "quarantined"), (freeze, "two boxes share this identity")])
async def test_an_order_of_a_held_box_rests_until_it_is_rearmed(
    stage: SetStage, hold: Callable[[Transaction, Device, int], None], why: str
) -> None:
    setting = await stage()
    box = await admitted(setting)
    async with setting.hq(ca=None) as scene:
        await act(scene, hold)
    async with setting.hq() as scene:
        moved(box, scene)
        async with asyncio.timeout(PATIENCE_S):
            while why not in (reply := await box.poll()).message["why"]:  # noqa: ASYNC110 - looked at from outside
                await asyncio.sleep(0.005)
        assert reply.message["status"] == "waiting"
        assert reply.message["retry_after_s"] == scene.hq.hq.checkin_s  # the order rests for a day at a time
        assert await scene.hq.rows("SELECT state, attempt FROM cert_order") == [("waiting", 0)]
        await act(scene, rearm)
        scene.hq.wake()
        await until(scene, "SELECT state FROM cert_order", ("issued",))
    assert len(setting.ca.ledger.of("newOrder")) == 1


async def test_a_box_that_is_held_while_its_order_is_under_way_gets_no_certificate(stage: SetStage) -> None:
    setting = await stage(Script(answer_delay_s=0.2))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT state FROM cert_order", ("published",))
        await act(scene, quarantine)
        reason = "this box is quarantined; HQ's operator has to decide (otscert device rearm)"
        await until(scene, "SELECT state, reason FROM cert_order", ("published", reason))
        assert setting.ca.ledger.of("finalize") == []
        await act(scene, rearm)
        scene.hq.wake()
        await until(scene, "SELECT state FROM cert_order", ("issued",))
    assert len(setting.ca.ledger.of("finalize")) == 1


async def test_an_order_under_way_ends_with_the_name_of_its_box(stage: SetStage) -> None:
    setting = await stage(Script(answer_delay_s=0.2))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT state FROM cert_order", ("published",))
        name = box.names[0]
        assert {len(value) for value in (await ask(scene.hq, f"_acme-challenge.{name}", "TXT"))[1]} == {43}
        await act(scene, retire)
        assert await scene.hq.rows("SELECT state, reason FROM cert_order") == [
            ("failed", "its box starts over or was retired")
        ]
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 1
        assert (await ask(scene.hq, name))[0] is dns.rcode.NXDOMAIN
        assert (await ask(scene.hq, f"_acme-challenge.{name}", "TXT"))[0] is dns.rcode.NXDOMAIN
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 0
        reply = await box.poll()
        assert reply.problem is ProblemType.RETIRED
        other = scene.box()
        await other.admit()
        assert (await other.poll()).message["status"] == "issued"
    assert len(setting.ca.ledger.of("finalize")) == 1


async def test_a_certificate_that_comes_too_late_is_recorded_not_counted_and_revoked(stage: SetStage) -> None:
    setting = await stage(Script(processing_polls=6, answer_delay_s=0.1))
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        await until(scene, "SELECT state FROM cert_order", ("finalizing",))
        await act(scene, retire)
        await until(scene, "SELECT state FROM cert_order", ("issued",))
        ((sha256, replaced),) = await scene.hq.rows("SELECT sha256, replaced FROM certificate")
        assert replaced == 1
        assert await scene.hq.rows("SELECT unserved FROM device") == [(0,)]
        assert await scene.hq.rows("SELECT certificate_sha256 FROM revocation") == [(sha256,)]
        assert (await box.poll()).problem is ProblemType.RETIRED  # and not the chain


async def test_the_order_of_a_unit_that_starts_over_under_its_old_name_is_nobodys(stage: SetStage) -> None:
    setting = await stage(Script(processing_polls=8, answer_delay_s=0.1))
    async with setting.hq(models=default_models() | {MODEL: stamped_model()}) as scene:
        factory, unit = stamp("S1")
        await import_units(scene.hq, unit)
        box = UnitBox(hq=scene.hq, session=scene.session, factory=factory)
        for _ in range(2):
            await box.admit()
            await until(scene, f"SELECT state FROM cert_order WHERE label = '{box.label}'", ("finalizing",))  # noqa: S608 - HQ made the label
            box.reset()
        await box.admit()  # the name is kept: the order before it is for a key that is lost
        reply = await box.poll()
        assert reply.message["status"] == "issued", reply.message
        kept = (
            f"SELECT count(*) FROM certificate JOIN device ON device.id = device_id WHERE device.label = '{box.label}'"  # noqa: S608 - as above
        )
        await until(scene, kept, (2,))
        sql = "SELECT certificate.sha256 FROM certificate WHERE replaced = 0"
        assert await scene.hq.rows(sql) == [(leaf_sha256(reply.message["chain"]),)]
        assert await scene.hq.rows("SELECT unserved FROM device WHERE retired IS NULL") == [(1,)]
        assert await scene.hq.count("revocation") == 2
        answer = (await box.check_in(served_sha256=leaf_sha256(reply.message["chain"]))).message
        assert answer["commands"] == []


async def test_a_box_that_was_silent_for_long_leaves_dns_and_comes_back_by_its_check_in(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq() as scene:
        box = scene.box()
        await box.admit()
        assert (await box.poll()).message["status"] == "issued"
        scene.hq.clock.ahead_s = 89 * DAY_S
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 0
        scene.hq.clock.ahead_s = 90 * DAY_S + 10
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 1
        assert (await ask(scene.hq, box.names[0]))[0] is dns.rcode.NXDOMAIN
    async with setting.hq() as scene:
        assert (await ask(scene.hq, box.names[0]))[0] is dns.rcode.NXDOMAIN  # nor after a restart
        scene.hq.clock.ahead_s = 90 * DAY_S + 20
        answer = (await moved(box, scene).check_in()).message
        assert [command["name"] for command in answer["commands"]] == ["renew"]  # it has expired meanwhile
        assert await ask(scene.hq, box.names[0]) == (dns.rcode.NOERROR, {"192.168.1.20"})
        (await box.renew()).granted()
        assert (await box.poll()).message["status"] == "issued"
        kinds = await scene.hq.event_kinds()
        assert (kinds.count("device.stale"), kinds.count("device.returned")) == (1, 1)


async def test_a_box_that_comes_back_after_long_to_its_first_order_gets_it(stage: SetStage) -> None:
    """Switched off between grant and certificate for a quarter of a year: it does not check in, it polls."""
    setting = await stage()
    box = await admitted(setting)
    async with setting.hq(ca=None) as scene:
        scene.hq.clock.ahead_s = 91 * DAY_S
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 1
    async with setting.hq() as scene:
        await until(
            scene,
            "SELECT reason FROM cert_order",
            ("this box was not seen for long; its order goes on when it calls",),
        )
        assert setting.ca.ledger.of("newOrder") == []
        async with asyncio.timeout(PATIENCE_S):
            while (reply := await moved(box, scene).poll()).message["status"] == "waiting":  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)
        assert reply.message["status"] == "issued"
        assert (await ask(scene.hq, box.names[0]))[1] == {"192.168.1.20"}


async def test_a_box_that_only_polls_does_not_grow_stale(stage: SetStage) -> None:
    setting = await stage()
    box = await admitted(setting)
    async with setting.hq(ca=None) as scene:
        for day in (60, 120):
            scene.hq.clock.ahead_s = day * DAY_S
            polling = asyncio.create_task(moved(box, scene).poll())
            await until(scene, "SELECT last_seen_s / 86400 FROM device", (scene.hq.hq.now_s() // DAY_S,))
            assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 0
            polling.cancel()
            await asyncio.gather(polling, return_exceptions=True)


async def test_names_leave_in_bounded_steps(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        box = scene.box()
        await box.admit()
        hq = scene.hq

        def many(transaction: Transaction) -> None:
            columns = [row[1] for row in transaction._connection.execute("PRAGMA table_info(device)")]
            own = {"id", "thumbprint", "label"}
            chosen = ", ".join(f"{name} || '-' || value" if name in own else name for name in columns)
            transaction._connection.execute(
                "WITH RECURSIVE n(value) AS (SELECT 1 UNION ALL SELECT value + 1 FROM n WHERE value < 450)"  # noqa: S608 - names of columns
                f" INSERT INTO device SELECT {chosen} FROM device, n"
            )

        await hq.store.write(many)
        hq.clock.ahead_s = 91 * DAY_S
        plans: list[int] = []
        inner = hq.store.write

        class Counting:
            async def write(self, work: Callable[[Transaction], Any]) -> Any:
                result = await inner(work)
                plans.append(len(result[0]))
                return result

            async def read(self, work: Callable[[Transaction], Any]) -> Any:
                return await hq.store.read(work)

        assert await housekeeping.follow(hq.hq, Counting(), hq.zone) == 451
        assert plans == [200, 200, 51]
        assert await hq.rows("SELECT count(*) FROM device WHERE in_dns = 1") == [(0,)]


async def test_a_name_that_was_taken_back_is_not_loaded_by_the_next_hq(stage: SetStage) -> None:
    """HQ was killed after the commit and before its zone let go of the name."""
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        box = scene.box()
        await box.admit()
        await act(scene, retire)
        assert (await ask(scene.hq, box.names[0]))[0] is dns.rcode.NOERROR
    async with setting.hq(ca=None) as scene:
        assert (await ask(scene.hq, box.names[0]))[0] is dns.rcode.NXDOMAIN
        assert await scene.hq.rows("SELECT in_dns FROM device") == [(1,)]
        assert await housekeeping.follow(scene.hq.hq, scene.hq.store, scene.hq.zone) == 1
        assert await scene.hq.rows("SELECT in_dns FROM device") == [(0,)]


async def test_a_box_that_lost_its_grant_and_was_retired_meanwhile_is_told(stage: SetStage) -> None:
    setting = await stage()
    async with setting.hq(ca=None) as scene:
        box = scene.box()
        await box.admit()
        await act(scene, retire)
        assert (await box.enroll()).problem is ProblemType.RETIRED
