"""`otscert zone check` before real NSD and BIND whose zones are wrong, each in another way."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from otscert.config import Config, ZoneConfig, load
from otscert.ops.doctor_ask import at_port
from otscert.ops.doctor_finding import Finding
from otscert.ops.zone_check import check_zone
from tests.harness.name_servers.bind import bind
from tests.harness.name_servers.nsd import nsd_primary

BIND, PARENT, NSD = "127.0.0.1", "127.0.0.2", "127.0.0.3"
SOA = "@ SOA ns1 hostmaster {} 3600 600 1209600 {}\n"
ABOVE = f"""{SOA.format(1, 60)}@ NS ns1
ns1 A {PARENT}
@ CAA 0 issue "other.example"
old NS ns1.old
old NS ns2.old
ns1.old A {BIND}
ns2.old A {NSD}
wild NS ns1.wild
wild NS ns2.wild
ns1.wild A {BIND}
ns2.wild A {NSD}
day NS ns1.day
day NS ns2.day
ns1.day A {NSD}
ns2.day A {NSD}
"""
BOTH = f"@ NS ns1\n@ NS ns2\nns1 A {BIND}\nns2 A {NSD}\n"
WRONG = {
    # RFC 1982: BIND's 1 comes after it.
    "old.example.com": SOA.format(2**32 - 1, 60) + BOTH,
    "wild.example.com": SOA.format(1, 60) + BOTH + "* TXT not-a-challenge\n",
    "day.example.com": SOA.format(1, 86400).replace("@", "@ 86400") + f"@ NS ns1\nns1 A {NSD}\n",
}
WANTED = {"le": ["letsencrypt.org;validationmethods=dns-01"]}
KINDS = ("failed", "warning")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    file = tmp_path / "otscert.toml"
    file.write_text(
        'public_url = "https://hq.example.net"\n[zone]\norigin = "old.example.com"\n'
        'server_addresses = { "ns1.old.example.com" = ["127.0.0.1"] }\n'
        '[issuer.le]\ndirectory_url = "https://127.0.0.1:1/"\nterms_agreed = true\n'
        '[model.box]\npolicies = ["open"]\n'
    )
    return load(file, {})


async def test_servers_that_are_wrong_are_named_with_what_is_wrong(tmp_path: Path, config: Config) -> None:
    secret = base64.b64encode(b"a secret of thirty-two octets...").decode()
    more = f"@ IN NS ns2\nns2 IN A {NSD}\n"
    with (
        bind(tmp_path / "bind", zone="old.example.com", secret=secret, more=more) as server,
        nsd_primary(tmp_path / "parent", host=PARENT, port=server.port, zones={"example.com": ABOVE}),
        nsd_primary(tmp_path / "nsd", host=NSD, port=server.port, zones=WRONG),
    ):
        old, wild, day = await asyncio.gather(*(_found(config, zone, server.port) for zone in WRONG))
    for found in (old, wild, day):
        assert found["zone.caa.le"].what.startswith("the issue records of example.com do not let HQ's issuer le issue")
    at_bind, at_nsd = (f"{host}:{server.port}" for host in (BIND, NSD))
    behind = old[f"zone.serial:ns2.old.example.com at {at_nsd}"]
    assert f"serial {2**32 - 1} of old.example.com, another server has 1" in behind.what
    assert wild.keys() >= {
        f"zone.lame:ns1.wild.example.com at {at_bind}",
        f"zone.negative:ns2.wild.example.com at {at_nsd}",
    }
    assert "REFUSED" in wild[f"zone.lame:ns1.wild.example.com at {at_bind}"].what
    assert "dns.glue" not in {*old, *wild, *day}
    assert day["dns.delegation"].why.startswith("who is sent to ns2.day.example.com may get an error")
    assert [check for check in day if check.startswith("zone.negative_ttl:")]


async def _found(config: Config, origin: str, port: int) -> dict[str, Finding]:
    """What is wrong with a zone of which the configuration names the servers that stand in it, and their addresses."""
    addresses = {"day.example.com": (NSD,)}.get(origin, (BIND, NSD))
    servers = {f"ns{number}.{origin}": (IPv4Address(address),) for number, address in enumerate(addresses, 1)}
    zone: ZoneConfig = replace(config.zone, origin=origin, name_servers=tuple(servers), server_addresses=servers)
    findings = await check_zone(
        replace(config, zone=zone), None, wanted_caa=WANTED, resolver=(PARENT, port), place=at_port(port)
    )
    return {finding.check: finding for finding in findings if finding.outcome in KINDS}
