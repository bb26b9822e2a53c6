"""HQ is killed (-9) at every persisted step of an order, before and after the effect, and nothing is lost or doubled.

Real processes, a real store, a CA that looks at HQ's real DNS. Each cell is one kill: in the middle of the transaction
that makes a move of `domain.order.MOVES` (the effect of the step before has happened, this step is not on disk), or
right after its commit (it is on disk, its own effect has not happened); or while the CA holds back the answer to what
it has done. The HQs that follow serve the boxes of all cells; at the end every box has its certificate.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509 import verification

from otscert.domain.order import MOVES, OrderState
from tests.harness.box import Box, open_session
from tests.harness.mortal_hq import HOST, MortalHq, mortal_hq
from tests.harness.persistent_box import PersistentBox
from tests.harness.ports import free_port
from tests.harness.zygote import Death
from tests.scripted_ca import Fate, Script, ScriptedCa, start_scripted_ca

KILLED = -9
RECOVERED_S = 90.0
pytestmark = pytest.mark.timeout(300)
S = OrderState
Move = tuple[OrderState, OrderState]

# How each move of an order is brought about: by the CA's answers to this box alone.
ANSWERS: dict[Move, tuple[Fate, ...]] = {
    (S.WAITING, S.CREATING): (),
    (S.CREATING, S.CREATED): (),
    (S.CREATED, S.PUBLISHED): (),
    (S.PUBLISHED, S.FINALIZING): (),
    (S.FINALIZING, S.ISSUED): (),
    (S.CREATING, S.WAITING): (Fate(on="newOrder", status=429, type="rateLimited", retry_after="1"),),
    # It is looked up again after the first fault, and is gone; others that go through the account's list may see it.
    (S.CREATED, S.WAITING): (
        Fate(on="authorization", status=503),
        Fate(on="order", status=404, type="malformed", times=2),
    ),
    (S.PUBLISHED, S.WAITING): (Fate(on="order", form="invalid", type="serverInternal"),),
    (S.FINALIZING, S.WAITING): (Fate(on="finalize", form="invalid", type="serverInternal"),),
    (S.WAITING, S.FAILED): (),  # its box is retired meanwhile
    (S.CREATING, S.FAILED): (Fate(on="newOrder", status=400, type="rejectedIdentifier"),),
    (S.CREATED, S.FAILED): (Fate(on="authorization", status=400, type="malformed"),),
    (S.PUBLISHED, S.FAILED): (Fate(on="challenge", status=400, type="malformed"),),
    (S.FINALIZING, S.FAILED): (Fate(on="finalize", status=400, type="badCSR"),),
}
HELD = ("newOrder", "challenge", "finalize", "certificate")


def test_every_legal_move_is_a_row_of_the_matrix() -> None:
    assert set(ANSWERS) == {(was, now) for (was, _), now in MOVES.items()}


@dataclass(slots=True, kw_only=True)
class Matrix:
    """One HQ folder, one CA, and the boxes of all cells."""

    hq: MortalHq
    ca: ScriptedCa
    session: Any
    boxes: list[PersistentBox] = field(default_factory=list)
    kills: Counter[str] = field(default_factory=Counter)
    """Per label."""
    abandoned: Counter[str] = field(default_factory=Counter)
    """Orders that the CA's own answers made HQ give up, per label."""

    def new_box(self) -> PersistentBox:
        hq: Any = self.hq
        return PersistentBox(box=Box(hq=hq, session=self.session))

    async def die(self, box: PersistentBox, move: Move, *, after: bool) -> None:
        """One cell: the box and a bystander order, and HQ is killed at that move of the box's order."""
        bystander = self.new_box()
        for each in (box, bystander):
            await each.prepare()
        self._doom(box, move, after=after)
        self._script(box, move)
        ordering = [asyncio.create_task(each.order()) for each in (box, bystander)]
        await self._see_it_die(box, bystander)
        await self.hq.start()
        await asyncio.gather(*ordering)
        self.boxes += [each for each in (box, bystander) if each not in self.boxes]

    async def die_at_the_ca(self, box: PersistentBox, resource: Any) -> None:
        """The CA does what it was asked to, and HQ is killed before it hears of that."""
        await box.prepare()
        self.ca.state.held.clear()
        self.ca.add_fates(Fate(on=resource, form="hold", acts=True, name=box.box.names[0]))
        ordering = asyncio.create_task(box.order())
        await asyncio.wait_for(self.ca.state.held.wait(), RECOVERED_S)
        await self.hq.kill()
        self.kills[box.label] += 1
        await self.hq.start()
        await ordering
        self.boxes += [box] if box not in self.boxes else []

    async def die_while_retiring(self, box: PersistentBox, *, after: bool) -> None:
        """HQ is killed before it has claimed the order; the command that retires its box is killed too."""
        await box.prepare()
        self._doom(box, (S.WAITING, S.CREATING), after=False)
        ordering = asyncio.create_task(box.order())
        await self._see_it_die(box)
        self._doom(box, (S.WAITING, S.FAILED), after=after)
        command = ("device", "retire", box.label)
        assert await self.hq.run(*command) == KILLED
        self.hq.die_at(None)
        assert await self.hq.run(*command) == 0, "whoever does it again is told that it is done"
        ordering.cancel()
        await asyncio.gather(ordering, return_exceptions=True)
        self.boxes = [each for each in self.boxes if each is not box]
        await self.hq.start()

    def _script(self, box: PersistentBox, move: Move) -> None:
        gone = sum(fate.times or 0 for fate in ANSWERS[move] if fate.status == 404)
        ended = move[0] is not S.WAITING and move[1] in {S.WAITING, S.FAILED}
        self.abandoned[box.label] += gone or ended
        self.ca.add_fates(*(replace(fate, name=box.box.names[0]) for fate in ANSWERS[move]))

    def _doom(self, box: PersistentBox, move: Move, *, after: bool) -> None:
        self.hq.die_at(Death(label=box.label, was=move[0], now=move[1], after=after))

    async def _see_it_die(self, *boxes: PersistentBox) -> None:
        assert await self.hq.ended() == KILLED
        self.hq.die_at(None)
        self.kills.update(box.label for box in boxes)

    async def play(self, box_of_cell: Iterator[PersistentBox]) -> None:
        """Kill HQ in every cell, and let the last one finish what all of them have left."""
        for move in ANSWERS:
            for after in (False, True):
                if move == (S.WAITING, S.FAILED):
                    await self.die_while_retiring(next(box_of_cell), after=after)
                else:
                    await self.die(next(box_of_cell), move, after=after)
        for resource in HELD:
            await self.die_at_the_ca(next(box_of_cell), resource)
        async with asyncio.timeout(RECOVERED_S):
            await asyncio.gather(*(box.obtain() for box in self.boxes))


@asynccontextmanager
async def _matrix(folder: Path, script: Script, database_url: str) -> AsyncIterator[Matrix]:
    dns_port = free_port()
    async with (
        start_scripted_ca(script, dns_server=(HOST, dns_port)) as ca,
        mortal_hq(folder, ca, dns_port, database_url=database_url) as hq,
    ):
        await hq.start()
        served: Any = hq
        async with open_session(served) as session:
            yield Matrix(hq=hq, ca=ca, session=session)


# HQ's own DNS is away for a moment at every kill: this CA asks it again, as Let's Encrypt's resolvers do.
REUSES = Script(dns_patience_s=20)
# (One that lists the account's orders instead of reusing them: hq/tests/service/test_killed_orders.py.)
NEITHER = replace(REUSES, reuse_orders=False)


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """Empty: SQLite in the data folder."""
    return str(request.getfixturevalue("postgres_url")) if request.param == "postgresql" else ""


async def test_no_kill_loses_or_doubles_a_certificate(tmp_path: Path, database_url: str) -> None:
    first, second = (REUSES, NEITHER) if database_url else (NEITHER, REUSES)
    async with _matrix(tmp_path, first, database_url) as matrix:
        await matrix.play(iter(matrix.new_box, None))
        _check_certificates(matrix)
        _check_left(matrix, find_again=first is not NEITHER)
        for counted in (matrix.kills, matrix.abandoned):
            counted.clear()
        matrix.ca.follow(second)
        renewing = list(matrix.boxes)
        await matrix.play(chain(renewing, iter(matrix.new_box, None)))
        assert all(len(box.chains) == 2 for box in renewing if box in matrix.boxes), "each has a first and a second one"
        _check_certificates(matrix)
        await matrix.hq.kill()
        _check_ledger(matrix)
        _check_rows(matrix, _Rows(tmp_path, database_url))


def _check_certificates(matrix: Matrix) -> None:
    """Every box holds a certificate for its own key and names, which a stranger accepts."""
    roots = verification.Store([x509.load_pem_x509_certificate(pem.encode()) for pem in matrix.ca.roots])
    for box in matrix.boxes:
        leaf, *others = x509.load_pem_x509_certificates(box.chains[-1].encode())
        assert leaf.public_key() == ec.derive_private_key(box.box.scalar, ec.SECP256R1()).public_key()
        builder = verification.PolicyBuilder().store(roots).time(dt.datetime.now(dt.UTC))
        for name in box.box.names:
            builder.build_server_verifier(x509.DNSName(name.replace("*", "any"))).verify(leaf, others)


def _check_left(matrix: Matrix, *, find_again: bool) -> None:
    """Orders left open at the CA: one per kill where HQ has no way to find them again, and what the CA made it drop."""
    left = Counter(order.names[0] for order in matrix.ca.state.orders if order.status in {"pending", "ready"})
    for name, count in left.items():
        label = name.split(".")[0]
        assert count <= matrix.abandoned[label] + (0 if find_again else matrix.kills[label]), name


def _check_ledger(matrix: Matrix) -> None:
    ledger = matrix.ca.ledger
    assert max(Counter(entry.spki_sha256 for entry in ledger.of("issued")).values()) == 1, "two for one CSR"
    assert max(Counter(entry.spki_sha256 for entry in ledger.of("finalize")).values()) == 1, "two finalized for one CSR"
    assert max(Counter(entry.order for entry in ledger.of("finalize")).values()) == 1


class _Rows:
    """Looks into the database of an HQ that has ended."""

    def __init__(self, folder: Path, database_url: str) -> None:
        self._folder, self._url = folder, database_url

    def __call__(self, sql: str) -> list[tuple[Any, ...]]:
        if self._url:
            with psycopg.connect(self._url) as session:
                return session.execute(sql.encode()).fetchall()
        with closing(sqlite3.connect(self._folder / "data" / "hq.db")) as session:
            return session.execute(sql).fetchall()


def _check_rows(matrix: Matrix, rows: _Rows) -> None:
    states = dict(rows("SELECT state, count(*) FROM cert_order GROUP BY state"))
    assert set(states) == {"issued", "failed"}, "an order waits for ever"
    assert rows("SELECT count(*) FROM challenge_txt") == [(0,)]
    kept = rows("SELECT count(*) FROM certificate")[0][0]
    assert kept == states["issued"] == len(matrix.ca.ledger.of("issued")), "one was lost"
