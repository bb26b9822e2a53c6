"""The zone is on BIND, the CA asks BIND, and a box gets its certificate: HQ serves nothing, or challenges alone."""

from __future__ import annotations

import asyncio
import base64
import json
import sys
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
from tests.harness.name_servers.nsd import nsd_primary
from tests.harness.name_servers.unbound import unbound
from tests.harness.ports import free_port
from tests.harness.several import HOST, ZONE, Several, certificate_of

CHALLENGES = "acme.example.com"
PARENT, OURS = "127.0.0.2", "127.0.0.3"
"""The parent zone's server, and HQ's own; all name servers have the same port."""
TOP = "@ SOA ns.example.com. hostmaster.example.com. 1 3600 600 1209600 60\n@ NS ns.example.com.\n"
ABOVE = f"""{TOP}ns A {PARENT}
boxes NS ns1.boxes
ns1.boxes A {HOST}
acme NS ns1.acme
ns1.acme A {OURS}
"""
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
        nsd_primary(tmp_path / "nsd", host=PARENT, port=server.port, zones={"com": TOP, "example.com": ABOVE}),
    ):
        label = await _one_box(tmp_path, server, pebble(dns_server=f"{HOST}:{resolver}"), served=ours)
        name = f"_acme-challenge.{label}.{ZONE}"
        query = dns.message.make_query(name, "TXT")
        answer = await asyncio.to_thread(dns.query.udp, query, HOST, port=server.port, timeout=5)
        assert [rrset.to_text().split(" ", 2)[2] for rrset in answer.answer] == [
            f"IN CNAME _acme-challenge.{label}.{CHALLENGES}."
        ]
        assert f"{name}. TXT IN" in (tmp_path / "unbound" / "log").read_text()


async def _is_sound(folder: Path, port: int) -> None:
    """The whole check of both zones, from the parent zone down to an alias on BIND that leads to HQ."""
    asking = ("zone", "check", "--json", "--resolver", f"{PARENT}:{port}")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "otscert", *asking), cwd=folder, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await asyncio.wait_for(process.communicate(), 60)
    found = {finding["check"]: finding for finding in json.loads(out)["findings"]}
    wrong = {check for check, finding in found.items() if finding["outcome"] not in ("ok", "warning")}
    assert (process.returncode, wrong) == (0, set()), found
    assert f"name server of {CHALLENGES} (1), and its alias at every one of {ZONE} (1)" in found["zone.fresh"]["what"]
    expected = {
        "dns.delegation",
        "challenges.dns.delegation",
        f"challenges.zone.server:ns1.{CHALLENGES} at {OURS}:{port}",
    }
    assert expected <= found.keys(), found


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
        if served:
            await _is_sound(tmp_path, server.port)
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
        server_addresses = {{ "ns1.{CHALLENGES}" = ["{OURS}"] }}
        check_servers = ["{HOST}:{dns_port}"]
        [tsig.otscert]
        secret_file = "secret"
        [updates]
        servers = ["{HOST}:{dns_port}"]
        key = "otscert"
        {challenges}
        [listen]
        dns = [{f'"{HOST}:{served}", "{OURS}:{dns_port}"' if served else ""}]
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
