"""A hundred boxes through a year in virtual time: no certificate lapses on a box that was there."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.year.ledger import Entry
from tests.year.story import Options, Verdict, run_year
from tests.year.virtual_time import NothingToDo, VirtualLoop, run_virtually

HOUR_S, DAY_S = 3600, 86_400


def live(folder: Path, **changes: object) -> Verdict:
    members: dict[str, object] = {
        "boxes": 100,
        "folder": folder,
        "short_share": 0.03,
        "checkin_s": 2 * DAY_S,
        "ask_again_s": 24 * HOUR_S,
        "say": lambda _: None,
        **changes,
    }
    return run_year(Options(**members))  # type: ignore[arg-type]


@pytest.mark.timeout(600)
def test_no_certificate_lapses_in_a_year_of_outages(tmp_path: Path) -> None:
    verdict = live(tmp_path)
    print(verdict)  # noqa: T201 - the ledger, for who runs it with -s
    assert verdict.faults == []
    assert verdict.complaints == []
    # HQ's budget knew the CA's limits better than the CA had to tell.
    assert verdict.refused == []
    assert verdict.ledger.total(Entry.REPLACED) == 0
    # Renewals were seen as renewals, and the second CA took over when the first one was gone for good.
    ledger = verdict.ledger
    assert ledger.total(Entry.EXEMPT) > 5 * ledger.total(Entry.SAME_NAMES)
    assert ledger.total(Entry.CERTIFICATE, issuer="second-ca") > 100


def test_the_verdict_notices_that_nobody_renews(tmp_path: Path) -> None:
    verdict = live(tmp_path, boxes=4, days=70, break_renewal=True)
    assert len([lapse for lapse in verdict.lapses if lapse.at_fault]) >= 3
    assert "its certificate ended on day" in verdict.faults[0]


def test_virtual_time_jumps_to_the_next_timer_and_says_when_there_is_none() -> None:
    async def sleep(loop: VirtualLoop) -> float:
        await asyncio.sleep(1_000_000)
        assert await asyncio.to_thread(lambda: 7) == 7
        return loop.time()

    assert run_virtually(sleep) == pytest.approx(1_000_000)

    async def wait(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(NothingToDo):
        run_virtually(wait)
