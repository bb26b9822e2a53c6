"""`otscert alerts` and its kin, and what the table [alerts] refuses."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hq.tests.cli.conftest import Installation

from otscert.domain.alert_news import Known
from otscert.domain.alerts import Alert, Kind, Severity
from otscert.store.outbox import Posted
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.mail_sink import MailSink, running_mail_sink
from tests.harness.ports import free_port

ALERT = Alert(
    kind=Kind.BUDGET_SHORT,
    subject="ca",
    severity=Severity.WARNING,
    since_s=0,
    count=40,
    what="40 orders wait because the limits of ca are used up",
    examples=("ca orders-per-account",),
)
MAIL = """
[alerts]
email_to = ["ops@example.com"]
email_from = "OTS Cert <hq@example.com>"
smtp_host = "127.0.0.1"
smtp_port = {port}
smtp_security = "none"
"""


def enter(installed: Installation, *works: Callable[[Transaction], Any]) -> None:
    async def write() -> None:
        store = SqliteStore.open(installed.database)
        for work in works:
            await store.write(work)
        await store.close()

    asyncio.run(write())


def configure(installed: Installation, text: str) -> None:
    installed.config.write_text(installed.config.read_text() + text)


def test_without_a_running_hq_the_command_says_that_nobody_looks(installed: Installation) -> None:
    enter(installed)
    done = installed.call("alerts")
    assert done.returncode == 1
    assert "Nobody is told: no channel is configured" in done.stdout
    assert "HQ has never looked: it does not run" in done.stdout


def test_when_all_is_well_the_exit_status_is_0(installed: Installation) -> None:
    now_s = int(time.time())
    enter(installed, lambda t: t.alerts.set_done("looked", seen_s=None, at_s=now_s))
    done = installed.call("alerts")
    assert done.returncode == 0, done.stdout
    assert "Nothing is known to be wrong. HQ looked" in done.stdout
    document = json.loads(installed.call("alerts", "--json").stdout)
    assert (document["ok"], document["alerts"], document["channels"]) == (True, [], [])


def test_what_is_wrong_is_shown_with_what_to_do_and_who_was_told(installed: Installation) -> None:
    now_s = int(time.time())
    configure(installed, MAIL.format(port=25))
    open_row = Known(alert=replace(ALERT, since_s=now_s - 7200), found_s=now_s, seen_s=now_s, told_s=now_s - 60)
    waiting = replace(open_row, alert=replace(ALERT, subject="other", what="the other one"), told_s=None)
    over = replace(open_row, alert=replace(ALERT, subject="third", what="it was slow"), over_s=now_s - 90)
    message = Posted(
        id="m1", channel="mail", message="{}", created_s=1, until_s=now_s, next_at_s=1, problem="451 come back"
    )
    enter(
        installed,
        lambda t: t.alerts.set_done("looked", seen_s=None, at_s=now_s),
        *(lambda t, row=row: t.alerts.put(row) for row in (open_row, waiting, over)),
        lambda t: t.outbox.add(message),
    )
    done = installed.call("alerts")
    assert done.returncode == 1
    for words in (
        "WARNING: 40 orders wait because the limits of ca are used up",
        "2 hours ago",
        "what to do: otscert budget tells who waits",
        "1 min ago: mail",
        "not yet: it has to last",
        "it was slow",
        "451 come back",
        "1 alert. HQ looked",
    ):
        assert words in " ".join(done.stdout.split())
    document = json.loads(installed.call("alerts", "--json").stdout)
    assert [(each["about"], each["state"]) for each in document["alerts"]] == [("ca", "open"), ("other", "waiting")]
    assert document["over"][0]["what"] == "it was slow"
    assert document["channels"] == [{"name": "mail", "last_sent_at": None, "waiting": 1, "problem": "451 come back"}]


def test_a_test_says_of_each_channel_what_came_of_it(installed: Installation, tmp_path: Path) -> None:
    assert "No channel is configured" in installed.call("alerts", "test").stderr

    async def with_sink() -> tuple[MailSink, Any, Any]:
        async with running_mail_sink(tmp_path, MailSink(security="none")) as sink:
            configure(installed, MAIL.format(port=sink.port))
            good = await asyncio.to_thread(installed.run, "alerts", "test")
            sink.answers["RCPT"] = "550 no such user"
            return sink, good, await asyncio.to_thread(installed.run, "alerts", "test", "--json")

    sink, good, bad = asyncio.run(with_sink())
    assert good.returncode == 0, good.stderr
    assert "sent" in good.stdout
    assert sink.taken[0].message["Subject"] == "[boxes.example.com] test of this channel"
    assert bad.returncode == 1
    (channel,) = json.loads(bad.stdout)["channels"]
    assert (channel["ok"], "550 no such user" in channel["problem"]) == (False, True)


def test_the_digest_can_be_printed_and_sends_nothing(installed: Installation) -> None:
    enter(installed)
    configure(installed, MAIL.format(port=free_port()))
    done = installed.call("alerts", "digest", "--print")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Subject: [boxes.example.com] daily digest: all is well\n")
    assert "no certificate yet; nobody waits for its limits" in done.stdout
    assert json.loads(installed.call("alerts", "digest", "--print", "--json").stdout)["event"] == "otscert.digest"
    sent = installed.call("alerts", "digest")
    assert sent.returncode == 1
    assert "cannot be reached" in sent.stdout


GOOD = MAIL.format(port=25)
REFUSED = [
    (GOOD.replace("ops@example.com", "ops"), "alerts.email_to has 'ops', which is not an e-mail address"),
    (GOOD.replace("hq@example.com", ""), "alerts.email_from has"),
    (GOOD.replace('"127.0.0.1"', '""'), "alerts.smtp_host is ''"),
    (GOOD.replace('"127.0.0.1"', '"mail.example.com:25:x y"'), "alerts.smtp_host is"),
    (GOOD.replace('"none"', '"ssl"'), "alerts.smtp_security is 'ssl', but must be one of starttls, tls, none"),
    (GOOD.replace("25", "70000"), "alerts.smtp_port is 70000"),
    (GOOD + 'smtp_user = "hq"', "belong together"),
    (GOOD + 'smtp_password = "x"', "is a secret: keep it in a file"),
    (
        GOOD.replace("127.0.0.1", "mail.example.com") + 'smtp_user = "hq"\nsmtp_password_file = "secret"',
        "would send the password in the clear",
    ),
    ('[alerts]\nsmtp_host = "mail.example.com"', "nobody is to be told: set alerts.email_to"),
    ('[alerts]\nwebhook_url = "http://a.example"', "alerts.webhook_url must start with https://"),
    ('[alerts]\nwebhook_url = "https://a.example"', "alerts.webhook_secret has 0 bytes"),
    ('[alerts]\ndigest_at = "25:00"', "alerts.digest_at is '25:00', but must be a time in UTC"),
    ('[alerts]\ndigest_at = "7"', "alerts.digest_at is '7'"),
    ('[alerts]\napprise_urls_file = "secret"', "alerts.apprise_urls: URL 1 is none that Apprise takes"),
    ("[alerts]\naway_boxes = -1", "alerts.away_boxes must not be negative"),
]


@pytest.mark.parametrize(("text", "words"), REFUSED)
def test_a_mistake_in_the_table_is_named_and_no_secret_is_shown(installed: Installation, text: str, words: str) -> None:
    (installed.folder / "secret").write_text("hush-hush-hush\n")
    configure(installed, f"\n{text}\n")
    done = installed.call("config", "check")
    assert done.returncode == 1
    assert words in done.stderr
    assert "hush" not in done.stderr
