"""HQ's own certificates are renewed and taken up while it runs; where that cannot be, it says so once a day."""

from __future__ import annotations

import json
import time
from base64 import b64encode
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.answers import AnswerSigner
from otscert.pki.certificates import KeyPair, fingerprint
from otscert.pki.files import PkiFolder
from otscert.service.own_leaves import OwnLeaves
from otscert_agent.wire import jws
from tests.harness.hq import LOOPBACK, HqOptions, RunningHq, TestClock, run_hq

DAY_S = 86_400


class Kept:
    """HQ's folder beside a running HQ, and what was taken up from it."""

    def __init__(self, hq: RunningHq, folder: Path) -> None:
        self.hq, self.pki = hq, PkiFolder(folder=folder)
        self.taken: list[str] = []
        self.signer = AnswerSigner(self.pki.answer())
        self.leaves = OwnLeaves(pki=self.pki, hosts=(LOOPBACK,), store=hq.store, clock=hq.clock, take_up=self._take_up)
        self.leaves.take_up_changes()

    def _take_up(self, answer: KeyPair) -> None:
        self.taken.append(fingerprint(answer.certificate))
        self.signer.replace(answer)

    def generations(self) -> tuple[int, int]:
        return self.pki.generation("tls.pem"), self.pki.generation("answer.pem")

    async def warnings(self) -> list[dict[str, int]]:
        rows = await self.hq.rows("SELECT data FROM event WHERE kind = 'hq.leaf_ends' ORDER BY id")
        return [json.loads(row[0]) for row in rows]


@pytest.fixture
async def kept(tmp_path: Path) -> AsyncIterator[Kept]:
    async with run_hq(HqOptions(folder=tmp_path, clock=TestClock())) as hq:
        yield Kept(hq, tmp_path / "pki")


async def test_what_is_due_is_renewed_and_taken_up(kept: Kept) -> None:
    await kept.leaves.renew()
    kept.leaves.take_up_changes()
    assert kept.generations() == (1, 1)
    assert len(kept.taken) == 1
    kept.hq.clock.ahead_s = 310 * DAY_S
    await kept.leaves.renew()
    kept.leaves.take_up_changes()
    assert kept.generations() == (2, 2)
    answer = kept.pki.answer()
    assert kept.taken[1:] == [fingerprint(answer.certificate)]
    signed = jws.parse(kept.signer.sign(b"{}", typ="t", audience="", request_digest=b"", now_s=0))
    assert signed.header["x5c"] == [b64encode(answer.certificate.public_bytes(Encoding.DER)).decode()]
    assert await kept.warnings() == []


async def test_a_leaf_that_begins_in_the_future_is_renewed_once_the_clock_is_right(kept: Kept) -> None:
    ten_years_s = 10 * 365 * DAY_S
    kept.pki.renew_leaves(hosts=(LOOPBACK,), now_s=int(time.time()) + ten_years_s)
    assert kept.generations() == (2, 2)
    await kept.leaves.renew()
    assert kept.generations() == (3, 3)
    for pair in (kept.pki.tls(), kept.pki.answer()):
        assert pair.certificate.not_valid_before_utc.timestamp() <= time.time()


async def test_without_the_root_key_a_certificate_that_ends_is_said_once_a_day(kept: Kept) -> None:
    (kept.pki.folder / "root.key").unlink()
    await kept.leaves.renew()
    assert await kept.warnings() == []
    kept.hq.clock.ahead_s = 310 * DAY_S
    for _ in range(3):
        await kept.leaves.renew()
    ends_s = int(kept.pki.tls().certificate.not_valid_after_utc.timestamp())
    assert [warning["tls_ends_s"] for warning in await kept.warnings()] == [ends_s]
    kept.hq.clock.ahead_s += DAY_S
    await kept.leaves.renew()
    assert len(await kept.warnings()) == 2
    # A clock that was ahead for a while must not keep HQ silent.
    kept.hq.clock.ahead_s -= 1 * DAY_S
    await kept.leaves.renew()
    assert len(await kept.warnings()) == 3
    assert kept.generations() == (1, 1)


async def test_a_file_that_cannot_be_used_is_not_taken_up_until_it_can(kept: Kept) -> None:
    whole = kept.pki.read("answer.pem")
    kept.pki.write("answer.pem", b"half")
    kept.leaves.take_up_changes()
    assert len(kept.taken) == 1
    await kept.leaves.renew()  # says so in the log, and lives on
    kept.pki.write("answer.pem", whole)
    kept.leaves.take_up_changes()
    assert len(kept.taken) == 2


async def test_a_folder_that_is_away_ends_nothing(kept: Kept, tmp_path: Path) -> None:
    kept.pki.folder.rename(tmp_path / "away")
    await kept.leaves.renew()
    kept.leaves.take_up_changes()
    (tmp_path / "away").rename(kept.pki.folder)
    kept.leaves.take_up_changes()
    assert len(kept.taken) == 1  # the same files as before
