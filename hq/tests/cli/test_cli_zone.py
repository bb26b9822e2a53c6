"""`otscert zone`: a running HQ at 127.0.0.1, and at 127.0.0.2 a small world with a resolver and the parent zone."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hq.tests.store.rows import device

from otscert.domain.zone_checks import LABEL, check_id
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction
from tests.harness.parts import require_part

Installation = Any  # the class lives in conftest.py, which cannot be imported
ZONE = "boxes.example.com"
ISSUE = "letsencrypt.org;validationmethods=dns-01"
PERSIST = "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"
AWKWARD = 'a "quoted" value; with \\ and (brackets) $ @'


@dataclass(slots=True)
class Parent:
    """Answers as a resolver where recursion is wanted, else as the name server of example.com."""

    servers: dict[str, str] = field(default_factory=lambda: {f"ns1.{ZONE}": "127.0.0.1"})
    glue: bool = True
    signed: bool = False
    broken_caa: str = ""
    caa: dict[str, str] = field(default_factory=dict)

    def answer(self, query: dns.message.Message) -> dns.message.Message:
        response = dns.message.make_response(query)
        question = query.question[0]
        name, kind = question.name.to_text(omit_final_dot=True).lower(), dns.rdatatype.to_text(question.rdtype)
        known = {("example.com", "NS"): "ns.example.com.", ("ns.example.com", "A"): "127.0.0.2"}
        known |= {(at, "CAA"): text for at, text in self.caa.items()}
        if query.flags & dns.flags.RD:
            if name == self.broken_caa:
                response.set_rcode(dns.rcode.SERVFAIL)
            elif (name, kind) in known:
                response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", kind, known[name, kind]))
        elif kind == "DS" and self.signed:
            response.answer.append(dns.rrset.from_text(f"{name}.", 60, "IN", "DS", "1 13 2 " + "ab" * 32))
        elif kind == "NS":
            targets = [f"{host}." for host in self.servers]
            response.authority.append(dns.rrset.from_text(f"{name}.", 60, "IN", "NS", *targets))
            for host, address in self.servers.items() if self.glue else ():
                response.additional.append(dns.rrset.from_text(f"{host}.", 60, "IN", "A", address))
        return response


@pytest.fixture
def parent(installed: Installation) -> Iterator[Parent]:
    made = Parent()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listener:
        listener.bind(("127.0.0.2", installed.dns_port))

        def answer_all() -> None:
            while (got := listener.recvfrom(4096))[0]:
                listener.sendto(made.answer(dns.message.from_wire(got[0])).to_wire(), got[1])

        thread = threading.Thread(target=answer_all)
        thread.start()
        yield made
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as ender:
            ender.sendto(b"", ("127.0.0.2", installed.dns_port))
        thread.join()


def checked(installed: Installation) -> tuple[int, dict[str, dict[str, str]]]:
    done = installed.run("zone", "check", "--json", "--resolver", f"127.0.0.2:{installed.dns_port}")
    document = json.loads(done.stdout)
    assert document["ok"] is (done.returncode == 0)
    return done.returncode, {found["check"]: found for found in document["findings"]}


def changing(text: str) -> str:
    """The text without what is another number each time."""
    return re.sub(r"(serial|after) [0-9.]+", r"\1 0", text)


def rows(installed: Installation, work: Any) -> Any:
    async def run() -> Any:
        store = SqliteStore.open(installed.database)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(run())


def values(transaction: Transaction) -> list[tuple[str, str]]:
    return transaction.challenges.all()


def test_a_sound_zone_is_found_sound_and_what_is_wrong_with_the_parent_is_named(
    installed: Installation, parent: Parent
) -> None:
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        rows(
            installed,
            lambda t: (t.challenges.put(check_id(now_s=1, randomness="killed"), LABEL, ["left behind"]), None)[1],
        )
        issuer = installed.config.read_text().partition("[issuer.")[2].partition("]")[0]
        rows(installed, lambda t: t.caa.put(issuer, [ISSUE]))
        parent.caa[ZONE] = f'0 issue "{ISSUE}"'
        done = installed.run("zone", "check", "--resolver", f"127.0.0.2:{installed.dns_port}")
        page = (Path(__file__).parents[3] / "docs" / "dns.md").read_text()
        sample = [line[4:] for line in page.splitlines() if line.startswith("    ok  ")]
        printed = done.stdout.replace(f"127.0.0.1:{installed.dns_port}", "192.0.2.1:53")
        assert (done.returncode, changing(printed)) == (0, changing("\n".join([*sample, "", "4 ok", ""])))
        # Neither this check's value nor the one of a check that was killed long ago is there any more.
        assert rows(installed, values) == []

        parent.caa.clear()
        parent.signed, parent.glue, parent.broken_caa = True, False, "com"
        status, found = checked(installed)
        failed = {check for check, finding in found.items() if finding["outcome"] == "failed"}
        assert (status, failed) == (1, {"dns.ds", "dns.glue", "zone.caa.error"})
        assert "every CA may issue" in found["zone.caa"]["what"]
        assert found[f"zone.server:ns1.{ZONE} at 127.0.0.1:{installed.dns_port}"]["outcome"] == "ok"
        assert "example.com has a DS record for boxes.example.com, which is not signed" in found["dns.ds"]["what"]


@pytest.mark.usefixtures("parent")
def test_without_hq_the_rest_is_examined_and_the_fresh_challenge_is_unknown(installed: Installation) -> None:
    status, found = checked(installed)
    assert status == 1
    assert found["zone.fresh"]["outcome"] == "cannot tell"
    assert found["dns.delegation"]["outcome"] == "ok"
    assert [check for check in found if check.startswith("zone.udp:")]


def test_a_check_that_is_ended_takes_its_challenge_out(installed: Installation, parent: Parent) -> None:
    parent.servers["ns2.example.net"] = "127.0.0.9"  # nobody is there, so the check goes on waiting
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        with installed.started("zone", "check", "--resolver", f"127.0.0.2:{installed.dns_port}") as check:
            deadline_s = time.monotonic() + 20
            while not rows(installed, values):
                assert time.monotonic() < deadline_s
                time.sleep(0.05)
            check.terminate()
            _, told = check.communicate(timeout=20)
            assert (check.returncode, "Traceback" in told) == (143, False)
        assert rows(installed, values) == []


def test_settings_of_the_name_server_that_are_seldom_meant_are_warned_of(installed: Installation) -> None:
    installed.edit(f'"127.0.0.1:{installed.dns_port}"', f'"0.0.0.0:{installed.dns_port}"')
    text = installed.config.read_text()
    installed.config.write_text(f"{text}\n[dns]\nrate_limit_per_s = 0\nlog_one_in = 1\nshare_port = true\n")
    found = {each["check"] for each in json.loads(installed.call("config", "check", "--json").stdout)["findings"]}
    assert {"dns.rate_limit_per_s", "dns.log_one_in", "dns.share_port"} <= found


@pytest.mark.parametrize("judge", ["named-checkzone", "nsd-checkzone"])
def test_an_exported_zone_is_accepted_by_other_servers(installed: Installation, judge: str) -> None:
    command = require_part(judge)
    issuers = (line for line in installed.config.read_text().splitlines() if line.startswith("[issuer."))
    issuer = next(issuers).removeprefix("[issuer.").rstrip("]")

    def fill(transaction: Transaction) -> None:
        for number in range(3):
            transaction.devices.add(device(number, model="box", label=f"label-{number}"))
        transaction.challenges.put("o1", "label-1", [AWKWARD, "x" * 300])
        transaction.challenges.put("o2", "away", ["of a box that is not in DNS"])
        transaction.zone_places.put("serial", 4_000_000_001)
        transaction.persist.put(issuer, [PERSIST])
        transaction.persist.put("gone", ["of an issuer that is not configured any more"])

    installed.database.parent.mkdir(exist_ok=True)
    rows(installed, fill)
    model = next(line for line in installed.config.read_text().splitlines() if line.startswith("[model."))
    installed.edit(model, "[model.box]")
    file = installed.folder / "zone"
    done = installed.call("zone", "export", "--output", str(file))
    assert done.returncode == 0, done.stderr
    assert "3 boxes written" in done.stderr
    text = file.read_text()
    assert "label-2 60 IN A 192.168.1.20" in text
    assert "_acme-challenge.away 10 IN TXT" in text
    assert text.count(f'IN TXT "{PERSIST}"') == 3
    assert f'_validation-persist.label-2 300 IN TXT "{PERSIST}"' in text
    assert "not configured any more" not in text
    assert " 4000000001 3600 600 " in text
    # But for the moment in its first line, stdout gets the same.
    assert installed.call("zone", "export").stdout.splitlines()[1:] == text.splitlines()[1:]
    ended = subprocess.run(
        [str(command.path), ZONE, str(file)],
        env={**command.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_an_export_that_cannot_be_written_leaves_what_was_there(installed: Installation) -> None:
    installed.database.parent.mkdir(exist_ok=True)
    rows(installed, values)
    done = installed.call("zone", "export", "--output", str(installed.folder / "nowhere" / "zone"))
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert "is not a file" in installed.call("zone", "export", "--output", str(installed.folder)).stderr
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "otscert", "zone", "export"],
            cwd=installed.folder,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.returncode == 1
    assert (
        ended.stderr
        == "otscert: stdout cannot be written (No space left on device): what is there is not the whole zone\n"
    )
