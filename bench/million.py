"""A million boxes in each of the two databases: what a look at the queue, a page and a budget decision take there.

Knows how the store is filled quickly and what is asked of it. What is asked goes through the store, as HQ asks.
"""

from __future__ import annotations

import hashlib
import random
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from bench.hq import MODEL
from otscert.domain.budget import Charge, Exemption, Rank, buckets_of, decide
from otscert.domain.limits import LETS_ENCRYPT
from otscert.store.transaction import Transaction

ASKS = 200
PAGE = 100
BATCH = 5_000
_NOW_S = 1_800_000_000
_LIFE_S = 45 * 24 * 3600
_LEAF_BYTES = 960
"""Of a Let's Encrypt leaf with an EC key, deflated; nothing but its length matters here."""
_ISSUERS_PEM = "an intermediate and two roots, 3400 characters of base64 ".ljust(3400, "A")
_ISSUERS_SHA256 = hashlib.sha256(_ISSUERS_PEM.encode()).digest()
_PLACES = (
    *("id", "label", "thumbprint", "certificate", "token", "previous", "txid", "board", "raw", "message", "canary"),
    *("order", "serial", "spki-identity", "x-identity", "spki-certificate", "x-certificate"),
)
_KINDS = {what: place for place, what in enumerate(_PLACES)}
_EVENTS = ("device.admitted", "order.issued")


class Store(Protocol):
    async def write(self, work: Callable[[Transaction], Any]) -> Any: ...

    async def read(self, work: Callable[[Transaction], Any]) -> Any: ...

    async def close(self) -> None: ...


class Database(Protocol):
    """An open, empty store with its bytes on disk, and a quick way to enter rows, which `settle` ends."""

    @property
    def store(self) -> Store: ...

    @property
    def url(self) -> str:
        """Where HQ finds it; empty for SQLite."""

    def enter(self, table: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None: ...

    def settle(self) -> None: ...

    def size(self) -> int: ...

    def by_table(self) -> list[tuple[str, int]]:
        """Bytes of each table with its indexes, the largest first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """Milliseconds of each kind of question, ascending; `bytes_each` is the database's size per box."""

    devices: int
    fill_s: float
    bytes_each: float
    by_table: list[tuple[str, int]]
    ms: dict[str, list[float]]


async def measure(database: Database, *, devices: int) -> Found:
    """Fill a database and ask it."""
    empty, began_s, store = database.size(), time.monotonic(), database.store
    database.enter("issuer_chain", ["sha256", "pem"], [(_ISSUERS_SHA256, _ISSUERS_PEM)])
    for start in range(0, devices, BATCH):
        for table, rows in _rows(range(start, min(start + BATCH, devices))):
            database.enter(table, list(rows[0]), [tuple(row.values()) for row in rows])
    database.settle()
    fill_s = time.monotonic() - began_s
    grown = database.size() - empty
    questions = _questions(devices)
    ms = {name: sorted([await _timed(store, question, n) for n in range(ASKS)]) for name, question in questions.items()}
    return Found(devices=devices, fill_s=fill_s, bytes_each=grown / devices, by_table=database.by_table(), ms=ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked the n-th time, and what is done after it that is no part of its time."""

    writes: bool = False
    ask: Callable[[Transaction, int], Any]
    afterwards: Callable[[Transaction, int], Any] | None = None


def _questions(devices: int) -> dict[str, Question]:
    dice = random.Random(devices)
    starts = [_id(dice.randrange(devices)) for _ in range(ASKS)]
    return {
        "claim 100 due orders": Question(writes=True, ask=_claim, afterwards=_give_back),
        "a page of 100 boxes": Question(ask=lambda t, n: t.devices.page(after_id=starts[n], limit=PAGE)),
        "certificates whose window is to be asked for": Question(
            ask=lambda t, _: t.certificates.ari_due(now_s=_NOW_S, limit=PAGE)
        ),
        "one budget decision": Question(writes=True, ask=_decide),
        "a box by its name": Question(ask=lambda t, n: t.devices.find(starts[n])),
    }


def _claim(transaction: Transaction, number: int) -> Any:
    by = _worker(number)
    due = transaction.orders.due(now_s=_NOW_S, limit=PAGE, by=by)
    return transaction.orders.lease(due, by=by, until_s=_NOW_S + 30)


def _give_back(transaction: Transaction, number: int) -> Any:
    """What is leased at a time is what processes have in flight; without this 20,000 orders would be, and be skipped.

    The newest claim stays: each finds the orders of one other process taken.
    """
    if number:
        transaction.orders.free_leases(by=_worker(number - 1))


def _worker(number: int) -> str:
    return f"worker {number}"


def _decide(transaction: Transaction, number: int) -> Any:
    charge = Charge(
        issuer="ca",
        names=(f"{_id(number)}.boxes.example.com", f"*.{_id(number)}.boxes.example.com"),
        registered_domains=("example.com",),
        rank=Rank.FIRST_BOOT,
        exemption=Exemption.NONE,
    )
    levels = transaction.buckets.levels(buckets_of(charge, LETS_ENCRYPT))
    decision = decide(charge, LETS_ENCRYPT, levels, _NOW_S * 1000 + number * 60_000)
    transaction.buckets.keep(decision.levels_after)
    return decision


async def _timed(store: Store, question: Question, number: int) -> float:
    run = store.write if question.writes else store.read
    began_s = time.perf_counter()
    await run(lambda transaction: question.ask(transaction, number))
    took_ms = (time.perf_counter() - began_s) * 1000
    if (afterwards := question.afterwards) is not None:
        await store.write(lambda transaction: afterwards(transaction, number))
    return took_ms


def _rows(numbers: Sequence[int]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """What a box leaves that was admitted, has its first certificate and has called since."""
    yield "device", [_device(n) for n in numbers]
    yield "device_key", [_device_key(n) for n in numbers]
    yield "name", [{"label": label_of(n), "txid": None, "device_id": _id(n)} for n in numbers]
    for kind in ("identity", "certificate"):
        yield "verified_key", [_verified_key(n, kind) for n in numbers]
    yield (
        "canary",
        [
            {"sha256": _hex(n, "canary"), "device_id": _id(n), "boot": 1, "model": MODEL, "seen_at_s": _NOW_S}
            for n in numbers
        ],
    )
    yield "cert_order", [_order(n) for n in numbers]
    yield "certificate", [_certificate(n) for n in numbers]
    yield "newest_certificate", [_newest(n) for n in numbers]
    for kind in _EVENTS:
        yield "event", [_event(n, kind) for n in numbers]


@lru_cache(BATCH)
def _noise(number: int) -> bytes:
    """All that is random about a box, drawn at once."""
    return hashlib.shake_256(str(number).encode()).digest(32 * len(_KINDS) + _LEAF_BYTES // 2)


def _digest(number: int, what: str) -> bytes:
    start = 32 * _KINDS[what]
    return _noise(number)[start : start + 32]


def _hex(number: int, what: str) -> str:
    return _digest(number, what).hex()


def _id(number: int) -> str:
    return _hex(number, "id")[:24]


def label_of(number: int) -> str:
    return _hex(number, "label")[:16]


def _issued_s(number: int) -> int:
    """Spread over the last 30 days, as a fleet's certificates are."""
    return _NOW_S - (number * 7919) % (30 * 24 * 3600)


def _device(number: int) -> dict[str, Any]:
    return {
        "id": _id(number),
        "thumbprint": _hex(number, "thumbprint")[:43],
        "model": MODEL,
        "serial": f"S{number:08}",
        "firmware": "1.0.0",
        "label": label_of(number),
        "state": "active",
        "policy": "factory",
        "contribution": "sealed",
        "source": "jitter",
        "admitted_at_s": _issued_s(number),
        "last_seen_s": _NOW_S - number % 21_600,
        "addresses": "192.168.1.20",
        "served_sha256": _hex(number, "certificate"),
        "unserved": 0,
        "token_hash": _digest(number, "token"),
        "previous_hash": _digest(number, "previous"),
        "last_txid": _hex(number, "txid")[:22],
        "fingerprint": _hex(number, "board"),
        "last_resync_s": None,
        "cmd_seq": 0,
        "unit": None,
        "tags": "",
        "retired": None,
        "in_dns": 1,
        "checkin_answer": bytes(240),
    }


def _device_key(number: int) -> dict[str, Any]:
    return {
        "thumbprint": _hex(number, "thumbprint")[:43],
        "alg": "EdDSA",
        "raw": _digest(number, "raw"),
        "device_id": _id(number),
        "last_seq": 3,
        "last_digest": _digest(number, "message"),
        "last_answer": None,
        "created_at_s": _issued_s(number),
    }


def _verified_key(number: int, kind: str) -> dict[str, Any]:
    return {
        "spki_sha256": _digest(number, f"spki-{kind}"),
        "x_coordinate": _digest(number, f"x-{kind}"),
        "device_id": _id(number),
        "kind": kind,
        "contribution": "sealed",
        "source": "jitter",
        "seen_at_s": _issued_s(number),
    }


def _order(number: int) -> dict[str, Any]:
    due = number % 100 == 0
    label = label_of(number)
    return {
        "id": _hex(number, "order")[:24],
        "device_id": _id(number),
        "txid": _hex(number, "txid")[:22],
        "label": label,
        "names": f"{label}.boxes.example.com *.{label}.boxes.example.com",
        "csr_der": bytes(300),
        "state": "waiting" if due else "issued",
        "issuer": "ca",
        "profile": None,
        "attempt": 0,
        "url": None if due else f"https://ca.example/acme/order/1/{number}",
        "reason": "issued",
        "created_at_s": _issued_s(number),
        "next_at_s": _issued_s(number),
        "certificate_sha256": _hex(number, "certificate"),
        "replaces": None,
        "rank": number % 5,
        "waits_for": None,
        "failing_since_s": None,
        "lease_by": None,
        "lease_until_s": 0,
    }


def _certificate(number: int) -> dict[str, Any]:
    issued_s = _issued_s(number)
    return {
        "sha256": _hex(number, "certificate"),
        "device_id": _id(number),
        "order_id": _hex(number, "order")[:24],
        "issuer": "ca",
        "serial": _hex(number, "serial")[:36],
        "spki_sha256": _digest(number, "spki-certificate"),
        "not_before_s": issued_s,
        "not_after_s": issued_s + _LIFE_S,
        "leaf": zlib.compress(_noise(number)[-_LEAF_BYTES // 2 :].hex().encode(), level=0),
        "issuers": _ISSUERS_SHA256,
        "issued_at_s": issued_s,
        "served_at_s": issued_s,
        "replaced": 0,
        "ari_next_poll_s": _NOW_S - 600 + (number * 7) % 43_200,
        "ari_start_s": issued_s + 29 * 86_400,
        "ari_end_s": issued_s + 30 * 86_400,
        "ari_told_s": issued_s,
        "renew_at_s": issued_s + 29 * 86_400 + number % 86_400,
        "ari_explanation": None,
    }


def _newest(number: int) -> dict[str, Any]:
    issued_s = _issued_s(number)
    return {
        "device_id": _id(number),
        "issued_at_s": issued_s,
        "due_s": issued_s + _LIFE_S * 2 // 3,
        "late_s": issued_s + _LIFE_S * 5 // 6,
        "not_after_s": issued_s + _LIFE_S,
    }


def _event(number: int, kind: str) -> dict[str, Any]:
    return {
        "at_s": _issued_s(number),
        "kind": kind,
        "device_id": _id(number),
        "order_id": _hex(number, "order")[:24],
        "data": '{"sha256":"' + _hex(number, "certificate") + '","issuer":"ca","not_after_s":1803888000}',
    }
