"""What a launch comes to: rates that can be worked out by hand, ranks, forecasts, variants, the chart."""

from __future__ import annotations

import time
import xml.etree.ElementTree as ET
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from otscert.domain.limits import LETS_ENCRYPT, NONE_KNOWN, WEEK_S, LimitKind
from otscert.domain.quota import Quota
from otscert.ops.plan import DAY_MS, Plan, Profile, Renewals
from otscert.ops.plan_chart import draw
from otscert.ops.plan_gate import IN_FLIGHT
from otscert.ops.plan_model import simulate
from otscert.ops.plan_usage import usage
from otscert.ops.plan_variants import run_variants

DAY_S = 86_400


def plan(**changes: Any) -> Plan:
    members: dict[str, Any] = {
        "boxes": 5000,
        "per_day": None,
        "life_s": Profile.TLSSERVER.life_s,
        "limits": LETS_ENCRYPT,
        "public_suffix": True,
        **changes,
    }
    return Plan(**members)


def weekly(kind: LimitKind, count: int) -> Any:
    return LETS_ENCRYPT.with_quotas({kind: Quota(count=count, period_s=WEEK_S)})


def test_a_launch_all_at_once_goes_as_fast_as_the_account_allows() -> None:
    course = simulate(plan())
    # 299 at once, then one every 36 s: (5000 - 299) * 36.1 s.
    assert course.served_ms == pytest.approx(1.96 * DAY_MS, rel=0.01)
    assert course.longest_wait_s == pytest.approx(1.96 * DAY_S, rel=0.01)
    assert course.median_wait_s == pytest.approx(0.92 * DAY_S, rel=0.03)
    assert next(iter(course.binding)) == LimitKind.ORDERS_PER_ACCOUNT
    assert not course.computed


@pytest.mark.parametrize(
    ("changes", "days"),
    [
        ({"boxes": 300, "public_suffix": False}, 35.0),  # 50 at once, then 50 a week
        ({"boxes": 10_000, "per_day": 3000}, 4.04),  # 2,400 a day and a burst
        ({"boxes": 10_000, "per_day": 2000}, 5.0),  # as fast as they are switched on
        ({"boxes": 1_000_000, "limits": NONE_KNOWN}, 0.81),  # 100 in flight, 7 s each
        ({"boxes": 70_000, "limits": weekly(LimitKind.ORDERS_PER_ACCOUNT, 10_000)}, 42.0),
    ],
)
def test_the_last_certificate_comes_when_the_slowest_limit_lets_it(changes: dict[str, Any], days: float) -> None:
    served_ms = simulate(plan(**changes)).served_ms
    assert served_ms is not None
    assert served_ms / DAY_MS == pytest.approx(days, rel=0.02)


def test_nobody_waits_where_no_limit_binds() -> None:
    course = simulate(plan(boxes=10_000, per_day=2000))
    assert (course.peak, course.longest_wait_s, dict(course.binding)) == (0, 0, {})


def test_every_box_is_served_once_and_the_fleet_renews_as_often_as_its_life_says() -> None:
    course = simulate(plan(boxes=20_000, per_day=2000))
    last = course.points[-1]
    assert last.first == 20_000
    assert course.renewals_per_day == pytest.approx(20_000 / 30, rel=0.001)
    # Two renewal times were lived through after the launch, so each box has renewed twice or three times.
    assert 2 <= last.renewals / 20_000 <= 3
    assert all(before.first <= after.first for before, after in pairwise(course.points))


def test_renewals_in_the_window_cost_nothing_and_new_ones_starve_a_fleet() -> None:
    free, charged = plan(boxes=200_000, per_day=2000), plan(boxes=200_000, per_day=2000, renewals=Renewals.NEW)
    assert simulate(free).lapsed == 0
    assert simulate(charged).lapsed > 0
    share = {each.limit: each.share for each in usage(charged)}
    assert share["orders-per-account"] == pytest.approx(200_000 / 30 / 2400, rel=0.02)
    assert {each.share for each in usage(free) if "per-account" in each.limit} == {0}


def test_late_renewals_go_before_strangers_and_strangers_before_those_that_have_time() -> None:
    """More come than the account allows: who would lapse is served, even if strangers then wait for ever."""
    course = simulate(plan(boxes=120_000, per_day=4000, renewals=Renewals.NEW, strangers=True))
    assert max(point.renewing for point in course.points) > 10_000
    assert course.lapsed == 0
    assert course.waiting > 20_000
    assert course.served_ms is None


def test_strangers_leave_a_tenth_of_the_account_s_burst() -> None:
    vouched, strange = simulate(plan(boxes=299)), simulate(plan(boxes=299, strangers=True))
    assert vouched.longest_wait_s <= 60
    assert strange.longest_wait_s == pytest.approx(29 * 36, abs=120)


def test_ten_million_boxes_with_their_variants_take_less_than_half_a_minute() -> None:
    asked = plan(boxes=10_000_000, per_day=100_000, public_suffix=False)
    began_s = time.process_time()
    course = simulate(asked)
    variants = run_variants(asked, course, tell=lambda _, __: None)
    assert time.process_time() - began_s < 30
    assert variants[-1].course.longest_wait_s == 0
    assert "Public Suffix List" in variants[-1].name
    assert "orders-per-account" in variants[-1].name
    # What takes millennia is not simulated to its end, and says so.
    assert course.computed
    assert course.served_ms is not None
    assert course.served_ms / DAY_MS / 365 == pytest.approx(10_000_000 / 50 / 52.14, rel=0.01)
    assert course.waiting > 9_000_000


def test_variants_try_the_tiers_of_the_limit_that_binds() -> None:
    asked = plan(boxes=20_000, per_day=500, public_suffix=False)
    variants = run_variants(asked, simulate(asked), tell=lambda _, __: None)
    names = [each.name for each in variants]
    assert names == [
        "certificates-per-domain 1,000 a week",
        "certificates-per-domain 5,000 a week",
        "zone on the Public Suffix List",
    ]
    waits = [each.course.longest_wait_s for each in variants]
    assert waits[0] > 30 * DAY_S
    assert waits[1:] == [0, 0]


def test_more_in_flight_is_offered_where_hq_binds_itself() -> None:
    asked = plan(boxes=1_000_000, limits=weekly(LimitKind.ORDERS_PER_ACCOUNT, 1_000_000))
    course = simulate(asked)
    assert next(iter(course.binding)) == IN_FLIGHT
    (variant,) = run_variants(asked, course, tell=lambda _, __: None)
    assert variant.plan == replace(asked, in_flight=291)  # 250 requests a second, 6 for each order, 7 s


@pytest.mark.parametrize("boxes", [1, 5000, 2_000_000])
def test_the_chart_is_a_picture_with_axes_units_and_a_white_ground(boxes: int) -> None:
    course = simulate(plan(boxes=boxes, per_day=max(1, boxes // 3)))
    text = draw(course, title="A & B <launch>", facts=("one", "two"))
    root = ET.fromstring(text)  # noqa: S314
    words = [element.text for element in root.iter() if element.text and element.text.strip()]
    assert "A & B <launch>" in words
    assert {"boxes", "orders per day", "without a certificate"} <= set(words)
    assert any(word.endswith("since the launch began") for word in words)
    assert 'fill="#ffffff"' in text
    for line in root.iter("{http://www.w3.org/2000/svg}polyline"):
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert all(0 <= x <= 960 and 0 <= y <= 640 for x, y in points)
        assert all(before[0] <= after[0] for before, after in pairwise(points))
