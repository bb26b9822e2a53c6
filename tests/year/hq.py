"""HQ's own service objects on a real SQLite file, as `otscert.roles` wires them, without sockets.

What would sleep for seconds at a time in a real HQ is called every few virtual minutes: a year has six million times
five seconds. HQ can be ended and begun again on the same file.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from otscert.domain.addresses import AddressPolicy, IPAddress, Verdict
from otscert.domain.admission import Model, Policy
from otscert.domain.limits import Limits
from otscert.pki.seal import Seal
from otscert.service import housekeeping
from otscert.service.admitting import Admitting
from otscert.service.ari import AskingWhen
from otscert.service.checkin import CheckingIn
from otscert.service.context import Hq
from otscert.service.conversation import Answer, Conversation, Reply, Request
from otscert.service.enroll import Enrolment
from otscert.service.hello import SayingHello
from otscert.service.issuance import Issuance
from otscert.service.key_checks import KeyChecks
from otscert.service.polling import OrderPolling
from otscert.service.revocations import Revoking
from otscert.service.setbacks import Setbacks
from otscert.service.signals import LocalSignals
from otscert.service.topics import DUE
from otscert.service.upkeep import Upkeep
from otscert.service.waiting import Waiting
from otscert.service.worker import Worker
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.hq import FOUR_A_WEEK, PLENTY, TOKEN, ZONE, make_model
from tests.year.ca import MemoryCa
from tests.year.virtual_time import VirtualClock

LOOK_S = 1800.0
"""How often what is due is looked for where nobody says that it is."""
DAY_S = 86_400
MODELS = {
    "long": make_model("long", policies=(Policy.TOKEN,)),
    "short": make_model("short", policies=(Policy.TOKEN,), profile="shortlived"),
}


class HqAway(Exception):
    """HQ does not answer."""


class PlainSigner:
    """An answer is what HQ said, behind its type: nobody listens on a wire that is not there."""

    def sign(self, payload: bytes, *, typ: str, audience: str, request_digest: bytes, now_s: int) -> bytes:  # noqa: ARG002
        return typ.encode() + b"\n" + payload


class Book:
    """The zone as the use cases write it and the CA reads it."""

    def __init__(self) -> None:
        self.txt: set[tuple[str, str]] = set()

    def activate(self, label: str, addresses: Sequence[IPAddress], policy: AddressPolicy) -> tuple[Verdict, ...]:  # noqa: ARG002
        return ()

    def withdraw(self, label: str) -> None:
        self.txt = {(other, value) for other, value in self.txt if other != label}

    def put_txt(self, label: str, value: str) -> None:
        self.txt.add((label, value))

    def drop_txt(self, label: str, value: str) -> None:
        self.txt.discard((label, value))

    def look(self, name: str, value: str) -> bool:
        """Whether the TXT value stands at `_acme-challenge.<name>`."""
        return (name.removesuffix(f".{ZONE}"), value) in self.txt

    async def wait_until_served(self, name: str, values: Iterable[str]) -> str | None:
        label = name.removeprefix("_acme-challenge.").removesuffix(f".{ZONE}")
        missing = {value for value in values if (label, value) not in self.txt}
        return f"not served: {missing}" if missing else None


class PatientSignals:
    """The signals as the worker hears them: without one it looks every few minutes instead of every few seconds."""

    def __init__(self, signals: LocalSignals, *, look_s: float = LOOK_S) -> None:
        self._signals, self._look_s = signals, look_s

    def publish(self, topic: str) -> None:
        self._signals.publish(topic)

    @contextmanager
    def listen(self, *topics: str) -> Iterator[Callable[[float], Awaitable[None]]]:
        with self._signals.listen(*topics) as heard:

            async def patiently(timeout_s: float) -> None:
                await heard(max(timeout_s, self._look_s))

            yield patiently


@dataclass(slots=True, kw_only=True)
class YearHq:
    """`cas` in order of preference. `begin` and `end` may follow each other as often as wanted."""

    file: Path
    clock: VirtualClock
    cas: Sequence[MemoryCa]
    limits: Mapping[str, Limits]
    dice: random.Random
    book: Book
    models: Mapping[str, Model] = field(default_factory=lambda: MODELS)
    checkin_s: int = DAY_S
    max_in_flight: int = 50
    look_s: float = LOOK_S
    ask_every_s: float = 3600.0
    store: SqliteStore | None = None
    _stack: AsyncExitStack | None = None
    _conversation: Any = None
    _use_cases: dict[str, Any] = field(default_factory=dict)
    _polling: Any = None

    async def begin(self) -> None:
        """Open the store, and start what works by itself."""
        self._stack = AsyncExitStack()
        store = self.store = SqliteStore.open(self.file)
        self._stack.push_async_callback(store.close)
        # Whether a commit survives a power cut is not the question of a year; it has a hundred thousand of them.
        store._writer.execute("PRAGMA synchronous = OFF")
        hq, signals, seal = self._context(), LocalSignals(), Seal(bytes(32))
        conversation = self._conversation = Conversation(hq=hq, store=store, signer=PlainSigner(), seal=seal)
        self._use_cases = {
            "hello": SayingHello(hq=hq),
            "enroll": Enrolment(
                hq=hq,
                zone=self.book,
                signals=signals,
                admitting=Admitting(hq=hq, waiting=Waiting(hq=hq, seal=seal, signals=signals)),
                keys=KeyChecks(store),
            ),
            "checkin": CheckingIn(hq=hq, zone=self.book, seal=seal, signals=signals),
        }
        self._polling = OrderPolling(hq=hq, store=store, signals=signals, conversation=conversation, zone=self.book)
        worker = self._worker(hq, store, signals)
        upkeep = Upkeep(hq=hq, store=store, signals=signals)
        cas = {ca.name: ca for ca in self.cas}
        works = [
            worker.work(),
            every(self.look_s, Revoking(hq=hq, store=store, revokers=cas).once),
            every(self.ask_every_s, AskingWhen(hq=hq, store=store, sources=cas).once),
            every(DAY_S / 2, lambda: housekeeping.sweep(hq, store)),
            every(DAY_S / 4, lambda: housekeeping.follow(hq, store, self.book)),
            every(self.ask_every_s, upkeep.once),  # it says nothing of what is left
        ]
        tasks = [asyncio.ensure_future(work) for work in works]

        async def stop() -> None:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await worker.stop()
            failed = [each for each in ended if isinstance(each, Exception)]
            if failed:
                raise failed[0]

        self._stack.push_async_callback(stop)

    def _worker(self, hq: Hq, store: SqliteStore, signals: LocalSignals) -> Worker:
        patient = PatientSignals(signals, look_s=self.look_s)
        accounts: dict[str, Any] = {ca.name: ca for ca in self.cas}
        issuance = Issuance(
            hq=hq, store=store, accounts=accounts, zone=self.book, name_servers=self.book, signals=patient
        )
        return Worker(
            hq=hq,
            store=store,
            issuance=issuance,
            setbacks=Setbacks(hq=hq, store=store, zone=self.book, signals=patient),
            signals=patient,
            max_in_flight=self.max_in_flight,
        )

    async def end(self) -> None:
        """End everything; what is on disk is what the next one begins with."""
        stack, self._stack, self.store = self._stack, None, None
        if stack is not None:
            await stack.aclose()

    @property
    def runs(self) -> bool:
        return self.store is not None

    async def say(self, kind: str, request: Request[Any]) -> tuple[str, bytes]:
        """Hand a message that was verified to its use case; the answer's type and payload."""
        self._be_there()
        use_case: Callable[[Transaction, Request[Any]], Reply] = self._use_cases[kind]
        return _read(await self._conversation.act(request, use_case, repeatable=kind == "hello"))

    async def poll(self, request: Request[None], order_id: str) -> tuple[str, bytes]:
        self._be_there()
        return _read(await self._polling(request, order_id))

    def _be_there(self) -> None:
        if not self.runs:
            raise HqAway

    def _context(self) -> Hq:
        return Hq(
            public_url="https://hq.test",
            zone=ZONE,
            models=self.models,
            tokens=dict.fromkeys(self.models, (TOKEN,)),
            issuers=tuple(ca.name for ca in self.cas),
            checkin_s=self.checkin_s,
            hellos_per_address=PLENTY,
            hellos_per_model=PLENTY,
            orders_per_device=FOUR_A_WEEK,
            open_admissions=PLENTY,
            stale_s=90 * DAY_S,
            secret=bytes(32),
            clock=self.clock,
            randomness=self.dice.randbytes,
            limits=self.limits,
            public_suffix=False,
        )


def _read(answer: Answer) -> tuple[str, bytes]:
    typ, _, payload = answer.body.partition(b"\n")
    return typ.decode(), payload


async def every(wait_s: float, once: Callable[[], Awaitable[Any]]) -> None:
    """Do it until it says that nothing was left, and again after the wait; for ever."""
    while True:
        while await once():
            pass
        await asyncio.sleep(wait_s)


__all__ = ["DUE", "Book", "HqAway", "YearHq"]
