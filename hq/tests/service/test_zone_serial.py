"""The serial over restarts: never back, and never beyond what the store knows of."""

from __future__ import annotations

import asyncio
from pathlib import Path

from otscert.service.zone_serial import SerialKeeper
from otscert.store.sqlite import SqliteStore
from otscert.store.zone_places import SERIAL
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

NOW_S = 1_800_000_000


class Clock:
    def __init__(self, now_s: int) -> None:
        self.now_s = now_s

    def now_ms(self) -> int:
        return self.now_s * 1000


def new_zone() -> Zone:
    return Zone(ZoneSettings(origin="b.example", name_servers=("ns.example.net",), contact="h.example"))


async def test_a_restart_goes_on_beyond_the_ceiling_and_a_clock_only_ahead(tmp_path: Path) -> None:
    store = SqliteStore.open(tmp_path / "hq.db")
    firsts = []
    for now_s in (NOW_S, NOW_S, 5, NOW_S + 1_000_000):
        zone = new_zone()
        await SerialKeeper(store=store, zone=zone, clock=Clock(now_s), step=10).start()
        firsts.append(zone.serial - NOW_S)
    assert firsts == [0, 11, 22, 1_000_000]
    await store.close()


async def test_the_ceiling_is_kept_before_it_is_used(tmp_path: Path) -> None:
    store, zone = SqliteStore.open(tmp_path / "hq.db"), new_zone()
    keeper = SerialKeeper(store=store, zone=zone, clock=Clock(NOW_S), step=10)
    await keeper.start()
    for number in range(25):
        zone.put_txt("one", f"v{number}")
    assert zone.serial == NOW_S + 10
    work = asyncio.create_task(keeper.work())
    async with asyncio.timeout(10):
        while zone.serials_left < 5:  # noqa: ASYNC110 - the keeper has no event for others
            await asyncio.sleep(0.001)
    kept = await store.read(lambda transaction: transaction.zone_places.get(SERIAL))
    assert kept is not None
    assert (zone.serial, kept - NOW_S) == (NOW_S + 11, 20)
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await store.close()
