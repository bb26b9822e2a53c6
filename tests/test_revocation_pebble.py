"""A retired box's certificate is revoked at Pebble, which says so itself; asked again it is done all the same."""

from __future__ import annotations

import json
import ssl
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hq.tests.store.rows import certificate, device, order

from otscert.ca import IssuerSettings, new_account_key, open_issuer
from otscert.domain.device import Retired
from otscert.ops.pebble import Pebble
from otscert.service import lifecycle
from otscert.service.context import Hq
from otscert.service.revocations import Revoking
from otscert.store.revocations import Outcome
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.hq import PLENTY, TestClock
from tests.scripted_ca.obtain import make_csr, obtain

NAMES = ["a.boxes.example", "*.a.boxes.example"]


def _hq(clock: TestClock) -> Hq:
    return Hq(
        public_url="https://hq.example",
        zone="boxes.example",
        models={},
        tokens={},
        issuers=("pebble",),
        checkin_s=1,
        hellos_per_address=PLENTY,
        hellos_per_model=PLENTY,
        orders_per_device=PLENTY,
        open_admissions=PLENTY,
        stale_s=1,
        secret=b"",
        clock=clock,
        randomness=bytes,
    )


@pytest.mark.parametrize("part", ["pebble", "pebble-2.4"])
async def test_the_certificate_of_a_retired_box_is_revoked(
    pebble: Callable[..., Pebble], tmp_path: Path, part: str
) -> None:
    ca = pebble(part=part, always_valid=True)
    clock = TestClock()
    settings = IssuerSettings(name="pebble", directory_url=ca.directory_url, trust_file=ca.api_trust)
    store = SqliteStore.open(tmp_path / "hq.db")
    try:
        async with open_issuer(settings, new_account_key()) as issuer:
            chain = await obtain(issuer, NAMES, make_csr(NAMES))
            sha256 = chain.leaf.sha256.hex()
            end_s = int(chain.leaf.not_after.timestamp())

            def retire(transaction: Transaction) -> None:
                transaction.devices.add(device())
                transaction.orders.add(order())
                transaction.certificates.add(certificate(sha256=sha256, chain_pem=chain.pem, not_after_s=end_s))
                lifecycle.end(transaction, device(), Retired.REMOVED, revoke=True, now_s=clock.now_ms() // 1000)

            await store.write(retire)
            revoking = Revoking(hq=_hq(clock), store=store, revokers={"ca": issuer})
            assert await revoking.once() == 1
            assert _status(ca, chain.leaf.serial) == "Revoked"
            assert await _outcome(store, sha256) == ""
            # HQ was killed between the CA's answer and the commit: it asks again.
            await store.write(_forget_that_it_is_done)
            assert [await revoking.once() for _ in range(2)] == [1, 0]
            assert await _outcome(store, sha256) == ""
    finally:
        await store.close()


def _forget_that_it_is_done(transaction: Transaction) -> None:
    transaction._connection.execute("UPDATE revocation SET done_at_s = NULL")


async def _outcome(store: SqliteStore, sha256: str) -> str:
    """Why it could not be revoked; nothing when it was."""
    found: Outcome | None = await store.read(lambda transaction: transaction.revocations.outcome(sha256))
    assert found is not None
    assert found.done_at_s is not None
    return found.problem


def _status(ca: Pebble, serial: int) -> str:
    context = ssl.create_default_context(cafile=str(ca.api_trust))
    url = f"https://localhost:{ca.management_port}/cert-status-by-serial/{serial:x}"
    with urllib.request.urlopen(url, context=context, timeout=5) as answer:
        document: dict[str, Any] = json.load(answer)
    return str(document["Status"])
