"""The webhook of alerts against a real HTTPS server: signed, bounded, and nothing of its URL in an error."""

from __future__ import annotations

import hmac
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path

import pytest

from otscert.domain.alert_message import Message
from otscert.notify.alert_webhook import AlertWebhook
from otscert.notify.channel_config import AlertWebhookConfig
from otscert.notify.errors import ChannelUnusable, NotDelivered
from tests.harness.maker import Behaviour, Maker, answers, running_maker

SECRET = b"a secret of the maker"
LOOPBACK = (ip_network("127.0.0.0/8"),)
MESSAGE = Message(
    id="0a1b", event="alerts", subject="critical", text="all of it", at_s=1_000, items=[{"kind": "issuer.down"}]
)
NOW_S = 5_000


async def send(maker: Maker, *, networks: tuple[IPv4Network | IPv6Network, ...] = LOOPBACK) -> None:
    config = AlertWebhookConfig(
        url=f"{maker.url}?key=hush-hush",
        secret=SECRET,
        networks=networks,
        trust_file=maker.trust_file,
    )
    channel = AlertWebhook(config, now_s=lambda: NOW_S)
    try:
        await channel.send(MESSAGE)
    finally:
        await channel.aclose()


@pytest.mark.parametrize("status", [200, 202])
async def test_an_alert_is_signed_json_and_any_2xx_is_a_yes(tmp_path: Path, status: int) -> None:
    async with running_maker(answers({}, status=status), tmp_path) as maker:
        await send(maker)
    (asked,) = maker.asked
    assert asked.members == {
        "event": "otscert.alerts",
        "id": "0a1b",
        "at": "1970-01-01T00:16:40Z",
        "subject": "critical",
        "text": "all of it",
        "items": [{"kind": "issuer.down"}],
    }
    assert asked.headers["otscert-timestamp"] == str(NOW_S)
    expected = hmac.digest(SECRET, f"{NOW_S}.".encode() + asked.body, "sha256").hex()
    assert asked.headers["otscert-signature"] == f"v1={expected}"
    assert asked.key == MESSAGE.id


@pytest.mark.parametrize(
    ("behaviour", "words"),
    [
        (answers({}, status=500), "it answered 500, not 2xx"),
        (answers({}, status=302), "redirects are not followed"),
    ],
)
async def test_anything_else_is_a_no_with_its_reason(tmp_path: Path, behaviour: Behaviour, words: str) -> None:
    async with running_maker(behaviour, tmp_path) as maker:
        with pytest.raises(NotDelivered, match=words) as raised:
            await send(maker)
    assert "hush" not in str(raised.value)


async def test_a_private_address_is_not_called_unless_it_is_named(tmp_path: Path) -> None:
    async with running_maker(answers({}), tmp_path) as maker:
        with pytest.raises(NotDelivered, match="nothing was sent"):
            await send(maker, networks=())
    assert maker.connections == 0


def test_a_trust_file_that_is_none_is_said_when_the_channel_is_made(tmp_path: Path) -> None:
    config = AlertWebhookConfig(url="https://a.example", secret=SECRET, networks=(), trust_file=tmp_path / "none.pem")
    with pytest.raises(ChannelUnusable, match=r"alerts\.webhook_trust_file"):
        AlertWebhook(config, now_s=lambda: NOW_S)
    assert "secret" not in repr(config)
