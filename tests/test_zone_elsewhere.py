"""The zone is on BIND, the CA asks BIND, and a box gets its certificate: HQ serves nothing, or challenges alone."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

import dns.message
import dns.query

from otscert.ops.pebble import Pebble
from otscert.pki.files import PkiFolder
from tests.harness.box import Box, open_session
from tests.harness.hq import RunningHq
from tests.harness.name_servers.bind import NameServer, bind
from tests.harness.name_servers.unbound import unbound
from tests.harness.ports import free_port
from tests.harness.several import HOST, ZONE, Several, certificate_of

CHALLENGES = "acme.example.com"
SECRET = base64.b64encode(b"a secret of thirty-two octets...").decode()


async def test_a_box_gets_its_certificate_while_the_zone_is_on_bind(
    tmp_path: Path, pebble: Callable[..., Pebble]
) -> None:
    with bind(tmp_path / "bind", zone=ZONE, secret=SECRET) as server:
        await _one_box(tmp_path, server, pebble(dns_server=f"{HOST}:{server.port}"))


async def test_a_box_gets_its_certificate_while_hq_serves_challenges_alone(
    tmp_path: Path, pebble: Callable[..., Pebble]
) -> None:
    ours = free_port()
    with (
        bind(tmp_path / "bind", zone=ZONE, secret=SECRET) as server,
        unbound(tmp_path / "unbound", zone=ZONE, server_port=server.port, others={CHALLENGES: ours}) as resolver,
    ):
        label = await _one_box(tmp_path, server, pebble(dns_server=f"{HOST}:{resolver}"), served=ours)
        name = f"_acme-challenge.{label}.{ZONE}"
        query = dns.message.make_query(name, "TXT")
        answer = await asyncio.to_thread(dns.query.udp, query, HOST, port=server.port, timeout=5)
        assert [rrset.to_text().split(" ", 2)[2] for rrset in answer.answer] == [
            f"IN CNAME _acme-challenge.{label}.{CHALLENGES}."
        ]
        assert f"{name}. TXT IN" in (tmp_path / "unbound" / "log").read_text()


async def _one_box(tmp_path: Path, server: NameServer, ca: Pebble, served: int = 0) -> str:
    """Have a box get its certificate; `served` is the port of HQ's own zone, if it has one. Returns the box's label."""
    port = free_port()
    pki = PkiFolder(folder=tmp_path / "data" / "pki")
    pki.create(zone=ZONE, hosts=(HOST,), passphrase=None, now_s=int(time.time()))
    (tmp_path / "secret").write_text(SECRET)
    (tmp_path / "otscert.toml").write_text(_config(f"https://{HOST}:{port}", server.port, ca, served))
    hq = Several(
        folder=tmp_path,
        database_url="",
        url=f"https://{HOST}:{port}",
        roots_pem=pki.root_pem.read_bytes(),
        device_port=port,
        dns_port=0,
    )
    member = await hq.start("api,worker,dns")
    try:
        running = cast("RunningHq", hq)  # its URL and roots are all that is used
        async with open_session(running) as session:
            box = Box(hq=running, session=session, at="")
            await box.admit()
            assert await asyncio.wait_for(certificate_of(box), 60)
        assert member.lines("zone.updates_not_taken") == []
        return box.label
    finally:
        assert await member.end() == 0


def _config(url: str, dns_port: int, ca: Pebble, served: int) -> str:
    challenges = f'challenge_zone = "{CHALLENGES}"' if served else ""
    return f"""
        data_dir = "data"
        public_url = "{url}"
        [zone]
        origin = "{ZONE}"
        server_addresses = {{ "ns1.{CHALLENGES}" = ["{HOST}"] }}
        check_servers = ["{HOST}:{dns_port}"]
        [tsig.otscert]
        secret_file = "secret"
        [updates]
        servers = ["{HOST}:{dns_port}"]
        key = "otscert"
        {challenges}
        [listen]
        dns = [{f'"{HOST}:{served}"' if served else ""}]
        [log]
        format = "json"
        [issuer.pebble]
        directory_url = "{ca.directory_url}"
        trust_file = "{ca.api_trust}"
        terms_agreed = true
        [model.box]
        policies = ["open"]
        computed_names = false
        """
