"""Several issuers: what the configuration may say, and what `otscert issuer` shows of them."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from otscert.domain.breaker import Breaker
from otscert.store.accounts import Account
from otscert.store.issuers import AccountProblem, Issuer
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

Installation = Any  # the class lives in conftest.py, which cannot be imported
SECOND = '\n[issuer.another]\ndirectory_url = "https://127.0.0.1:2/directory"\nterms_agreed = true\n'
LINK = "https://ca.example/sfe/v1/unpause?jwt=eyJh"


@pytest.fixture
def two(installed: Installation) -> Installation:
    installed.config.write_text(installed.config.read_text() + SECOND)
    return installed


def order_of(installed: Installation) -> list[tuple[str, int | None]]:
    done = installed.call("issuer", "list", "--json")
    assert done.returncode == 0, done.stderr
    return [(each["name"], each["preference"]) for each in json.loads(done.stdout)["issuers"]]


def test_the_file_says_who_is_preferred_unless_a_setting_does(two: Installation) -> None:
    assert order_of(two) == [("ca", 1), ("another", 2)]  # not by the alphabet
    text = two.config.read_text()
    two.config.write_text('issuers = ["another", "ca"]\n' + text)
    assert order_of(two) == [("another", 1), ("ca", 2)]
    two.config.write_text('issuers = ["another"]\n' + text)
    assert order_of(two) == [("another", 1), ("ca", None)]
    assert "not for new orders" in two.call("issuer", "list").stdout


@pytest.mark.parametrize(
    ("head", "model", "says"),
    [
        (
            'issuers = ["anothr"]\n',
            "",
            "issuers names 'anothr', but there is no [issuer.anothr]: did you mean another?",
        ),
        ('issuers = ["ca", "ca"]\n', "", "issuers names 'ca' twice"),
        ("", 'issuers = ["zerossl"]\n', "model.box.issuers names 'zerossl'"),
        ("", "profile = 5\n", "model.box.profile must be a text"),
        ('issuers = "ca"\n', "", "issuers must be a list of texts"),
    ],
)
def test_mistakes_are_named(two: Installation, head: str, model: str, says: str) -> None:
    text = two.config.read_text().replace("[model.box]\n", f"[model.box]\n{model}")
    two.config.write_text(head + text)
    done = two.call("config", "check")
    assert done.returncode == 1
    assert says in done.stderr


def test_an_eab_key_that_is_none_is_refused_without_being_shown(two: Installation) -> None:
    two.edit("[issuer.another]\n", '[issuer.another]\neab_kid = "k"\neab_hmac_key_file = "eab.key"\n')
    (two.folder / "eab.key").write_text("not/base64+url!")
    done = two.call("config", "check")
    assert (done.returncode, "issuer.another.eab_hmac_key is not base64url" in done.stderr) == (1, True)
    assert "not/base64" not in done.stderr


def test_the_same_ca_twice_is_warned_of(two: Installation) -> None:
    two.edit("127.0.0.1:2/", "127.0.0.1:1/")
    done = two.call("config", "check", "--json")
    assert "the issuers ca and another are the same CA" in done.stdout


async def test_what_a_person_has_to_do_is_shown_with_the_link(two: Installation) -> None:
    now_s = int(time.time())
    problem = AccountProblem(kind="paused", reason="temporarily prevented for box", link=LINK, since_s=now_s)
    breaker = Breaker(failures=6, failing_since_s=now_s - 900, open_until_s=now_s + 300, reason="HTTP 503")

    def learn(transaction: Transaction) -> None:
        account = Account(issuer="ca", directory_url="https://ca", key_sealed=b"", url="https://ca/acct/7")
        transaction.accounts.add(account, now_s=now_s)
        transaction.issuers.save(Issuer(name="ca", breaker=breaker, last_success_s=now_s - 3600, problem=problem))

    store = SqliteStore.open(two.database)
    await store.write(learn)
    await store.close()
    shown = two.run("issuer", "show", "ca").stdout
    for words in ("https://ca/acct/7", "HTTP 503", "6 times", LINK, "until you have opened the link", "1 h ago"):
        assert words in shown, words
    document = json.loads(two.run("issuer", "show", "ca", "--json").stdout)
    assert (document["breaker"], document["account_problem"]["link"]) == ("open", LINK)
    assert "account paused" in two.run("issuer", "list").stdout
    assert two.run("issuer", "show", "cb").stderr.startswith("otscert: there is no issuer 'cb'")
    done = two.run("issuer", "rollover", "another")
    assert "HQ has no account at another yet" in done.stderr
