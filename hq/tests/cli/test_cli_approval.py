from __future__ import annotations

import asyncio
import json
import time
from dataclasses import replace
from typing import Any

import pytest

from otscert.domain import setup_code
from otscert.domain.admission import Answer
from otscert.domain.unit import Unit, UnitState
from otscert.pki.files import PkiFolder
from otscert.service.context import names_secret
from otscert.service.waiting import hash_code
from otscert.store.hellos import HelloRow
from otscert.store.requests import AdmissionRequest
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

Installation = Any  # the class lives in conftest.py, which cannot be imported
CODE, LABEL = "K7QM2XOI", "ABCDEFGH2345"


def waiting(code_hash: bytes, **changes: Any) -> AdmissionRequest:
    now_s = int(time.time())
    members: dict[str, Any] = {
        "txid": "txid-1",
        "thumbprint": "identity-1",
        "model": "box",
        "serial": "SN-7\x1b[2J",
        "firmware": "1.0",
        "fingerprint": "board",
        "label": "label-1",
        "address": "198.51.100.7",
        "asked_at_s": now_s - 120,
        "seen_at_s": now_s - 3,
        "approval": Answer.WAITING,
        "decided_by": "",
        "code_hash": code_hash,
        "code_sealed": b"sealed",
        "code_expires_at_s": now_s + 600,
        "last_code_hash": None,
        "webhook": Answer.NOT_ASKED,
        "webhook_policy": "",
        "webhook_reason": "",
        "webhook_tags": (),
        "webhook_attempt": 0,
        "webhook_next_at_s": 0,
    }
    return AdmissionRequest(**(members | changes))


def change(installed: Installation, work: Any) -> Any:
    async def write() -> Any:
        store = SqliteStore.open(installed.database)
        try:
            return await store.write(work)
        finally:
            await store.close()

    return asyncio.run(write())


def asked(installed: Installation) -> AdmissionRequest:
    found = change(installed, lambda transaction: transaction.requests.get("txid-1"))
    assert isinstance(found, AdmissionRequest)
    return found


@pytest.fixture
def hq(installed: Installation) -> Installation:
    """An installation at which one box waits and shows CODE."""
    secret = names_secret(PkiFolder(folder=installed.folder / "hq-data" / "pki").store_key())
    request = waiting(hash_code(secret, CODE))
    change(installed, lambda transaction: transaction.requests.put(request))
    return installed


def test_who_waits_is_listed_without_a_code(hq: Installation) -> None:
    done = hq.call("device", "pending")
    assert done.returncode == 0
    for words in ("box", "SN-7?[2J", "2 min ago", "198.51.100.7", "a person"):
        assert words in done.stdout
    (view,) = json.loads(hq.call("device", "pending", "--json").stdout)["pending"]
    assert (view["model"], view["approval"], view["address"]) == ("box", "waiting", "198.51.100.7")
    assert CODE not in done.stdout + json.dumps(view)


def test_nobody_waits(installed: Installation) -> None:
    change(installed, lambda _: None)
    assert "No box is waiting." in installed.call("device", "pending").stderr


def test_the_box_is_shown_before_it_is_let_in_and_no_answer_is_a_no(hq: Installation) -> None:
    done = hq.run("device", "approve", CODE)  # stdin is empty
    assert done.returncode == 1
    for words in ("model", "SN-7?[2J", "2 min ago", "198.51.100.7", "--from ADDRESS was not given", "Let this box in?"):
        assert words in done.stdout
    assert done.stderr == "Nothing was changed.\n"
    assert asked(hq).approval is Answer.WAITING


@pytest.mark.parametrize("command", ["approve", "refuse"])
def test_a_no_changes_nothing_and_says_so(hq: Installation, command: str) -> None:
    done = hq.run("device", command, CODE, stdin="n\n")
    assert (done.returncode, done.stderr) == (1, "Nothing was changed.\n")
    assert "Aborted" not in done.stdout
    assert asked(hq).approval is Answer.WAITING


def test_a_box_is_approved_with_the_code_as_people_type_it(hq: Installation) -> None:
    done = hq.call("device", "approve", "k7qm-2x01", "--yes", "--from", "198.51.100.7", "--account", "ann")
    assert done.returncode == 0, done.stderr
    assert "Approved: it gets its certificate when it asks again" in done.stdout
    assert "198.51.100.7, the same" in done.stdout
    assert done.stderr == ""
    decided = asked(hq)
    assert (decided.approval, decided.decided_by, decided.code_hash) == (Answer.YES, "ann", None)
    again = hq.call("device", "approve", CODE, "--yes")
    assert (again.returncode, "was approved already, " in again.stderr) == (1, True)
    assert "it was let in and has not asked since" in hq.call("device", "pending").stdout


def test_another_address_than_the_boxs_is_warned_of(hq: Installation) -> None:
    done = hq.call("device", "approve", CODE, "--yes", "--from", "203.0.113.9")
    assert done.returncode == 0
    assert "203.0.113.9, ANOTHER ONE" in done.stdout
    assert "WARNING: this box calls from another network than you" in done.stderr


def test_a_dashboard_gets_the_same_as_json(hq: Installation) -> None:
    done = hq.call("device", "approve", CODE, "--yes", "--json", "--from", "203.0.113.9")
    view = json.loads(done.stdout)
    assert (view["approval"], view["place"], view["serial"]) == ("yes", "other", "SN-7\x1b[2J")
    assert "code" not in {name for name, value in view.items() if value == CODE}


def test_a_box_is_refused(hq: Installation) -> None:
    done = hq.call("device", "refuse", CODE, "--yes")
    assert "Refused: it is told so" in done.stdout
    assert asked(hq).approval is Answer.NO
    assert "No box is waiting." in hq.call("device", "pending").stderr


def test_wrong_codes_end_at_five_tries_of_an_account(hq: Installation) -> None:
    for _ in range(5):
        assert "no waiting box shows this code" in hq.call("device", "approve", "AAAAAAAA", "--yes").stderr
    locked = hq.call("device", "approve", CODE, "--yes")
    assert locked.returncode == 1
    assert "too many wrong codes: 5 in 15 min are allowed; the next try is possible in" in locked.stderr
    assert hq.call("device", "approve", CODE, "--yes", "--account", "bob").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--from", "here"), "is not an IP address"),
        (("--json",), "needs --yes"),
    ],
)
def test_a_wrong_command_line_decides_nothing(hq: Installation, arguments: tuple[str, ...], words: str) -> None:
    done = hq.run("device", "approve", CODE, *arguments)
    assert (done.returncode, words in done.stderr) == (2, True)
    assert asked(hq).approval is Answer.WAITING


def stamp(transaction: Transaction) -> None:
    """The waiting box is a stamped unit whose label says LABEL."""
    unit = Unit(
        thumbprint="unit-1",
        model="box",
        serial="SN-7\x1b[2J",
        short_id="7KQ2M",
        sign_key=bytes(32),
        seal_key=bytes(32),
        setup_hash=setup_code.hash_code(LABEL, model="box", serial="SN-7\x1b[2J"),
        batch="first",
        state=UnitState.STAMPED,
        device_id=None,
        fingerprint=None,
    )
    transaction.units.add_many([unit], now_s=1)
    transaction.hellos.add(
        HelloRow(
            txid="txid-1",
            thumbprint="unit-1",
            model="box",
            serial=unit.serial,
            firmware="1.0",
            fingerprint="board",
            source="jitter",
            canary="",
            boot=1,
            label="label-1",
            contribution="sealed",
            unit="unit-1",
            keeps=None,
            expected_point=b"",
            address="198.51.100.7",
            device_id=None,
            expires_at_s=2**40,
            csr_sha256=None,
            identity=None,
        )
    )


def test_a_serial_number_of_two_models_is_told_apart_by_the_setup_code(hq: Installation) -> None:
    def stamp_both(transaction: Transaction) -> None:
        stamp(transaction)
        unit = transaction.units.by_thumbprint("unit-1")
        assert unit is not None
        setup_hash = setup_code.hash_code("ZZZZZZZZ2222", model="camera", serial=unit.serial)
        other = replace(unit, thumbprint="unit-2", model="camera", short_id="OTHER", setup_hash=setup_hash)
        transaction.units.add_many([replace(other, seal_key=bytes([1]) * 32)], now_s=1)

    change(hq, stamp_both)
    camera = hq.call("device", "approve", "--setup-code", "ZZZZ-ZZZZ-2222", "SN-7\x1b[2J", "--yes")
    assert "the code is right" in camera.stderr
    assert asked(hq).approval is Answer.WAITING
    done = hq.call("device", "approve", "--setup-code", LABEL, "SN-7\x1b[2J", "--yes")
    assert done.returncode == 0, done.stderr
    assert asked(hq).approval is Answer.YES


def test_a_unit_is_approved_by_the_code_on_its_label(hq: Installation) -> None:
    change(hq, stamp)
    wrong = hq.call("device", "approve", "--setup-code", "ABCD-EFGH-2346", "7KQ2M", "--yes")
    assert (wrong.returncode, "not the one on the label" in wrong.stderr) == (1, True)
    assert asked(hq).approval is Answer.WAITING
    done = hq.call("device", "approve", "--setup-code", "abcd-efgh-2345", "7KQ2M", "--yes")
    assert done.returncode == 0, done.stderr
    assert asked(hq).approval is Answer.YES
    assert LABEL not in done.stdout + done.stderr
