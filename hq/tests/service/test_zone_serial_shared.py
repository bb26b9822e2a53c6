"""Two processes on one PostgreSQL show the same serial for the same content: a secondary may ask either."""

from __future__ import annotations

import asyncio
from functools import partial
from itertools import pairwise

from hq.tests.store.rows import device

from otscert.service.signals import LocalSignals
from otscert.service.zone_following import ZoneFollower
from otscert.store.postgresql import PostgresStore
from otscert.store.transaction import Transaction
from otscert.zones.serials import is_ahead
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone
from tests.harness.hq import make_model

ORIGIN = "boxes.example.com"


def follower_of(store: PostgresStore) -> tuple[ZoneFollower, Zone]:
    zone = Zone(ZoneSettings(origin=ORIGIN, name_servers=("ns.example.net",), contact=f"hostmaster.{ORIGIN}"))
    models = {"box": make_model()}
    return ZoneFollower(models=models, issuers=(), store=store, signals=LocalSignals(), zone=zone), zone


def _add(transaction: Transaction, *, number: int) -> None:
    transaction.devices.add(device(number))


async def test_two_followers_have_equal_serials_after_the_same_changes(postgres_url: str) -> None:
    store = await asyncio.to_thread(PostgresStore.open, postgres_url)
    (one, zone), (other, other_zone) = follower_of(store), follower_of(store)
    await one.load()
    await other.load()
    seen = [zone.serial]
    for number in range(1, 4):
        await store.write(partial(_add, number=number))
        # One looks after each change, the other one only now and then.
        while await one.catch_up():
            pass
        seen.append(zone.serial)
        if number % 2:
            while await other.catch_up():
                pass
            assert (zone.serial, set(zone.rrs())) == (other_zone.serial, set(other_zone.rrs()))
    assert all(is_ahead(later, earlier) for earlier, later in pairwise(seen))
    await store.close()
