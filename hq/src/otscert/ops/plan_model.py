"""Runs a plan: cohorts of boxes instead of boxes, steps as long as the limits allow, the budget by `plan_gate`.

A launch of ten million boxes is a few thousand steps. In each, boxes are switched on, certificates fall due, and both
are served in the order of their ranks as far as the limits have room; who is served is due again after his renewal
time. Within a step everything is taken to happen evenly, so a moment is exact to about one step.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass, field

from otscert.domain.admission import Policy
from otscert.domain.budget import Exemption, Rank
from otscert.domain.limits import HOUR_S
from otscert.domain.ranking import rank_order
from otscert.domain.renewal import judge_renewal
from otscert.ops.plan import DAY_MS, Course, Plan, Point
from otscert.ops.plan_gate import Gate, orders_per_s, shared_quotas

MOST_STEPS = 20_000
_FINE_STEPS = 3000
_SHORTEST_MS = 20_000
_PIECES = 8
"""A cohort's renewals are spread over the window in so many pieces."""
_LIVES_AFTER = 2
"""Renewal times that are simulated after the last first boot."""
_MOST_POINTS = 900
Tell = Callable[[int], None]


@dataclass(slots=True, kw_only=True)
class _Run:
    plan: Plan
    gate: Gate
    now_ms: int = 0
    arrived: int = 0
    served: int = 0
    first: deque[list[int]] = field(default_factory=deque)
    due: deque[list[int]] = field(default_factory=deque)
    renewed: int = 0
    late: deque[list[int]] = field(default_factory=deque)
    """Renewals that have waited for so long that they go before others."""
    ahead: list[tuple[int, int]] = field(default_factory=list)
    waits: Counter[int] = field(default_factory=Counter)
    binding: Counter[str] = field(default_factory=Counter)
    points: list[Point] = field(default_factory=list)
    waiting: int = 0
    renewing: int = 0
    expiring: int = 0
    """Of those renewing, the late ones."""
    lapsed: int = 0
    last_first_ms: int = 0
    busy_ms: int = HOUR_S * 1000
    busy: Counter[int] = field(default_factory=Counter)
    """Renewals after the launch, by stretches of `busy_ms`."""
    owed: float = 0.0
    """Orders that the pace allows and that were not placed: fractions of one."""


def simulate(plan: Plan, *, tell: Tell | None = None, most_steps: int = MOST_STEPS) -> Course:
    """Run a plan to its end; `tell` hears how many boxes have their first certificate, step by step.

    A launch that takes more steps is not simulated to its end: what is left follows from the rate that was reached.
    """
    quickest_ms, coarse_ms = _steps(plan)
    run = _Run(
        plan=plan,
        gate=Gate(limits=plan.limits, public_suffix=plan.public_suffix),
        busy_ms=max(HOUR_S * 1000, 4 * coarse_ms),
    )
    _step(run, 0)
    while run.served < plan.boxes and len(run.points) < most_steps:
        _step(run, quickest_ms)
        if tell is not None:
            tell(run.served)
    complete = run.served == plan.boxes
    after_ms = run.now_ms + _LIVES_AFTER * (plan.renew_after_ms + plan.window_ms) if complete else 0
    while run.now_ms < after_ms:
        _step(run, min(coarse_ms, after_ms - run.now_ms))
    return _course(run, complete=complete)


def _steps(plan: Plan) -> tuple[int, int]:
    """The lengths of a step until the last first boot, and after it."""
    quotas = list(shared_quotas(plan).values())
    pace = min([orders_per_s(plan)[0], *(quota.count / quota.period_s for quota in quotas)])
    # A bucket that is full before the next look loses what would have come in: no step is longer than that takes.
    longest_ms = plan.renew_after_ms // 40
    for quota in quotas:
        longest_ms = min(longest_ms, int(quota.count / pace) * 1000, quota.period_s * 1000)
    whole_ms = max(plan.launch_ms, int(plan.boxes / pace * 1000))
    longest_ms = max(longest_ms, _SHORTEST_MS)
    fine_ms = max(_SHORTEST_MS, whole_ms // _FINE_STEPS)
    return min(longest_ms, fine_ms), min(longest_ms, plan.renew_after_ms // 200)


def _step(run: _Run, length_ms: int) -> None:
    plan = run.plan
    end_ms = run.now_ms + length_ms
    middle_ms = run.now_ms + length_ms // 2
    arrived = plan.arrived(end_ms)
    if arrived > run.arrived:
        run.first.append([0 if plan.per_day is None else middle_ms, arrived - run.arrived])
        run.waiting += arrived - run.arrived
        run.arrived = arrived
    while run.ahead and run.ahead[0][0] <= end_ms:
        at_ms, count = heapq.heappop(run.ahead)
        run.due.append([at_ms, count])
        run.renewing += count
    pace, paced_by = orders_per_s(plan)
    # What is let go in one moment is what may be in flight; in a longer step, what the pace lets through.
    run.owed = max(plan.in_flight, pace * length_ms / 1000 + run.owed % 1)
    boots = Rank.STRANGER if plan.strangers else Rank.FIRST_BOOT
    first = renewed = 0
    for rank in sorted({Rank.FIRST_BOOT, Rank.EXPIRING, Rank.STRANGER, Rank.ROUTINE}):
        if rank is boots:
            first = _serve_first(run, rank, middle_ms, end_ms, paced_by)
        elif rank in {Rank.EXPIRING, Rank.ROUTINE}:
            renewed += _serve_due(run, rank, middle_ms, end_ms)
    run.served += first
    run.binding["any"] += length_ms if run.waiting else 0
    _renew_later(run, first + renewed, length_ms)
    if run.arrived == plan.boxes and run.served == plan.boxes:
        run.busy[middle_ms // run.busy_ms] += renewed
    run.renewed += renewed
    run.now_ms = end_ms
    run.points.append(
        Point(at_ms=end_ms, queue=run.waiting, renewing=run.renewing, first=run.served, renewals=run.renewed)
    )


def _serve_first(run: _Run, rank: Rank, middle_ms: int, end_ms: int, paced_by: str) -> int:
    if not run.waiting:
        return 0
    room, limit = run.gate.room(rank, Exemption.NONE, now_ms=end_ms)
    count = min(run.waiting, room, int(run.owed))
    if count < run.waiting:
        run.binding[limit if count == room else paced_by] += end_ms - run.now_ms
    if count:
        run.gate.spend(rank, Exemption.NONE, now_ms=end_ms, count=count)
        run.owed -= count
        run.waiting -= count
        run.last_first_ms = end_ms
        for at_ms, taken in _take(run.first, count):
            run.waits[max(0, middle_ms - at_ms) // 1000] += taken
    return count


def _serve_due(run: _Run, rank: Rank, middle_ms: int, end_ms: int) -> int:
    plan, exemption = run.plan, run.plan.renewals.exemption
    if rank is Rank.EXPIRING:
        _note_late(run, end_ms)
    wanted = run.expiring if rank is Rank.EXPIRING else run.renewing - run.expiring
    if not wanted:
        return 0
    room, _ = run.gate.room(rank, exemption, now_ms=end_ms)
    count = min(wanted, room, int(run.owed))
    if count:
        run.gate.spend(rank, exemption, now_ms=end_ms, count=count)
        run.owed -= count
        run.renewing -= count
        run.expiring -= count if rank is Rank.EXPIRING else 0
        rest_ms = plan.life_s * 1000 - plan.renew_after_ms
        for at_ms, taken in _take(run.late if rank is Rank.EXPIRING else run.due, count):
            run.lapsed += taken if middle_ms > at_ms + rest_ms else 0
    return count


def _note_late(run: _Run, now_ms: int) -> None:
    """Move up the due renewals whose certificates near their end, by the rule that HQ ranks orders by."""
    while run.due:
        began_s = (run.due[0][0] - run.plan.renew_after_ms) // 1000
        decision = judge_renewal(not_before_s=began_s, not_after_s=began_s + run.plan.life_s, now_s=now_ms // 1000)
        if rank_order(policy=Policy.FACTORY, lane=decision.lane).rank is not Rank.EXPIRING:
            return
        run.expiring += run.due[0][1]
        run.late.append(run.due.popleft())


def _take(queue: deque[list[int]], count: int) -> list[tuple[int, int]]:
    """Take so many boxes from the queue's head: the moments since when they waited, and how many each."""
    taken: list[tuple[int, int]] = []
    while count:
        at_ms, many = queue[0]
        some = min(many, count)
        taken.append((at_ms, some))
        count -= some
        if some == many:
            queue.popleft()
        else:
            queue[0][1] -= some
    return taken


def _renew_later(run: _Run, count: int, length_ms: int) -> None:
    """Who got a certificate in this step is due again, spread over the step and over the CA's window."""
    if not count:
        return
    spread_ms = length_ms + run.plan.window_ms
    start_ms = run.now_ms + run.plan.renew_after_ms - run.plan.window_ms // 2
    pieces = min(count, _PIECES, 2 + spread_ms // max(length_ms, 1))
    for number in range(pieces):
        share = count * (number + 1) // pieces - count * number // pieces
        at_ms = start_ms + spread_ms * (2 * number + 1) // (2 * pieces)
        heapq.heappush(run.ahead, (at_ms, share))


def _course(run: _Run, *, complete: bool) -> Course:
    plan = run.plan
    peak = max(run.points, key=lambda point: point.queue)
    served_ms, longest_s = (run.last_first_ms, max(run.waits, default=0)) if complete else _forecast(run)
    held_ms = run.binding.pop("any", 0)
    return Course(
        points=_thinned(run.points),
        served_ms=served_ms,
        computed=not complete,
        longest_wait_s=longest_s,
        median_wait_s=_median(run, served_ms, complete=complete),
        peak=peak.queue,
        peak_ms=peak.at_ms,
        binding={name: held / held_ms for name, held in run.binding.most_common() if held},
        renewals_per_day=plan.boxes * DAY_MS / plan.renew_after_ms,
        busiest_per_s=max(run.busy.values(), default=0) / (run.busy_ms / 1000) if complete else None,
        lapsed=run.lapsed,
        waiting=plan.boxes - run.served,
    )


def _forecast(run: _Run) -> tuple[int | None, int]:
    """When the last one is served, at the rate of the last quarter; and how long he will have waited."""
    quarter = run.points[-len(run.points) // 4 :]
    length_ms = quarter[-1].at_ms - quarter[0].at_ms
    served = quarter[-1].first - quarter[0].first
    if served <= 0 or length_ms <= 0:
        return None, 0
    served_ms = run.now_ms + (run.plan.boxes - run.served) * length_ms // served
    return served_ms, (served_ms - run.plan.launch_ms) // 1000


def _median(run: _Run, served_ms: int | None, *, complete: bool) -> int:
    waits = Counter(run.waits)
    if not complete and served_ms is not None:
        # The others are served evenly from now on: a wait for each hundredth of them.
        left = run.plan.boxes - run.served
        for part in range(100):
            at_ms = run.now_ms + (served_ms - run.now_ms) * (2 * part + 1) // 200
            since_ms = run.plan.launch_ms * (run.served + left * part // 100) // run.plan.boxes
            waits[(at_ms - since_ms) // 1000] += left // 100
    half, seen = sum(waits.values()) / 2, 0
    for wait_s, count in sorted(waits.items()):
        seen += count
        if seen >= half:
            return wait_s
    return 0


def _thinned(points: list[Point]) -> tuple[Point, ...]:
    """Few enough points to draw, with the highest queue of each stretch."""
    size = -(-len(points) // _MOST_POINTS)
    stretches = [points[start : start + size] for start in range(0, len(points), size)]
    return tuple(
        Point(
            at_ms=stretch[-1].at_ms,
            queue=max(point.queue for point in stretch),
            renewing=max(point.renewing for point in stretch),
            first=stretch[-1].first,
            renewals=stretch[-1].renewals,
        )
        for stretch in stretches
    )
