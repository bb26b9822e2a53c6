"""A name that a server elsewhere refuses: the others are taken, and it is tried again by itself."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import device

from otscert.counting import Tally
from otscert.domain.setting_aside import MOST_ASIDE, MOST_REFUSALS, Step, after_refusal, rest_s
from otscert.service.signals import LocalSignals
from otscert.service.zone_pushing import ZonePusher
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from otscert.zones.errors import UpdateError
from otscert.zones.settings import ZoneSettings
from otscert.zones.update import Change
from otscert.zones.update_sheet import UpdateSheet
from tests.harness.hq import make_model

ORIGIN = "boxes.example.com"
MANY = range(1, 61)


@pytest.mark.parametrize(
    ("kind", "so_far", "step"),
    [
        ("refused", {"names": 500, "refusals": 1, "taken": False, "aside": 0}, Step.HALVE),
        ("servfail", {"names": 2, "refusals": MOST_REFUSALS - 1, "taken": False, "aside": 0}, Step.HALVE),
        ("refused", {"names": 2, "refusals": MOST_REFUSALS, "taken": False, "aside": 0}, Step.REST),
        ("refused", {"names": 2, "refusals": MOST_REFUSALS, "taken": True, "aside": 0}, Step.HALVE),
        ("formerr", {"names": 1, "refusals": 9, "taken": False, "aside": 0}, Step.PUT_ASIDE),
        ("notzone", {"names": 1, "refusals": 9, "taken": True, "aside": MOST_ASIDE - 1}, Step.PUT_ASIDE),
        ("notzone", {"names": 1, "refusals": 9, "taken": True, "aside": MOST_ASIDE}, Step.REST),
        ("no answer", {"names": 500, "refusals": 1, "taken": True, "aside": 0}, Step.REST),
        ("notauth", {"names": 500, "refusals": 1, "taken": True, "aside": 0}, Step.REST),
        ("key", {"names": 1, "refusals": 1, "taken": True, "aside": 0}, Step.REST),
    ],
)
def test_what_follows_a_refusal(kind: str, so_far: dict[str, Any], step: Step) -> None:
    decision = after_refusal(kind, **so_far)
    assert (decision.step, bool(decision.reason)) == (step, True)


def test_rests_grow_to_an_hour() -> None:
    assert [rest_s(refused) for refused in (1, 2, 3, 50)] == [30, 60, 120, 3600]


@dataclass(slots=True, kw_only=True)
class Scripted:
    """A server that refuses every message with one of these names in it."""

    shown: str = "192.0.2.53:53"
    refuses: Callable[[bytes], str] = lambda _: ""
    has: set[bytes] = field(default_factory=set)
    messages: int = 0

    async def update(self, changes: Sequence[Change]) -> int:
        self.messages += 1
        first = [_first_label(change) for change in changes]
        for name in first:
            if kind := self.refuses(name):
                raise UpdateError(kind, f"{self.shown} answered {kind.upper()}")
        self.has |= set(first)
        return 1


def _first_label(change: Change) -> bytes:
    owner = next(iter(change.emptied))[0]
    return owner[1 : 1 + owner[0]]


def refusing(*names: str, kind: str = "refused") -> Callable[[bytes], str]:
    octets = {name.encode() for name in names}
    return lambda name: kind if name in octets else ""


@dataclass(slots=True, kw_only=True)
class Pushed:
    server: Scripted
    store: SqliteStore
    taken: bool = False
    now_s: float = 1000.0
    counts: Tally = field(default_factory=Tally)

    def pusher(self) -> ZonePusher:
        settings = ZoneSettings(
            origin=ORIGIN,
            name_servers=("ns.example.net",),
            contact=f"hostmaster.{ORIGIN}",
            server_addresses={f"label5.{ORIGIN}": (ip_address("203.0.113.5"),)} if self.taken else {},
        )
        return ZonePusher(
            models={"box": make_model()},
            issuers=("ca",),
            store=self.store,
            signals=LocalSignals(),
            sheet=UpdateSheet(settings),
            server=self.server,
            extent=ORIGIN,
            updates=self.counts,
            now_s=lambda: self.now_s,
        )

    async def add(self, numbers: Sequence[int]) -> None:
        def add(transaction: Transaction) -> None:
            for number in numbers:
                transaction.devices.add(device(number))

        await self.store.write(add)


@pytest.fixture
async def pushed(tmp_path: Path) -> AsyncIterator[Pushed]:
    store = SqliteStore.open(tmp_path / "hq.db", followed=True)
    yield Pushed(server=Scripted(), store=store)
    await store.close()


async def level(pusher: ZonePusher) -> None:
    for _ in range(100):
        if await pusher.step() is None:
            return
    pytest.fail("it never comes to an end")


async def test_one_refused_name_holds_up_no_other(pushed: Pushed) -> None:
    await pushed.add(MANY)
    pushed.server.refuses = refusing("label7", "label31")
    pusher = pushed.pusher()
    await level(pusher)
    assert pushed.server.has == {f"label{number}".encode() for number in MANY if number not in {7, 31}} | {b"boxes"}
    assert pushed.server.messages < 40
    assert pushed.counts.snapshot()["192.0.2.53:53", "set aside"] == 2
    before = pushed.server.messages
    await level(pusher)
    assert pushed.server.messages == before, "a refused name is left alone"
    pushed.now_s += 31
    await level(pusher)
    assert pushed.server.messages == before + 2
    pushed.now_s += 31
    await level(pusher)
    assert pushed.server.messages == before + 2, "the second rest is longer"


async def test_a_refused_name_is_known_to_the_next_process_and_taken_in_the_end(pushed: Pushed) -> None:
    await pushed.add(MANY)
    pushed.server.refuses = refusing("label7")
    await level(pushed.pusher())
    pushed.server.refuses = refusing()
    pusher = pushed.pusher()
    await pusher.step()
    await level(pusher)
    assert b"label7" in pushed.server.has
    kept = await pushed.store.read(lambda t: t.zone_places.those("pushed 192.0.2.53:53: refused "))
    assert kept == {}


async def test_a_single_name_is_set_aside_only_when_the_server_takes_something(pushed: Pushed) -> None:
    await pushed.add([1])
    pusher = pushed.pusher()
    await level(pusher)
    pushed.server.refuses = refusing("label2")
    await pushed.add([2])
    await level(pusher)
    pushed.server.refuses = refusing("label2", "label3", "boxes")
    await pushed.add([3])
    with pytest.raises(UpdateError):
        await pusher.step()
    pushed.server.refuses = refusing("label2")
    await level(pusher)
    assert pushed.server.has >= {b"label1", b"label3"}


@pytest.mark.parametrize(("kind", "messages"), [("refused", MOST_REFUSALS), ("no answer", 1)])
async def test_a_server_that_takes_nothing_is_not_hammered(pushed: Pushed, kind: str, messages: int) -> None:
    await pushed.add(MANY)
    pushed.server.refuses = lambda _: kind
    pusher = pushed.pusher()
    await pusher.step()
    with pytest.raises(UpdateError):
        await pusher.step()
    assert pushed.server.messages == messages
    pushed.server.refuses = refusing()
    await level(pusher)
    assert len(pushed.server.has) == len(MANY) + 1


async def test_a_name_server_of_the_zone_keeps_its_name_and_addresses(pushed: Pushed) -> None:
    pushed.taken = True
    await pushed.add(MANY)
    await level(pushed.pusher())
    assert pushed.server.has == {f"label{number}".encode() for number in MANY if number != 5} | {b"boxes"}
