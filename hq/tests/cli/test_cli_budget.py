"""`otscert budget`: what is left, who waits, until when, and what would change it."""

from __future__ import annotations

import asyncio
import json
import re
import time
from typing import Any

import pytest
from hq.tests.store.rows import device, fill, order

from otscert.domain.budget import Bucket, Level, Rank, careful
from otscert.domain.limits import LETS_ENCRYPT, LimitKind
from otscert.store.accounts import Account
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

Installation = Any  # the class lives in conftest.py, which cannot be imported
NOW_S = int(time.time())
ACCOUNT = Bucket(issuer="ca", kind=LimitKind.ORDERS_PER_ACCOUNT, subject="")
DOMAIN = Bucket(issuer="ca", kind=LimitKind.CERTIFICATES_PER_DOMAIN, subject="example.com")
URL = "https://acme.example/acct/1"


@pytest.fixture
def hq(installed: Installation) -> Installation:
    """At a CA with Let's Encrypt's limits."""
    installed.edit("[issuer.ca]", '[issuer.ca]\nlimits = "letsencrypt"')
    return installed


def write(hq: Installation, work: Any) -> None:
    async def change() -> None:
        store = SqliteStore.open(hq.database)
        await store.write(work)
        await store.close()

    asyncio.run(change())


def ask(hq: Installation) -> tuple[int, dict[str, Any]]:
    done = hq.call("budget", "--json")
    assert not done.stderr
    return done.returncode, json.loads(done.stdout)


def used(kind: LimitKind, left: int) -> int:
    quota = careful(kind, LETS_ENCRYPT.by_kind[kind])
    return NOW_S * 1000 + (quota.count - left) * quota.interval_ms


def wait(transaction: Transaction) -> None:
    """Of a launch of 500 boxes 49 went, and 451 wait for the registered domain, one of them a routine renewal."""
    fill(transaction, device())
    ranks = [Rank.FIRST_BOOT] * 300 + [Rank.STRANGER] * 150 + [Rank.ROUTINE]
    for number, rank in enumerate(ranks):
        fill(transaction, order(number, rank=rank, waits_for=DOMAIN.name, issuer="ca"))
    levels = {ACCOUNT: used(ACCOUNT.kind, 250), DOMAIN: used(DOMAIN.kind, 0)}
    transaction.buckets.keep(levels)
    transaction.accounts.add(Account(issuer="ca", directory_url="u", key_sealed=b"", url=URL), now_s=NOW_S)


def test_an_unused_budget_is_full_and_nobody_waits(hq: Installation) -> None:
    write(hq, lambda _: None)
    status, document = ask(hq)

    assert status == 0
    issuer = document["issuers"][0]
    assert issuer["account"] is None
    assert [(each["limit"], each["room"], each["full_at"]) for each in issuer["shared"]] == [
        ("certificates-per-domain", 49, None),
        ("orders-per-account", 299, None),
    ]
    shown = hq.call("budget")
    assert shown.returncode == 0
    assert "299 of 299" in shown.stdout
    assert "isrg.formstack.com" in shown.stdout
    assert "otscert issuer test ca --register" in shown.stdout


def test_a_launch_that_waits_is_told_until_when_and_what_would_help(hq: Installation) -> None:
    write(hq, wait)
    status, document = ask(hq)

    assert status == 1
    assert document["waiting"] == 451
    domain, account = document["issuers"][0]["shared"]
    assert 250 <= account["room"] <= 260  # one more comes back every 36 s
    assert domain["room"] == 0
    assert [(each["rank"], each["count"]) for each in domain["waiting"]] == [
        ("first boot", 300),
        ("stranger", 150),
        ("routine", 1),
    ]
    served = [each["served_at"] for each in domain["waiting"]]
    assert served == sorted(served)
    override, listed = domain["would_help"]
    assert override["what"] == "an override of 10,000 a week"
    assert override["setting"] == 'issuer.ca.certificates_per_domain = "10000/7d"'
    assert listed["what"] == "the zone on the Public Suffix List"
    assert override["served_at"] < domain["served_at"]

    shown = hq.call("budget")
    assert shown.returncode == 1
    assert re.search(r"first boots +300 wait; the last goes in about 42 days", shown.stdout)
    assert "with an override of 10,000 a week" in shown.stdout
    assert URL in shown.stdout


def test_a_refusal_of_the_ca_is_shown_with_its_words(hq: Installation) -> None:
    level = Level(tat_ms=None, parked_until_s=NOW_S + 7200, reason="too many new orders (300) recently")
    write(hq, lambda transaction: transaction.buckets.park(ACCOUNT, level))
    status, document = ask(hq)

    assert status == 1
    account = document["issuers"][0]["shared"][1]
    assert account["room"] == 0
    assert account["reason"] == "too many new orders (300) recently"
    shown = hq.call("budget").stdout
    assert "none: the CA refuses more for now" in shown
    assert "too many new orders (300) recently" in shown


def test_a_ca_of_which_nothing_is_known_says_so(installed: Installation) -> None:
    write(installed, lambda _: None)
    shown = installed.call("budget")

    assert shown.returncode == 0
    assert "not known" in shown.stdout
    assert "form" not in shown.stdout


def test_below_a_public_suffix_no_domain_is_shared(hq: Installation) -> None:
    hq.edit("[zone]", '[zone]\npublic_suffix = "true"')
    write(hq, lambda _: None)
    _, document = ask(hq)

    assert [each["limit"] for each in document["issuers"][0]["shared"]] == ["orders-per-account"]


def test_without_a_database_there_is_a_hint(hq: Installation) -> None:
    done = hq.call("budget")
    assert done.returncode == 1
    assert "otscert serve makes it" in done.stderr
