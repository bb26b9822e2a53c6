"""The channel mail against a real SMTP server that takes, refuses, hangs and drips."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from otscert.domain.alert_message import Message
from otscert.notify.channel_config import MailConfig, Security
from otscert.notify.errors import ChannelUnusable, NotDelivered
from otscert.notify.mail import Mail, compose
from tests.harness.mail_sink import HOST, MailSink, running_mail_sink
from tests.harness.ports import free_port

MESSAGE = Message(
    id="0a1b", event="alerts", subject="[boxes.example.com] critical: 2 boxes", text="CRITICAL: 2 boxes\n", at_s=1_000
)
PASSWORD = "correct horse battery"  # noqa: S105 - the sink's


def config(sink: MailSink, **changes: Any) -> MailConfig:
    made = MailConfig(
        host=HOST,
        port=sink.port,
        security=Security(sink.security),
        sender="OTS Cert <hq@example.com>",
        recipients=("ops@example.com", "boss@example.com"),
        greeting="hq.example.com",
        trust_file=sink.trust_file,
    )
    return replace(made, **changes)


@pytest.mark.parametrize("security", ["starttls", "tls"])
async def test_a_message_goes_under_tls_to_everybody_after_the_log_in(tmp_path: Path, security: str) -> None:
    async with running_mail_sink(tmp_path, MailSink(security=security, users={"hq": PASSWORD})) as sink:
        await Mail(config(sink, user="hq", password=PASSWORD)).send(MESSAGE)
    (taken,) = sink.taken
    assert taken.under_tls
    assert (taken.user, taken.sender) == ("hq", "hq@example.com")
    assert taken.recipients == ["ops@example.com", "boss@example.com"]
    assert taken.message["Subject"] == MESSAGE.subject
    assert taken.message["From"] == "OTS Cert <hq@example.com>"
    assert taken.message["Message-ID"] == "<otscert-0a1b@example.com>"
    assert taken.message["Auto-Submitted"] == "auto-generated"
    assert taken.message.get_content().replace("\r\n", "\n") == MESSAGE.text
    assert sink.said[0] == "ehlo hq.example.com"


async def test_a_server_on_this_machine_may_do_without_tls(tmp_path: Path) -> None:
    async with running_mail_sink(tmp_path, MailSink(security="none")) as sink:
        await Mail(config(sink)).send(MESSAGE)
    assert not sink.taken[0].under_tls


@pytest.mark.parametrize(
    ("sink", "changes", "words"),
    [
        (MailSink(), {"trust_file": None}, ["certificate", "not trusted", "alerts.smtp_trust_file"]),
        (MailSink(users={"hq": PASSWORD}), {"user": "hq", "password": "no"}, ["535", "alerts.smtp_password_file"]),
        (MailSink(answers={"RCPT": "550 no such user"}), {}, ["550 no such user", "alerts.email_to"]),
        (MailSink(answers={"MAIL": "553 not yours"}), {}, ["553 not yours", "alerts.email_from"]),
        (MailSink(answers={"DATA": "451 come back"}), {}, ["451 come back"]),
        (MailSink(offers_tls=False), {}, ["STARTTLS", "alerts.smtp_security"]),
        (MailSink(), {"user": "hq", "password": PASSWORD}, ["AUTH", "alerts.smtp_user"]),
    ],
)
async def test_a_refusal_says_what_the_server_said_and_which_setting_it_is_about(
    tmp_path: Path, sink: MailSink, changes: dict[str, Any], words: list[str]
) -> None:
    async with running_mail_sink(tmp_path, replace(sink, taken=[], said=[])) as running:
        with pytest.raises(NotDelivered) as raised:
            await Mail(config(running, **changes)).send(MESSAGE)
    assert running.taken == []
    assert [word for word in words if word not in str(raised.value)] == []
    assert PASSWORD not in str(raised.value)


async def test_a_certificate_for_another_name_is_not_trusted(tmp_path: Path) -> None:
    async with running_mail_sink(tmp_path, name="other.example.com") as sink:
        with pytest.raises(NotDelivered, match="not trusted"):
            await Mail(config(sink)).send(MESSAGE)
    assert sink.taken == []


@pytest.mark.parametrize("sink", [MailSink(hangs_at="greeting"), MailSink(hangs_at="DATA"), MailSink(drips=True)])
async def test_a_server_that_hangs_or_drips_costs_bounded_time(tmp_path: Path, sink: MailSink) -> None:
    async with running_mail_sink(tmp_path, replace(sink, taken=[], said=[])) as running:
        began_s = time.monotonic()
        with pytest.raises(NotDelivered, match=r"did not take the message within 0\.3 s"):
            await Mail(config(running), total_s=0.3).send(MESSAGE)
        assert time.monotonic() - began_s < 5


async def test_a_server_that_is_down_is_named_with_its_setting() -> None:
    sink = MailSink(port=free_port())
    made = config(sink, security=Security.NONE)
    with pytest.raises(NotDelivered, match=r"cannot be reached: Connection refused; see alerts\.smtp_host"):
        await Mail(made).send(MESSAGE)


def test_a_trust_file_that_is_none_is_said_when_the_channel_is_made(tmp_path: Path) -> None:
    with pytest.raises(ChannelUnusable, match=r"alerts\.smtp_trust_file"):
        Mail(config(MailSink(), trust_file=tmp_path / "none.pem"))


def test_a_subject_is_one_line_of_bounded_length() -> None:
    long = replace(MESSAGE, subject="critical:\r\nBcc: all@example.com " + "x" * 500)
    mail = compose(long, config(MailSink()))
    assert len(mail["Subject"]) == 200
    assert mail["Bcc"] is None


def test_the_password_is_in_no_representation() -> None:
    assert PASSWORD not in repr(config(MailSink(), user="hq", password=PASSWORD))
