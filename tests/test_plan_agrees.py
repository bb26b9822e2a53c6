"""`otscert plan` and the real scheduler come to the same: 5,000 boxes through worker and store with a virtual clock."""

from __future__ import annotations

import asyncio
import random
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from pathlib import Path

import pytest
from hq.tests.store.rows import RATCHET
from hq.tests.store.rows import device as make_device
from hq.tests.store.rows import order as make_order

from otscert.domain.budget import Rank
from otscert.domain.limits import LETS_ENCRYPT, WEEK_S, LimitKind
from otscert.domain.quota import Quota
from otscert.ops.plan import Course, Plan
from otscert.ops.plan_model import simulate
from otscert.store.transaction import Transaction
from tests.harness.box import make_csr
from tests.harness.hq import ZONE
from tests.year.ca import DAY_S, HOUR_S, MemoryCa, Tokens
from tests.year.hq import Book, YearHq
from tests.year.ledger import Ledger
from tests.year.virtual_time import VirtualClock, VirtualLoop, run_virtually

BOXES, PER_DAY, START_S = 5000, 3600, 1_798_761_600
LIMITS = LETS_ENCRYPT.with_quotas({LimitKind.CERTIFICATES_PER_DOMAIN: Quota(count=100_000, period_s=WEEK_S)})
PLAN = Plan(boxes=BOXES, per_day=PER_DAY, life_s=45 * DAY_S, limits=LIMITS, public_suffix=False)
LOOK_S = 60.0
"""The worker's clock is asked so often; the plan's steps are as long."""
BOXES_OFF, SECONDS_OFF = 8, 300
"""How far both may be apart: in each hour's total, and in the moment of the last certificate."""


def really_issued(folder: Path) -> list[int]:
    """When the real scheduler issued each certificate, in seconds since the launch began."""

    async def launch(loop: VirtualLoop) -> list[int]:
        clock, book = VirtualClock(loop, start_s=START_S), Book()
        ca = MemoryCa(
            name="ca",
            now_s=clock.now_s,
            look=book.look,
            ledger=Ledger(START_S),
            lives={None: PLAN.life_s},
            per_domain=Tokens(100_000, WEEK_S),
            proved=True,
        )
        hq = YearHq(
            file=folder / "hq.db",
            clock=clock,
            cas=(ca,),
            limits={"ca": LIMITS},
            dice=random.Random(1),
            book=book,
            max_in_flight=PLAN.in_flight,
            look_s=LOOK_S,
            ask_every_s=100 * DAY_S,
        )
        await hq.begin()
        assert hq.store is not None
        await hq.store.write(_switch_on)
        async with asyncio.timeout(90 * DAY_S):
            while len(ca.issued) < BOXES:  # noqa: ASYNC110 - virtual hours; the CA has no event for it
                await asyncio.sleep(HOUR_S)
        moments = await hq.store.read(
            lambda transaction: transaction._connection.execute("SELECT issued_at_s FROM certificate").fetchall()
        )
        await hq.end()
        assert ca.refused == []
        return sorted(row[0] - START_S for row in moments)

    return run_virtually(launch)


def _switch_on(transaction: Transaction) -> None:
    """All boxes with their first orders, each due at the moment at which it is switched on."""
    csr = make_csr(secrets.randbelow(2**200) + 1, [])
    for number in range(BOXES):
        label, at_s = f"box{number}", START_S + (number + 1) * DAY_S // PER_DAY
        known = make_device(number, label=label, model="long", policy="token", last_seen_s=at_s, ratchet=RATCHET)
        names = (f"{label}.{ZONE}", f"*.{label}.{ZONE}")
        waiting = make_order(
            number,
            device_id=known.id,
            label=label,
            names=names,
            csr_der=csr,
            rank=Rank.FIRST_BOOT,
            created_at_s=at_s,
            next_at_s=at_s,
        )
        transaction.devices.add(known)
        transaction.orders.add(waiting)


def planned(course: Course, at_s: int) -> float:
    """How many first certificates the plan has by then, between its points evenly."""
    points = [(0, 0), *((point.at_ms / 1000, point.first) for point in course.points)]
    place = bisect_right([at for at, _ in points], at_s)
    if place == len(points):
        return points[-1][1]
    (before_s, before), (after_s, after) = points[place - 1], points[place]
    return before + (after - before) * (at_s - before_s) / (after_s - before_s)


def worst(course: Course, moments: Sequence[int]) -> tuple[float, int]:
    """The largest difference in any hour's total, and that hour."""
    hours = range(1, moments[-1] // HOUR_S + 2)
    return max((abs(planned(course, hour * HOUR_S) - bisect_right(moments, hour * HOUR_S)), hour) for hour in hours)


@pytest.mark.timeout(600)
def test_the_plan_and_the_real_scheduler_agree_hour_by_hour(tmp_path: Path) -> None:
    course, moments = simulate(PLAN), really_issued(tmp_path)
    assert course.peak > 1000  # the limit binds, or nothing would be shown
    assert len(moments) == BOXES
    difference, hour = worst(course, moments)
    assert difference <= BOXES_OFF, f"after {hour} hours"
    assert course.served_ms is not None
    assert abs(course.served_ms / 1000 - moments[-1]) <= SECONDS_OFF
    print(f"most apart: {difference:.1f} boxes after {hour} h; last {course.served_ms / 1000:.0f} s, {moments[-1]} s")  # noqa: T201
