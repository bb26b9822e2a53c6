"""Two servers on one port, and the sample of questions in the log."""

from __future__ import annotations

import logging

import dns.asyncquery
import dns.edns
import dns.message
import pytest

from otscert.zones.errors import ListenError
from otscert.zones.question_log import QuestionLog
from otscert.zones.server import DnsServer
from otscert.zones.zone import Zone

NAME = "four.boxes.example.com"


async def test_two_servers_share_a_port_when_both_are_told_to(zone: Zone) -> None:
    one, two = DnsServer(zone, share_port=True), DnsServer(zone, share_port=True)
    await one.start("127.0.0.1", 0)
    host, port = one.addresses[0]
    await two.start(host, port)
    query = dns.message.make_query(NAME, "A")
    for _ in range(20):
        assert (await dns.asyncquery.udp(query, host, port=port, timeout=5)).answer
        assert (await dns.asyncquery.tcp(query, host, port=port, timeout=5)).answer
    with pytest.raises(ListenError, match="another name server has it"):
        await DnsServer(zone).start(host, port)
    await one.stop()
    assert (await dns.asyncquery.udp(query, host, port=port, timeout=5)).answer
    assert (await dns.asyncquery.tcp(query, host, port=port, timeout=5)).answer
    await two.stop()


async def test_a_limited_answer_is_fetched_over_tcp(zone: Zone) -> None:
    server = DnsServer(zone, rate_limit_per_s=1)
    await server.start("127.0.0.1", 0)
    host, port = server.addresses[0]
    query = dns.message.make_query(NAME, "A")
    for _ in range(30):
        answer, _ = await dns.asyncquery.udp_with_fallback(query, host, port=port, timeout=5)
        assert len(answer.answer) == 1
    assert zone.counters.limited
    assert zone.counters.tcp == zone.counters.limited
    await server.stop()


async def test_servers_with_one_secret_take_each_others_cookies(zone: Zone) -> None:
    query = dns.message.make_query(
        NAME, "A", use_edns=0, options=[dns.edns.GenericOption(dns.edns.OptionType.COOKIE, b"clientck")]
    )
    for _ in range(2):
        server = DnsServer(zone, cookie_secret=bytes(32))
        await server.start("127.0.0.1", 0)
        answer = await dns.asyncquery.udp(query, "127.0.0.1", port=server.addresses[0][1], timeout=5)
        query = dns.message.make_query(NAME, "A", use_edns=0, options=list(answer.options))
        await server.stop()
    assert list(zone.counters.cookies.values()) == [1, 1, 0]


def test_one_question_in_so_many_is_logged_without_the_clients_address(
    zone: Zone, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="otscert")
    answer = QuestionLog(one_in=3).watch(lambda query, _: zone.answer(query, size_limit=512), transport="udp")
    strange = dns.message.make_query("a\\.b\\010\\255" + "x" * 50 + "." + NAME, "TYPE999").to_wire()
    for query in [bytes(12), bytes(12), strange, strange, strange, b"\0" * 3]:
        answer(query, "192.0.2.7")
    first, second = caplog.records
    assert first.getMessage() == second.getMessage() == "dns.question"
    fields = {name: first.__dict__[name] for name in ("question", "type", "code", "transport", "network")}
    assert fields == {
        "question": "a\\046b\\010\\255" + "x" * 50 + "." + NAME,
        "type": "TYPE999",
        "code": "NXDOMAIN",
        "transport": "udp",
        "network": "192.0.2.0/24",
    }
    assert (second.__dict__["question"], second.__dict__["code"]) == ("unreadable", "silence")


async def test_without_sharing_a_port_is_one_servers(server: DnsServer, zone: Zone) -> None:
    host, port = server.addresses[0]
    with pytest.raises(ListenError, match="another name server has it"):
        await DnsServer(zone, share_port=True).start(host, port)
