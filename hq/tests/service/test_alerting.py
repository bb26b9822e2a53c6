"""Looking, handing to the outbox and sending: with a real store, a clock that is told, and channels that fail."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.alert_message import Message
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Kind
from otscert.domain.order import OrderState
from otscert.notify.errors import NotDelivered
from otscert.service.alert_facts import Watched
from otscert.service.alert_sending import CLAIMED_S, Sending, back_off_s
from otscert.service.alerting import DIGEST, HEARD, LOOKED, Alerting
from otscert.service.context import Hq
from otscert.service.signals import LocalSignals
from otscert.store.issuers import AccountProblem, Issuer
from otscert.store.outbox import Posted
from otscert.store.sqlite import SqliteStore
from tests.harness.hq import HqOptions, _hq

START_S = 20_000 * DAY_S + 6 * HOUR_S
PROBLEM = AccountProblem(kind="paused", reason="too many failures", link="https://ca.example/unpause", since_s=START_S)


class Clock:
    def __init__(self) -> None:
        self.now_s = START_S

    def now_ms(self) -> int:
        return self.now_s * 1000


@dataclass(slots=True)
class Listener:
    """A channel that keeps what it is sent, or refuses with `problem`; `dies` ends it as kill -9 does after a send."""

    problem: str = ""
    error: type[Exception] = NotDelivered
    dies: bool = False
    heard: list[Message] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def send(self, message: Message) -> None:
        if self.problem:
            raise self.error(self.problem)
        self.heard.append(message)
        self.came.set()
        if self.dies:
            await asyncio.Event().wait()

    @property
    def subjects(self) -> list[str]:
        return [message.subject for message in self.heard]


@dataclass(slots=True)
class Scene:
    hq: Hq
    store: SqliteStore
    clock: Clock
    alerting: Alerting
    sending: Sending
    channels: dict[str, Any]
    digest_at_s: list[int | None]

    async def look(self, after_s: int = MINUTE_S) -> bool:
        self.clock.now_s += after_s
        return await self.alerting.look()

    async def send(self) -> None:
        for name in list(self.channels):
            while await self.sending.once(name):
                pass

    async def minutes(self, count: int) -> None:
        for _ in range(count):
            assert await self.look()
            await self.send()

    async def issuer(self, problem: AccountProblem | None) -> None:
        await self.store.write(lambda t: t.issuers.save(Issuer(name="ca", problem=problem)))

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await self.store.read(lambda t: t._connection.execute(sql).fetchall())


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    store, clock = SqliteStore.open(tmp_path / "hq.db"), Clock()
    hq = _hq(HqOptions(folder=tmp_path, clock=clock), 8443, b"secret")  # type: ignore[arg-type]
    channels: dict[str, Any] = {"mail": Listener()}
    digest_at_s: list[int | None] = [None]
    signals = LocalSignals()
    watched = Watched(
        issuers=["ca"], models={"box": None}, checkin_s=21_600, away_boxes=lambda: 1, data_dir=tmp_path, pki=None
    )
    alerting = Alerting(
        hq=hq,
        store=store,
        signals=signals,
        watched=watched,
        channels=channels,
        digest_at_s=lambda: digest_at_s[0],
    )
    sending = Sending(hq=hq, store=store, signals=signals, channels=channels)
    yield Scene(hq, store, clock, alerting, sending, channels, digest_at_s)
    await sending.stop()
    await store.close()


async def test_what_is_wrong_is_told_and_so_is_its_end(scene: Scene) -> None:
    await scene.minutes(2)
    assert scene.channels["mail"].heard == []
    await scene.issuer(PROBLEM)
    await scene.minutes(3)
    (message,) = scene.channels["mail"].heard
    assert (
        message.subject
        == "[boxes.example.com] critical: the account at ca: the CA has paused HQ's account for some names"
    )
    for words in ("too many failures", "https://ca.example/unpause", "still works:", "otscert issuer show ca"):
        assert words in message.text
    assert message.items[0]["kind"] == Kind.ISSUER_ACCOUNT
    assert max(map(len, message.text.splitlines())) <= 76
    await scene.issuer(None)
    await scene.minutes(12)
    assert scene.channels["mail"].subjects[1:] == [
        "[boxes.example.com] over: the account at ca: the CA has paused HQ's account for some names"
    ]
    kinds = await scene.rows("SELECT kind FROM event ORDER BY id")
    assert kinds == [("alert.opened",), ("alert.over",)]


async def test_ten_thousand_late_boxes_are_one_message(scene: Scene) -> None:
    not_after_s, issued_at_s = START_S + 10 * DAY_S, START_S - 80 * DAY_S

    def enter(transaction: Any) -> None:
        for number in range(10_000):
            name = f"d{number}"
            made = order(number, device_id=name, state=OrderState.ISSUED, created_at_s=issued_at_s)
            fill(
                transaction,
                device(number, last_seen_s=START_S),
                made,
                certificate(
                    number,
                    device_id=name,
                    order_id=made.id,
                    not_before_s=issued_at_s,
                    not_after_s=not_after_s,
                    issued_at_s=issued_at_s,
                ),
            )

    await scene.store.write(enter)
    await scene.minutes(20)
    (message,) = scene.channels["mail"].heard
    assert message.subject == (
        "[boxes.example.com] warning: 10000 boxes that call HQ should have got another certificate long ago"
    )
    assert message.text.count("label") == 3
    assert len(message.text) < 2000


async def test_nobody_is_called_away_until_hq_itself_could_hear_for_long_enough(scene: Scene) -> None:
    not_after_s, issued_at_s = START_S + 10 * DAY_S, START_S - 80 * DAY_S
    made = order(1, state=OrderState.ISSUED, created_at_s=issued_at_s)
    leaf = certificate(1, not_before_s=issued_at_s, not_after_s=not_after_s, issued_at_s=issued_at_s)
    await scene.store.write(lambda t: fill(t, device(1, last_seen_s=START_S - 3 * DAY_S), made, leaf))
    await scene.minutes(10)
    assert scene.channels["mail"].heard == []
    for _ in range(24 * 6 + 2):
        await scene.look(10 * MINUTE_S)
    await scene.send()
    (message,) = scene.channels["mail"].heard
    assert "1 box did not call for long" in message.subject
    await scene.look(HOUR_S)  # nobody looked for an hour: HQ was down, and silence means nothing again
    assert await scene.store.read(lambda t: t.alerts.done_s(HEARD)) == scene.clock.now_s


async def test_two_processes_take_turns(scene: Scene) -> None:
    await scene.issuer(PROBLEM)
    scene.clock.now_s += MINUTE_S
    assert sorted(await asyncio.gather(scene.alerting.look(), scene.alerting.look())) == [False, True]
    assert len(await scene.rows("SELECT id FROM outbox")) == 1


async def test_a_kill_between_outbox_and_sending_loses_nothing(scene: Scene) -> None:
    await scene.issuer(PROBLEM)
    await scene.look()
    scene.channels["mail"].dies = True
    sent = asyncio.create_task(scene.sending.once("mail"))
    await scene.channels["mail"].came.wait()
    sent.cancel()  # HQ ends after the server said yes and before HQ wrote that down
    await asyncio.gather(sent, return_exceptions=True)
    scene.channels["mail"].dies = False
    await scene.send()
    assert len(scene.channels["mail"].heard) == 1
    scene.clock.now_s += CLAIMED_S
    await scene.send()
    first, second = scene.channels["mail"].heard
    assert first.id == second.id
    scene.clock.now_s += DAY_S
    await scene.send()
    assert len(scene.channels["mail"].heard) == 2


async def test_a_kill_between_looking_and_settling_tells_it_a_minute_later(scene: Scene) -> None:
    await scene.issuer(PROBLEM)
    scene.clock.now_s += MINUTE_S
    await scene.store.write(scene.alerting._take_turn)
    assert not await scene.alerting.look()
    await scene.minutes(1)
    assert len(scene.channels["mail"].heard) == 1


async def test_a_channel_that_refuses_is_tried_again_then_given_up_and_the_next_message_says_so(scene: Scene) -> None:
    scene.channels["webhook"] = Listener()
    scene.channels["mail"].problem = "550 no such user"
    await scene.issuer(PROBLEM)
    await scene.minutes(40)
    assert len(scene.channels["mail"].heard) == 0
    first, second = scene.channels["webhook"].subjects
    assert "critical: the account at ca" in first
    assert second == "[boxes.example.com] warning: 1 message cannot be delivered by mail"
    assert "550 no such user" in scene.channels["webhook"].heard[1].text
    ((_, attempt),) = await scene.rows("SELECT channel, attempt FROM outbox WHERE done_s IS NULL")
    assert 5 <= attempt <= 9
    for _ in range(4 * 24):
        await scene.look(HOUR_S)
        await scene.send()
    lost = await scene.rows("SELECT data FROM event WHERE kind = 'alert.undelivered' ORDER BY id")
    assert json.loads(lost[0][0])["problem"] == "550 no such user"
    scene.channels["mail"].problem = ""
    for _ in range(26):
        await scene.look(HOUR_S)
        await scene.send()
    told = scene.channels["mail"].heard
    assert told[0].text.startswith("NOTE: ")
    assert "could not be delivered and will not come: 550 no such user" in told[0].text.replace("\n", " ")
    assert not told[1].text.startswith("NOTE: ")


async def test_messages_of_a_channel_that_is_gone_do_not_wait_for_ever(scene: Scene) -> None:
    await scene.issuer(PROBLEM)
    await scene.look()
    del scene.channels["mail"]
    for _ in range(4):
        await scene.look(DAY_S)
    assert await scene.rows("SELECT id FROM outbox WHERE done_s IS NULL") == []


async def test_a_channel_that_hangs_holds_up_no_other(scene: Scene) -> None:
    scene.channels["slow"] = Listener(dies=True)
    await scene.issuer(PROBLEM)
    await scene.look()
    work = asyncio.create_task(scene.sending.work())
    async with asyncio.timeout(20):
        await scene.channels["slow"].came.wait()
        await scene.channels["mail"].came.wait()
    assert len(scene.channels["mail"].heard) == 1
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)


async def test_the_digest_comes_once_a_day_also_when_all_is_well(scene: Scene) -> None:
    scene.digest_at_s[0] = 7 * HOUR_S  # an hour from now
    await scene.minutes(59)
    assert scene.channels["mail"].heard == []
    await scene.minutes(3)
    assert scene.channels["mail"].subjects == ["[boxes.example.com] daily digest: all is well"]
    for _ in range(6 * 23):
        await scene.look(10 * MINUTE_S)
    await scene.send()
    assert len(scene.channels["mail"].heard) == 1
    await scene.issuer(PROBLEM)
    for _ in range(6 * 24):
        await scene.look(10 * MINUTE_S)
        await scene.send()
    assert "[boxes.example.com] daily digest: 1 alert, the worst critical" in scene.channels["mail"].subjects


async def test_a_digest_that_was_missed_by_long_is_not_sent_late(scene: Scene) -> None:
    scene.digest_at_s[0] = 7 * HOUR_S
    await scene.minutes(1)
    await scene.look(3 * DAY_S + 15 * HOUR_S)
    await scene.send()
    assert scene.channels["mail"].heard == []
    assert await scene.store.read(lambda t: t.alerts.done_s(DIGEST)) == START_S + MINUTE_S
    await scene.look(10 * HOUR_S)
    await scene.send()
    assert len(scene.channels["mail"].heard) == 1


async def test_a_clock_that_is_set_back_does_not_stop_the_looks(scene: Scene) -> None:
    await scene.minutes(1)
    scene.clock.now_s -= DAY_S
    assert await scene.look()
    assert await scene.store.read(lambda t: t.alerts.done_s(LOOKED)) == scene.clock.now_s


def test_the_back_off_of_a_channel_is_bounded() -> None:
    assert [back_off_s(attempt, jitter=0) for attempt in (1, 2, 3, 7, 8, 1000)] == [30, 60, 120, 1920, 3600, 3600]
    assert back_off_s(1, jitter=0.999) >= 22


async def test_a_message_that_hq_fails_at_is_put_off_and_told_like_one_that_was_refused(scene: Scene) -> None:
    await scene.store.write(lambda transaction: transaction.outbox.add(posted("mail", scene.clock.now_s)))
    mail = scene.channels["mail"]
    mail.error, mail.problem = ValueError, "a header with a line end"
    assert not await scene.sending.once("mail")
    ((problem, waits_s),) = [
        (each.problem, each.next_at_s - scene.clock.now_s)
        for each in await scene.store.read(lambda transaction: transaction.outbox.waiting())
    ]
    assert problem == "HQ itself failed (ValueError); its log has the details"
    assert 0 < waits_s <= 30


def posted(channel: str, now_s: int) -> Posted:
    message = Message(id="m1", event="test", subject="a test", text="a test", at_s=now_s, items=[])
    body = message.body().decode()
    return Posted(id="m1", channel=channel, message=body, created_s=now_s, until_s=now_s + DAY_S, next_at_s=now_s)
