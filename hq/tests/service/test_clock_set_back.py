"""HQ's clock was ten years ahead for a while: what it put off meanwhile goes on when the clock is right again."""

from __future__ import annotations

from pathlib import Path

from hq.tests.store.rows import certificate, device, order

from otscert.service import housekeeping
from otscert.store.transaction import Transaction
from tests.harness.box import open_session
from tests.harness.hq import HqOptions, TestClock, run_hq
from tests.harness.scene import Scene

TEN_YEARS_S = 10 * 365 * 86_400
WEEK_S = 7 * 86_400


async def test_an_order_that_was_put_off_in_the_future_goes_on_today(tmp_path: Path) -> None:
    async with run_hq(HqOptions(folder=tmp_path, clock=TestClock())) as hq, open_session(hq) as session:
        box = Scene(hq=hq, session=session).box()
        await box.admit()
        (order,) = await hq.store.read(lambda transaction: transaction.orders.page(after_id="", limit=2))

        async def waits_s() -> int:
            (row,) = await hq.rows("SELECT next_at_s FROM cert_order")
            return int(row[0]) - hq.hq.now_s()

        def put_off(transaction: Transaction) -> None:
            transaction.orders.postpone(order, next_at_s=hq.hq.now_s() + WEEK_S, reason="later")

        await hq.store.write(put_off)
        await housekeeping.sweep(hq.hq, hq.store)
        assert WEEK_S - 60 < await waits_s() <= WEEK_S  # a CA may well say so
        hq.clock.ahead_s = TEN_YEARS_S
        await hq.store.write(put_off)
        hq.clock.ahead_s = 0
        assert await waits_s() > TEN_YEARS_S
        await housekeeping.sweep(hq.hq, hq.store)
        assert await waits_s() <= 0


async def test_a_revocation_that_was_put_off_in_the_future_goes_on_today(tmp_path: Path) -> None:
    async with run_hq(HqOptions(folder=tmp_path, clock=TestClock())) as hq:
        await hq.store.write(_put_rows)
        hq.clock.ahead_s = TEN_YEARS_S
        asked_s = hq.hq.now_s()
        sha256 = certificate().sha256
        await hq.store.write(lambda transaction: transaction.revocations.ask(sha256, reason=1, now_s=asked_s))
        hq.clock.ahead_s = 0
        await housekeeping.sweep(hq.hq, hq.store)
        now_s = hq.hq.now_s()
        due = await hq.store.read(lambda transaction: transaction.revocations.due(now_s=now_s, limit=9))
        assert [each.certificate_sha256 for each in due] == [sha256]


def _put_rows(transaction: Transaction) -> None:
    transaction.devices.add(device())
    transaction.orders.add(order())
    transaction.certificates.add(certificate())
