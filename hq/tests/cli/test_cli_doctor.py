from __future__ import annotations

import asyncio
import base64
import json
import re
import socket
import time
from typing import Any

import pytest
from hq.tests.store import rows

from otscert.store.sqlite import SqliteStore

Installation = Any  # the class lives in conftest.py, which cannot be imported
DnsWorld = Any


def examine(installed: Installation, world: DnsWorld) -> tuple[int, dict[str, Any]]:
    done = installed.run("doctor", "--json", "--resolver", world.at)
    document = json.loads(done.stdout)
    assert document["ok"] is (done.returncode == 0)
    return done.returncode, {found["check"]: found for found in document["findings"]}


def test_a_fresh_installation_is_examined_wholly(installed: Installation, world: DnsWorld) -> None:
    status, found = examine(installed, world)
    assert status == 1
    assert {check for check, finding in found.items() if finding["outcome"] == "failed"} == {"issuer.ca.directory"}
    device, dns = f"127.0.0.1:{installed.device_port}", f"127.0.0.1:{installed.dns_port}"
    assert found[f"listen.device:{device}"]["what"] == f"{device} is free for HQ (listen.device)"
    assert found[f"listen.dns:{dns}"]["what"] == f"{dns} is free for HQ (listen.dns)"
    assert found["data.database"]["outcome"] == found["hq"]["outcome"] == "cannot tell"
    for check in (
        "config",
        "data.folder",
        "data.disk",
        "keys.tls",
        "keys.answer",
        "keys.root",
        "clock",
        "dns.delegation",
    ):
        assert found[check]["outcome"] == "ok", found[check]


def test_a_running_hq_is_recognised_and_asked(installed: Installation, world: DnsWorld) -> None:
    # It runs though a box has the label of the name server ns1, and the doctor says which.
    store = SqliteStore.open(installed.database)
    asyncio.run(store.write(lambda t: t.devices.add(rows.device(label="ns1"))))
    asyncio.run(store.close())
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        _, found = examine(installed, world)
        assert hq.poll() is None
    device, dns = f"127.0.0.1:{installed.device_port}", f"127.0.0.1:{installed.dns_port}"
    assert found[f"listen.device:{device}"]["what"] == f"{device} is served by HQ (listen.device)"
    assert found[f"listen.dns:{dns}"]["what"] == f"{dns} is served by HQ (listen.dns)"
    assert found["hq.public_url"]["outcome"] == "ok"
    assert f"{dns} answers for boxes.example.com, UDP and TCP" in found[f"dns.answers:{dns}"]["what"]
    assert found["data.database"]["outcome"] == "ok"
    assert found["zone.server_addresses"]["what"].startswith("a box has the label ns1, and ns1.boxes.example.com is")


def test_a_public_url_at_which_hq_does_not_answer_is_named(installed: Installation, world: DnsWorld) -> None:
    installed.edit(f'"https://127.0.0.1:{installed.device_port}"', '"https://127.0.0.1:1"')
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        _, found = examine(installed, world)
    assert found["hq.public_url"]["outcome"] == "failed"
    assert "HQ does not answer at https://127.0.0.1:1" in found["hq.public_url"]["what"]


@pytest.mark.parametrize("setting", ["device", "dns"])
def test_a_port_that_another_program_has_is_named(installed: Installation, world: DnsWorld, setting: str) -> None:
    port = installed.device_port if setting == "device" else installed.dns_port
    with socket.create_server(("127.0.0.1", port)):
        status, found = examine(installed, world)
    finding = found[f"listen.{setting}:127.0.0.1:{port}"]
    assert (status, finding["outcome"]) == (1, "failed")
    assert f"127.0.0.1:{port} is taken by another program" in finding["what"]
    assert f"ss -lntup 'sport = :{port}'; stop it, or change listen.{setting}" in finding["mend"]


def test_missing_keys_are_named(installed: Installation, world: DnsWorld) -> None:
    (installed.folder / "hq-data" / "pki" / "tls.pem").unlink()
    status, found = examine(installed, world)
    assert (status, found["keys"]["outcome"]) == (1, "failed")
    assert "tls.pem cannot be read" in found["keys"]["what"]


def test_a_delegation_to_others_is_named(installed: Installation, world: DnsWorld) -> None:
    world.delegated = ["ns1.registrar.example"]
    world.glue = {"ns1.registrar.example": "127.0.0.1"}
    _, found = examine(installed, world)
    assert found["dns.delegation"]["outcome"] == "failed"
    assert (
        "to ns1.registrar.example, but zone.name_servers has ns1.boxes.example.com" in found["dns.delegation"]["what"]
    )


def test_glue_that_differs_is_named(installed: Installation, world: DnsWorld) -> None:
    world.glue = {"ns1.boxes.example.com": "127.0.0.2"}
    _, found = examine(installed, world)
    assert found["dns.glue"]["outcome"] == "failed"
    assert (
        "ns1.boxes.example.com 127.0.0.2, but zone.server_addresses has ns1.boxes.example.com 127.0.0.1"
        in (found["dns.glue"]["what"])
    )


def test_a_name_server_that_does_not_serve_the_zone_is_named(installed: Installation, world: DnsWorld) -> None:
    assert examine(installed, world)[1]["dns.server:ns1.boxes.example.com"]["outcome"] == "ok"
    world.serves = False
    _, found = examine(installed, world)
    assert found["dns.server:ns1.boxes.example.com"]["outcome"] == "warning"
    assert "it answers REFUSED" in found["dns.server:ns1.boxes.example.com"]["what"]


def test_a_second_name_server_elsewhere_is_looked_up_and_asked(installed: Installation, world: DnsWorld) -> None:
    installed.edit('"ns1.boxes.example.com"]\n\n', '"ns1.boxes.example.com", "ns2.example.net"]\n\n')
    world.delegated.append("ns2.example.net")
    _, found = examine(installed, world)
    assert found["dns.delegation"]["outcome"] == "ok"
    assert found["dns.server:ns2.example.net"]["outcome"] == "failed"
    assert found["dns.server:ns2.example.net"]["what"] == "the name server ns2.example.net has no address"
    world.records["ns2.example.net", "A"] = ["127.0.0.1"]
    assert examine(installed, world)[1]["dns.server:ns2.example.net"]["outcome"] == "ok"


def test_a_configuration_that_cannot_be_used_is_a_finding_in_json(installed: Installation, world: DnsWorld) -> None:
    installed.edit("public_url", "publik_url")
    status, found = examine(installed, world)
    assert (status, list(found)) == (1, ["config"])
    assert "Did you mean public_url?" in found["config"]["what"]


def test_without_a_network_the_delegation_is_unknown_and_the_whole_ends_in_time(
    installed: Installation, world: DnsWorld
) -> None:
    world.silent = True
    begin_s = time.monotonic()
    done = installed.run("doctor", "--resolver", world.at)
    assert time.monotonic() - begin_s < 10
    assert "cannot tell  no resolver answers when asked who serves example.com" in done.stdout
    assert "still waiting for answers: delegation, from the parent zone's name servers (8 s at most)\n" in done.stderr
    assert done.stdout.splitlines()[-1].endswith(" ok")


def test_without_any_dns_the_doctor_says_just_that(installed: Installation, world: DnsWorld) -> None:
    world.records.clear()
    _, found = examine(installed, world)
    assert found["dns.delegation"]["outcome"] == "cannot tell"
    assert found["dns.delegation"]["what"].startswith("there is no DNS from here")


def test_what_is_said_of_the_root_key_stands_together_and_warnings_are_counted(
    installed: Installation, world: DnsWorld
) -> None:
    (installed.folder / "hq-data" / "pki" / "root.key").chmod(0o640)
    lines = installed.run("doctor", "--resolver", world.at).stdout.splitlines()
    (first, second) = [number for number, line in enumerate(lines) if "root.key" in line and "chmod" not in line]
    assert second == first + 1
    assert re.search(r"\b\d warnings, ", lines[-1])


def test_a_parent_that_does_not_answer_is_unknown(installed: Installation, world: DnsWorld) -> None:
    world.records["ns.example.com", "A"] = ["127.0.0.254"]
    _, found = examine(installed, world)
    assert found["dns.delegation"]["outcome"] == "cannot tell"
    assert "no name server of example.com answers" in found["dns.delegation"]["what"]


def test_the_challenge_zones_delegation_is_looked_at_too(installed: Installation, world: DnsWorld) -> None:
    world.delegated = ["ns1.acme.example.com"]
    world.glue = {"ns1.acme.example.com": "127.0.0.1"}
    installed.edit('"ns1.boxes.example.com"', '"ns1.acme.example.com"')
    installed.edit("[zone]", f'[zone]\ncheck_servers = ["{world.at}"]')
    model = next(line for line in installed.config.read_text().splitlines() if line.startswith("[model."))
    installed.edit(model, f"{model}\ncomputed_names = false")
    (installed.folder / "secret").write_text(base64.b64encode(b"x" * 32).decode())
    updates = f'[updates]\nservers = ["{world.at}"]\nkey = "k"\nchallenge_zone = "acme.example.com"'
    text = installed.config.read_text()
    installed.config.write_text(f'{text}\n[tsig.k]\nsecret_file = "secret"\n{updates}\n')
    _, found = examine(installed, world)
    of_challenges, of_boxes = found["challenges.dns.delegation"], found["dns.delegation"]
    assert of_challenges["what"] == "example.com delegates acme.example.com to ns1.acme.example.com"
    # Whom it is delegated to is not HQ's to say where others hold it.
    assert of_boxes["what"] == "example.com delegates boxes.example.com to ns1.acme.example.com"
    assert found["challenges.dns.server:ns1.acme.example.com"]["outcome"] == "ok"
