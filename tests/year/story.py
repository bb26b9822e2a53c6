"""The story of a year: who is switched on when, what fails when, and the verdict at its end."""

from __future__ import annotations

import asyncio
import gc
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from otscert.domain.limits import LETS_ENCRYPT, WEEK_S, LimitKind
from otscert.domain.quota import Quota
from otscert_agent.backoff import CAP_S
from tests.year.box import Served, YearBox
from tests.year.ca import DAY_S, HOUR_S, MemoryCa, Tokens
from tests.year.hq import Book, YearHq
from tests.year.ledger import Entry, Ledger
from tests.year.virtual_time import VirtualClock, VirtualLoop, run_virtually

START_S = 1_798_761_600
"""2027-01-01."""
YEAR_DAYS = 365
LIVES = {None: 45 * DAY_S, "tlsserver": 45 * DAY_S, "shortlived": 160 * HOUR_S}
LAUNCH_DAYS = 20
HQ_AWAY = (80, 83)
CA_AWAY = (130, 132)
NETWORK_AWAY = (170, 172)
RECALL_DAY, REVOKED_AFTER_DAYS = 210, 5
FIRST_CA_ENDS_DAY = 320
DOMAIN_WEEKLY = 2000


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """`short_share` of the boxes have certificates of 160 hours, the others of 45 days."""

    boxes: int
    folder: Path
    short_share: float = 0.1
    seed: int = 1
    days: int = YEAR_DAYS
    checkin_s: int = DAY_S
    """How often boxes call that have nothing to do."""
    ask_again_s: float = 12 * HOUR_S
    """How often the CA wants to be asked for windows."""
    break_renewal: bool = False
    """Nobody is told to renew: the verdict has to notice."""
    say: Callable[[str], None] = print


@dataclass(frozen=True, slots=True, kw_only=True)
class Lapse:
    """A certificate that ended on a box before another one was served.

    `at_fault`: in the last third of its life the box was there, while HQ was, for longer than boxes wait between tries.
    """

    box: str
    served: Served
    until_s: int | None
    at_fault: bool


@dataclass(slots=True, kw_only=True)
class Verdict:
    boxes: int
    lapses: list[Lapse]
    revoked_in_use: list[str]
    """Boxes that were on for long enough after the recall and still served what the CA then revoked."""
    never_served: list[str]
    refused: list[str]
    """Orders that the CA refused for a rate limit: HQ's budget should have known."""
    unfinished: int
    """Orders that wait at the end, though their boxes are there."""
    complaints: list[str]
    ledger: Ledger
    certificates: int = 0

    @property
    def faults(self) -> list[str]:
        """Why the year was not a good one; empty when it was."""
        found = [
            f"{lapse.box}: its certificate ended on day {(lapse.served.not_after_s - START_S) / DAY_S:.1f}"
            for lapse in self.lapses
            if lapse.at_fault
        ]
        found += [f"{box}: served a revoked certificate" for box in self.revoked_in_use]
        found += [f"{box}: never had a certificate" for box in self.never_served]
        if self.unfinished:
            found.append(f"{self.unfinished} orders were never finished")
        return found

    def __str__(self) -> str:
        away = sum(not lapse.at_fault for lapse in self.lapses)
        faults = self.faults
        lines = [
            self.ledger.table(),
            "",
            f"{self.boxes} boxes, {self.certificates} certificates",
            f"{away} lapsed on boxes that were off, or on only while HQ was away",
            f"{len(self.refused)} orders refused for a rate limit, {len(self.complaints)} complaints of boxes",
            *(f"FAULT {fault}" for fault in faults[:20]),
            f"verdict: {len(faults)} faults" if faults else "verdict: no certificate lapsed on a box that was there",
        ]
        return "\n".join(lines)


@dataclass(slots=True, kw_only=True)
class _Year:
    options: Options
    loop: VirtualLoop
    clock: VirtualClock
    ledger: Ledger
    hq: YearHq
    first: MemoryCa
    second: MemoryCa
    boxes: list[YearBox]
    recalled_s: int = 0
    tasks: list[asyncio.Task[None]] = field(default_factory=list)


def run_year(options: Options) -> Verdict:
    """Live through the year in virtual time; raise what a service or a box raised that nobody caught."""
    # Everything that a year makes lives to its end: looking for garbage in it costs a fifth of the time.
    gc.collect()
    gc.freeze()
    collecting = gc.isenabled()
    gc.disable()
    try:
        return run_virtually(lambda loop: _live(_set_up(options, loop)))
    finally:
        gc.unfreeze()
        if collecting:
            gc.enable()


def _set_up(options: Options, loop: VirtualLoop) -> _Year:
    clock, book, ledger = VirtualClock(loop, start_s=START_S), Book(), Ledger(START_S)
    dice = random.Random(options.seed)
    first = _ca("first-ca", options, clock, book, ledger, away=[CA_AWAY, (FIRST_CA_ENDS_DAY, 10 * YEAR_DAYS)])
    second = _ca("second-ca", options, clock, book, ledger, away=[])
    limits = LETS_ENCRYPT.with_quotas({LimitKind.CERTIFICATES_PER_DOMAIN: Quota(count=DOMAIN_WEEKLY, period_s=WEEK_S)})
    hq = YearHq(
        file=options.folder / "hq.db",
        clock=clock,
        cas=(first, second),
        limits={first.name: limits, second.name: limits},
        dice=random.Random(dice.random()),
        book=book,
        checkin_s=options.checkin_s,
        ask_every_s=options.ask_again_s / 4,
    )
    boxes = [_box(number, options, hq, clock, random.Random(dice.random())) for number in range(options.boxes)]
    return _Year(options=options, loop=loop, clock=clock, ledger=ledger, hq=hq, first=first, second=second, boxes=boxes)


def _ca(
    name: str,
    options: Options,
    clock: VirtualClock,
    book: Book,
    ledger: Ledger,
    *,
    away: Sequence[tuple[int, int]],
) -> MemoryCa:
    return MemoryCa(
        name=name,
        now_s=clock.now_s,
        look=book.look,
        ledger=ledger,
        lives=LIVES,
        away=[(_at(start), _at(end)) for start, end in away],
        per_domain=Tokens(DOMAIN_WEEKLY, WEEK_S),
        ask_again_s=options.ask_again_s,
    )


def _box(number: int, options: Options, hq: YearHq, clock: VirtualClock, dice: random.Random) -> YearBox:
    short = number < options.boxes * options.short_share
    return YearBox(
        name=f"box-{number}",
        model="short" if short else "long",
        hq=hq,
        clock=clock,
        dice=dice,
        on_s=_at(dice.random() * LAUNCH_DAYS),
        off=_off_times(number, dice, days=options.days),
    )


def _off_times(number: int, dice: random.Random, *, days: int) -> list[tuple[int, int]]:
    """Every tenth box is off for months, every third for days now and then, every third has no network for two days."""
    spans: list[tuple[float, float]] = []
    if number % 10 == 9:
        start = 40 + dice.random() * 100
        spans.append((start, start + 60 + dice.random() * 100))
    elif number % 3 == 1:
        start = LAUNCH_DAYS + dice.random() * 20
        while start < days:
            spans.append((start, start + 0.1 + dice.random() * 20))
            start += 30 + dice.random() * 40
    elif number % 3 == 2:
        spans.append(NETWORK_AWAY)
    # Who comes back for a moment while HQ or the CA is away could not be helped by anybody.
    return [(_at(start), _at(_after_outages(end))) for start, end in spans]


def _after_outages(day: float) -> float:
    for start, end in (HQ_AWAY, CA_AWAY):
        if start - 0.5 <= day <= end:
            return end + 0.5
    return day


def _at(day: float) -> int:
    return START_S + int(day * DAY_S)


async def _live(year: _Year) -> Verdict:
    hq = year.hq
    await hq.begin()
    year.tasks = [asyncio.create_task(box.live()) for box in year.boxes]

    async def hq_ends() -> None:
        await hq.end()

    async def recall() -> None:
        year.recalled_s = year.clock.now_s()
        year.first.recall_all()

    if year.options.break_renewal:
        _never_renew(year)
    story = [(HQ_AWAY[0], hq_ends), (HQ_AWAY[1], hq.begin), (RECALL_DAY, recall)]
    for day, act in [*story, (year.options.days, hq_ends)]:
        await _until(year, min(day, year.options.days))
        if day < year.options.days:
            await act()
    unfinished = await _unfinished(year)
    for task in year.tasks:
        task.cancel()
    ended = await asyncio.gather(*year.tasks, return_exceptions=True)
    await hq.end()
    for result in ended:
        if isinstance(result, Exception):
            raise result
    return _judge(year, unfinished=unfinished)


async def _until(year: _Year, day: float) -> None:
    """Let time go by, and end at once when a box's life ended with an error."""
    while (left_s := _at(day) - year.clock.now_s()) > 0:
        await asyncio.sleep(min(left_s, 30 * DAY_S))
        for task in year.tasks:
            if task.done():
                task.result()
        issued = year.ledger.total(Entry.CERTIFICATE)
        year.options.say(f"day {(year.clock.now_s() - START_S) // DAY_S}: {issued:,} certificates")


def _never_renew(year: _Year) -> None:
    """Break it on purpose: boxes hear no command any more."""
    for box in year.boxes:
        box.deaf = True


async def _unfinished(year: _Year) -> int:
    """Orders older than three days whose box was on for the last day."""
    store, now_s = year.hq.store, year.clock.now_s()
    assert store is not None
    on = {box.name for box in year.boxes if box.on_for_s(now_s - DAY_S, now_s) == DAY_S}
    rows = await store.read(
        lambda transaction: transaction._connection.execute(
            "SELECT device.fingerprint FROM cert_order JOIN device ON device.id = cert_order.device_id"
            " WHERE cert_order.state NOT IN ('issued', 'failed') AND cert_order.created_at_s < ?",
            (now_s - 3 * DAY_S,),
        ).fetchall()
    )
    return sum(row[0] in on for row in rows)


def _judge(year: _Year, *, unfinished: int) -> Verdict:
    end_s = year.clock.now_s()
    lapses = [lapse for box in year.boxes for lapse in _lapses(box, end_s)]
    return Verdict(
        boxes=len(year.boxes),
        lapses=lapses,
        revoked_in_use=[box.name for box in year.boxes if year.recalled_s and _serves_revoked(box, year)],
        never_served=[box.name for box in year.boxes if not box.served],
        refused=[*year.first.refused, *year.second.refused],
        unfinished=unfinished,
        complaints=[f"{box.name}: {each}" for box in year.boxes for each in box.complaints],
        ledger=year.ledger,
        certificates=year.ledger.total(Entry.CERTIFICATE),
    )


def _lapses(box: YearBox, end_s: int) -> list[Lapse]:
    found = []
    followers: list[int | None] = [each.since_s for each in box.served[1:]]
    for served, next_s in zip(box.served, [*followers, None], strict=True):
        if (next_s or end_s) <= served.not_after_s:
            continue
        third_s = (served.not_after_s - served.not_before_s) // 3
        there_s = box.on_for_s(
            served.not_after_s - third_s, served.not_after_s, besides=[(_at(HQ_AWAY[0]), _at(HQ_AWAY[1]))]
        )
        at_fault = there_s > CAP_S
        found.append(Lapse(box=box.name, served=served, until_s=next_s, at_fault=at_fault))
    return found


def _serves_revoked(box: YearBox, year: _Year) -> bool:
    """Whether a box still served an older certificate when the CA revoked it, though it had been on for long enough.

    Long enough is until HQ has asked the CA again and the box has called again, at the pace that both had before.
    """
    revoked_s = year.recalled_s + REVOKED_AFTER_DAYS * DAY_S
    until_then = [each for each in box.served if each.since_s <= revoked_s]
    if not until_then or until_then[-1].since_s > year.recalled_s or until_then[-1].not_after_s <= revoked_s:
        return False
    enough_s = 1.1 * year.options.ask_again_s + year.options.checkin_s
    return box.on_for_s(year.recalled_s, revoked_s) > enough_s
