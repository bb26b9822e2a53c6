"""`otscert reissue` and `otscert cert`: what is selected, said, marked and revoked, and what is refused."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

import pytest
from hq.tests.store.rows import certificate, device, fill, order

from otscert.domain.key_index import KeyIndex
from otscert.domain.order import OrderState
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

Installation = Any  # the class lives in conftest.py, which cannot be imported
T = TypeVar("T")
DAY_S = 86_400
NOW_S = int(time.time())
LE = "letsencrypt-staging"


def write(installed: Installation, work: Callable[[Transaction], T]) -> T:
    async def change() -> T:
        store = SqliteStore.open(installed.database)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(change())


def fleet(installed: Installation, count: int) -> None:
    """Boxes d1..dn, each with a certificate that it serves; the last has not called for a week."""

    def add(transaction: Transaction) -> None:
        for number in range(1, count + 1):
            sha256, key = f"{number:064x}", b"%032d" % number
            fill(
                transaction,
                device(
                    number,
                    served_sha256=sha256,
                    last_seen_s=NOW_S - (7 * DAY_S if number == count else 600),
                ),
                order(number, device_id=f"d{number}", state=OrderState.ISSUED, created_at_s=NOW_S - 20 * DAY_S),
                certificate(
                    number,
                    device_id=f"d{number}",
                    issuer=LE,
                    serial=f"3ab{number:x}",
                    spki_sha256=key,
                    not_before_s=NOW_S - 20 * DAY_S,
                    issued_at_s=NOW_S - 20 * DAY_S,
                    not_after_s=NOW_S + 70 * DAY_S + number,
                ),
            )
            index = KeyIndex(spki_sha256=key, x_coordinate=key)
            transaction.verified_keys.add(
                index, device_id=f"d{number}", kind="certificate", contribution="", source="", now_s=1
            )

    write(installed, add)


@pytest.fixture
def installed(installed: Installation) -> Installation:
    fleet(installed, 5)
    return installed


def as_json(installed: Installation, *arguments: str) -> Any:
    asks = arguments[:2] == ("reissue", "--where") and "--dry-run" not in arguments
    done = installed.call(*arguments, "--json", *(["--yes"] if asks else []))
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def refused(installed: Installation, *arguments: str) -> str:
    done = installed.call(*arguments)
    assert done.returncode in {1, 2}, done.stdout
    assert not done.stdout
    return str(done.stderr)


def recalled(installed: Installation) -> list[str]:
    return write(
        installed,
        lambda transaction: [
            row[0]
            for row in transaction._connection.execute(
                "SELECT device_id FROM certificate WHERE recall IS NOT NULL ORDER BY device_id"
            )
        ],
    )


def revocations(installed: Installation) -> list[tuple[str, int]]:
    return write(
        installed,
        lambda transaction: [
            (each.certificate_sha256, each.reason) for each in transaction.revocations.due(now_s=NOW_S + DAY_S, limit=9)
        ],
    )


def test_a_dry_run_changes_nothing_and_says_how_many_whose_and_how_long(installed: Installation) -> None:
    told = as_json(installed, "reissue", "--where", f"issuer={LE}", "--dry-run")
    assert (told["count"], told["idle"]) == (5, 0)
    assert told["shares"] == [{"issuer": LE, "model": "box", "count": 5}]
    assert told["forecast"]["seconds"] == 21_600
    assert "6 hours" in told["forecast"]["reason"]
    assert [each["serial"] for each in told["sample"]] == ["3ab1", "3ab2", "3ab3", "3ab4", "3ab5"]
    assert recalled(installed) == []
    assert as_json(installed, "reissue", "status") == {"incidents": []}
    text = installed.call("reissue", "--where", f"issuer={LE}", "--dry-run").stdout
    assert "5 certificates that boxes use would be replaced (issuer letsencrypt-staging)" in text
    assert "about 6 hours" in text


def test_a_run_marks_what_fits_says_how_far_it_is_and_may_be_ended(installed: Installation) -> None:
    begun = as_json(
        installed, "reissue", "--where", f"issuer={LE}", "--where", "model=box", "--reason", "the CA says so"
    )
    assert (begun["again"], begun["marked"], begun["left"], begun["looked_through_at"] is not None) == (
        False,
        5,
        5,
        True,
    )
    assert begun["doing"]["waiting for the box"] == 4
    assert begun["doing"]["offline"] == 1
    assert recalled(installed) == ["d1", "d2", "d3", "d4", "d5"]
    again = as_json(installed, "reissue", "--where", "model=box", "--where", f"issuer={LE}")
    assert (again["id"], again["again"], again["marked"]) == (begun["id"], True, 5)
    shown = as_json(installed, "device", "show", "d1")["certificate"]["renewal"]
    assert (shown["lane"], shown["reason"]) == ("incident", "HQ's operator wants it replaced now: the CA says so")
    (listed,) = as_json(installed, "reissue", "status")["incidents"]
    assert (listed["id"], listed["left"], listed["ended_at"]) == (begun["id"], 5, None)
    text = installed.call("reissue", "status", begun["id"]).stdout
    assert "running, 5 left" in text
    assert "about 6 hours" in text
    ended = as_json(installed, "reissue", "end", begun["id"])
    assert (ended["changed"], ended["left"]) == (True, 5)
    assert "were not replaced" in ended["next"]
    assert as_json(installed, "reissue", "end", begun["id"])["changed"] is False
    assert as_json(installed, "device", "show", "d1")["certificate"]["renewal"]["lane"] == "not due"


def test_a_list_of_serial_numbers_and_the_key_of_a_box_select(installed: Installation) -> None:
    listed = installed.folder / "affected.txt"
    listed.write_text("# the CA's list\n03:A:B1\n0x3ab2 2026-11-01\nff00\n")
    told = as_json(installed, "reissue", "--where", f"serial-list={listed}")
    assert (told["where"], told["marked"]) == ("a list of 3 serial numbers", 2)
    assert as_json(installed, "reissue", "--where", "key=label3")["marked"] == 1
    assert as_json(installed, "reissue", "--where", f"key={(b'%032d' % 4).hex()}")["marked"] == 1
    assert recalled(installed) == ["d1", "d2", "d3", "d4"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reissue"], "--where"),
        (["reissue", "--where", "ca=le"], "KIND=VALUE"),
        (["reissue", "--where", "model=toaster"], "otscert model list"),
        (["reissue", "--where", "serial-list=nowhere.txt"], "No such file"),
        (["reissue", "--where", "key=nobody"], "no box has"),
        (["reissue", "--where", "key=" + "ab" * 32], "SubjectPublicKeyInfo"),
        (["reissue", "--where", f"issuer={LE}", "--revoke", "hold"], "keyCompromise"),
        (["reissue", "--where", f"issuer={LE}", "--revoke", "keyCompromise"], "never accepted again"),
        (["reissue", "--where", f"issuer={LE}"], "Nobody is there to ask: give --yes"),
        (["reissue", "--where", f"issuer={LE}"], "5 certificates that boxes use are replaced before their time"),
        (["reissue", "--where", f"issuer={LE}", "--revoke", "superseded"], "about 6 hours"),
        (["reissue", "--where", f"issuer={LE}", "--json"], "give --yes"),
        (["reissue", "--where", f"issuer={LE}", "--reason", "x" * 201], "200 characters"),
        (["reissue", "--json", "status"], "behind its name"),
        (["reissue", "status", "nothing"], "no incident"),
        (["reissue", "end", "nothing"], "no incident"),
        (["cert", "show", "ab" * 32], "no certificate"),
        (["cert", "show", "nobody"], "no box has"),
        (["cert", "revoke", "label1", "--reason", "3"], "superseded"),
        (["cert", "revoke", "label1", "--reason", "superseded"], "Nobody is there to ask: give --yes"),
        (["cert", "list", "--after", "00"], "without --after"),
    ],
)
def test_what_cannot_be_done_changes_nothing_and_says_what_to_do(
    installed: Installation, arguments: list[str], words: str
) -> None:
    assert words in " ".join(refused(installed, *arguments).split())
    assert recalled(installed) == []
    assert revocations(installed) == []


def test_certificates_are_listed_by_their_end_and_shown_with_what_becomes_of_them(installed: Installation) -> None:
    first = as_json(installed, "cert", "list", "--limit", "3")
    assert [each["device"] for each in first["certificates"]] == ["d1", "d2", "d3"]
    rest = as_json(installed, "cert", "list", "--limit", "3", "--after", first["after"])
    assert ([each["device"] for each in rest["certificates"]], rest["after"]) == (["d4", "d5"], None)
    assert len(as_json(installed, "cert", "list", "--device", "label2")["certificates"]) == 1
    listed = installed.call("cert", "list", "--device", "label2").stdout
    assert f"{2:064x}" not in listed
    assert f"{2:064x}"[:12] in listed
    assert "several SHA-256 begin with 000000000000: give more" in refused(installed, "cert", "show", "0" * 12)
    for known in (f"{2:064x}", "03AB2", "3ab2", "label2", "S2"):
        assert as_json(installed, "cert", "show", known)["sha256"] == f"{2:064x}"
    assert "in use" in installed.call("cert", "show", "3ab2").stdout
    as_json(installed, "reissue", "--where", "key=label2")
    assert "recalled" in installed.call("cert", "list").stdout


@pytest.mark.parametrize(
    ("reason", "code", "told"),
    [
        ("superseded", 4, ["d1"]),
        ("unspecified", 0, ["d1"]),
        ("cessationOfOperation", 5, []),
        ("keyCompromise", 1, ["d1"]),
    ],
)
def test_revoking_asks_the_ca_and_tells_the_box_that_uses_it(
    installed: Installation, reason: str, code: int, told: list[str]
) -> None:
    done = as_json(installed, "cert", "revoke", "3ab1", "--reason", reason, "--yes")
    assert done["revoked"] == [f"{1:064x}"]
    assert revocations(installed) == [(f"{1:064x}", code)]
    assert recalled(installed) == told
    assert len(done["incidents"]) == len(told)
    assert ("otscert reissue status" in done["next"]) is bool(told)
    assert as_json(installed, "cert", "show", "3ab1")["revocation"]["done_at"] is None
    # Once more: the incident goes on, and nothing is asked twice.
    again = as_json(installed, "cert", "revoke", "3ab1", "--reason", reason, "--yes")
    assert again["incidents"] == done["incidents"]
    assert len(revocations(installed)) == 1


def test_a_compromised_key_takes_all_its_certificates_with_it(installed: Installation) -> None:
    def add(transaction: Transaction) -> None:
        values = {"device_id": "d1", "issuer": LE, "spki_sha256": b"%032d" % 1, "serial": "77"}
        fill(
            transaction,
            order(60, state=OrderState.ISSUED),
            certificate(60, not_after_s=NOW_S + DAY_S, issued_at_s=NOW_S - 60 * DAY_S, **values),
        )

    write(installed, add)
    done = as_json(installed, "cert", "revoke", "77", "--reason", "keyCompromise", "--yes")
    assert set(done["revoked"]) == {f"{1:064x}", f"{60:064x}"}
    assert recalled(installed) == ["d1"]
    assert "with a new key" in done["next"]
    ((compromised,),) = write(
        installed,
        lambda transaction: transaction._connection.execute(
            "SELECT device_id FROM verified_key WHERE compromised_s IS NOT NULL"
        ).fetchall(),
    )
    assert compromised == "d1"


def test_what_has_ended_cannot_be_revoked(installed: Installation) -> None:
    write(
        installed,
        lambda transaction: transaction._connection.execute("UPDATE certificate SET not_after_s = 9"),
    )
    assert "ended by itself" in refused(installed, "cert", "revoke", "label1", "--reason", "superseded", "--yes")
    assert as_json(installed, "cert", "list")["certificates"] == []


def test_a_run_killed_in_the_middle_goes_on_when_it_is_given_again(installed: Installation) -> None:
    """Kill -9 of the command itself, somewhere in a fleet of a few thousand."""

    def add(transaction: Transaction) -> None:
        for number in range(100, 4100):
            fill(
                transaction,
                device(number, served_sha256=f"{number:064x}"),
                order(number, device_id=f"d{number}", state=OrderState.ISSUED),
                certificate(number, device_id=f"d{number}", issuer=LE, serial=f"{number:x}", not_after_s=NOW_S + DAY_S),
            )

    write(installed, add)
    arguments = [sys.executable, "-m", "otscert", "reissue", "--where", f"issuer={LE}", "--json", "--yes"]
    process = subprocess.Popen(arguments, cwd=installed.folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not (marked := recalled(installed)) and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    finally:
        process.wait()
    marked = recalled(installed)
    assert 0 < len(marked) < 4005
    (begun,) = as_json(installed, "reissue", "status")["incidents"]
    assert (begun["marked"], begun["looked_through_at"]) == (len(marked), None)
    assert "interrupted" in installed.call("reissue", "status").stdout
    done = as_json(installed, "reissue", "--where", f"issuer={LE}")
    assert (done["id"], done["again"], done["marked"]) == (begun["id"], True, 4005)
    assert len(recalled(installed)) == 4005


@pytest.mark.parametrize(("answer", "status", "count"), [("y", 0, 5), ("n", 1, 0)])
def test_a_person_is_asked_before_a_fleet_is_reissued(
    installed: Installation, answer: str, status: int, count: int
) -> None:
    controller, terminal = os.openpty()
    os.write(controller, f"{answer}\n".encode())
    arguments = [sys.executable, "-m", "otscert", "reissue", "--where", f"issuer={LE}"]
    done = subprocess.run(arguments, cwd=installed.folder, stdin=terminal, capture_output=True, text=True, check=False)
    for each in (controller, terminal):
        os.close(each)
    assert done.returncode == status
    assert "5 certificates that boxes use are replaced" in done.stderr
    assert ("nothing was changed" in done.stderr) is (answer == "n")
    assert len(recalled(installed)) == count
