"""A resolver like Let's Encrypt's between the CA and HQ: Unbound with 0x20, minimised questions and a validator."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import dns.flags
import dns.message
import dns.query
import dns.rcode
import pytest

from otscert.ops.demo_box import DemoBox
from otscert.ops.demo_hq import ZONE, DemoHq, Ports
from otscert.ops.pebble import Pebble
from otscert.ops.verify import verify_box
from tests.harness.name_servers.unbound import unbound
from tests.harness.ports import free_port
from tests.zone.served import CAA, HOST, ORIGIN, example_zone, serve

DEADLINE_S = 90.0


@pytest.fixture(scope="module")
def resolver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("resolver") / "unbound"
    with serve(example_zone()) as served, unbound(folder, zone=ORIGIN, server_port=served.port) as port:
        yield port


@pytest.mark.parametrize(
    ("name", "rtype", "code", "data"),
    [
        ("both", "A", "NOERROR", {"192.168.1.20", "10.0.0.1"}),
        ("both", "AAAA", "NOERROR", {"fd00::20"}),
        ("BoTh", "A", "NOERROR", {"192.168.1.20", "10.0.0.1"}),
        ("four", "AAAA", "NOERROR", set()),
        ("both", "HTTPS", "NOERROR", set()),
        ("both", "CAA", "NOERROR", set()),
        ("fresh", "CAA", "NOERROR", set()),
        ("fresh", "A", "NOERROR", set()),
        ("", "CAA", "NOERROR", {f'0 issue "{value}"' for value in CAA}),
        ("_acme-challenge.both", "TXT", "NOERROR", {'"no challenge is waiting"'}),
        ("_acme-challenge.two", "TXT", "NOERROR", {'"value-of-the-name"', '"value-of-the-wildcard"'}),
        ("_acme-challenge.huge", "TXT", "NOERROR", {f'"{number:043}"' for number in range(40)}),
        ("_acme-challenge.unknown", "TXT", "NXDOMAIN", set()),
        ("192-168-7-9.both", "A", "NOERROR", {"192.168.7.9"}),
        ("192-168-7-9.both", "AAAA", "NOERROR", set()),
        ("8-8-8-8.both", "A", "NXDOMAIN", set()),
        ("unknown", "A", "NXDOMAIN", set()),
        ("a.b.c.unknown", "A", "NXDOMAIN", set()),
        ("ns2.dns", "A", "NOERROR", {"192.0.2.2"}),
    ],
)
def test_a_validators_resolver_gets_what_the_zone_says(
    resolver: int, name: str, rtype: str, code: str, data: set[str]
) -> None:
    query = dns.message.make_query(f"{name}.{ORIGIN}".lstrip("."), rtype, want_dnssec=True)
    answer, _ = dns.query.udp_with_fallback(query, HOST, port=resolver, timeout=20)
    assert dns.rcode.to_text(answer.rcode()) == code
    assert {str(each) for rrset in answer.answer for each in rrset} == data
    assert answer.flags & dns.flags.RA
    if not data:
        assert [rrset.rdtype.name for rrset in answer.authority] == ["SOA"]


@pytest.mark.timeout(180)
def test_a_box_gets_its_certificate_through_a_validators_resolver(
    tmp_path: Path, pebble: Callable[..., Pebble]
) -> None:
    ports = Ports(device=free_port(), dns=free_port())
    with ExitStack() as stack:
        port = stack.enter_context(unbound(tmp_path / "unbound", zone=ZONE, server_port=ports.dns))
        ca = pebble(dns_server=f"{HOST}:{port}")
        root = tmp_path / "root.pem"
        root.write_text("".join(ca.issuing_roots()), encoding="ascii")
        (tmp_path / "hq-folder").mkdir()
        hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
        stack.callback(hq.stop)
        hq.start(ca)
        box = DemoBox.start(tmp_path / "box", hq)
        stack.callback(box.stop)
        until_s = time.monotonic() + DEADLINE_S
        serving = box.wait_serving(until_s=until_s)
        assert serving is not None, box.why_not()
        verdict = verify_box(serving.name, serving.port, root_pem=root, dns_port=port, until_s=until_s)
        assert verdict.error is None
        asked = (tmp_path / "unbound" / "log").read_text()
    assert f"_acme-challenge.{serving.name}. TXT IN" in asked
