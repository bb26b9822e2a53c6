from __future__ import annotations

import asyncio
import json
import re
import time
from dataclasses import replace
from typing import Any

import pytest

from otscert.cli.show import event_rows
from otscert.domain.device import Device, DeviceState, Retired
from otscert.domain.order import Order, OrderState
from otscert.domain.ratchet import Ratchet
from otscert.store.certificates import Certificate
from otscert.store.sqlite import SqliteStore
from otscert.store.transaction import Transaction

Installation = Any  # the class lives in conftest.py, which cannot be imported
DAY_S = 86_400
NOW_S = int(time.time())


def device(number: int, **changes: Any) -> Device:
    made = Device(
        id=f"id-{number}",
        thumbprint=f"thumbprint-{number}",
        model="box",
        serial=f"SN-{number}",
        firmware="1.2",
        label=f"label-{number}",
        state=DeviceState.ACTIVE,
        policy="token",
        contribution="open",
        source="hwrng",
        admitted_at_s=NOW_S - 30 * DAY_S,
        last_seen_s=NOW_S - 600,
        addresses=("192.168.1.20",),
        served_sha256=None,
        unserved=0,
        cmd_seq=0,
        ratchet=Ratchet(
            token_hash=bytes([number]) * 32, previous_hash=b"", last_txid="", fingerprint="", last_resync_s=None
        ),
    )
    return replace(made, **changes)


def order(number: int, *, of: Device, state: OrderState, reason: str) -> Order:
    return Order(
        id=f"order-{number}",
        device_id=of.id,
        txid=f"txid-{number}",
        label=of.label,
        names=(f"{of.label}.boxes.example.com", f"*.{of.label}.boxes.example.com"),
        csr_der=b"csr",
        state=state,
        issuer="ca",
        profile=None,
        attempt=3,
        url=None,
        reason=reason,
        created_at_s=NOW_S - 30 * DAY_S + number,
        next_at_s=NOW_S + 1830,
        certificate_sha256=None,
    )


def certificate(of: Order, *, days_left: int) -> Certificate:
    return Certificate(
        sha256="ab" * 32,
        device_id=of.device_id,
        order_id=of.id,
        issuer="ca",
        serial="0102",
        spki_sha256=b"spki",
        not_before_s=NOW_S - (90 - days_left) * DAY_S,
        not_after_s=NOW_S + days_left * DAY_S + DAY_S // 2,  # however long after the import this runs
        chain_pem="",
        issued_at_s=NOW_S - 30 * DAY_S,
        served_at_s=None,
    )


def fill(installed: Installation, *rows: Device | Order | Certificate) -> None:
    """Put rows into the installation's database."""

    def add(transaction: Transaction) -> None:
        for row in rows:
            if isinstance(row, Device):
                transaction.devices.add(row)
                transaction.events.append("device.admitted", now_s=NOW_S, device_id=row.id, data={"policy": row.policy})
            elif isinstance(row, Order):
                transaction.orders.add(row)
                transaction.events.append(
                    "order.waits", now_s=NOW_S, device_id=row.device_id, order_id=row.id, data={"wait_s": 1830}
                )
            else:
                transaction.certificates.add(row)

    async def write() -> None:
        store = SqliteStore.open(installed.database)
        await store.write(add)
        await store.close()

    asyncio.run(write())


def settle(installed: Installation, sha256: str, *, problem: str) -> None:
    """The CA has revoked the certificate, or never will."""

    async def write() -> None:
        store = SqliteStore.open(installed.database)
        await store.write(lambda transaction: transaction.revocations.done(sha256, now_s=NOW_S, problem=problem))
        await store.close()

    asyncio.run(write())


def stored(installed: Installation, device_id: str) -> tuple[Device, list[str]]:
    async def read() -> tuple[Device | None, list[str]]:
        store = SqliteStore.open(installed.database)
        try:
            return await store.read(
                lambda transaction: (
                    transaction.devices.get(device_id),
                    [event.kind for event in transaction.events.of_device(device_id, limit=10)],
                )
            )
        finally:
            await store.close()

    found, events = asyncio.run(read())
    assert found is not None
    return found, events


def as_json(installed: Installation, *arguments: str) -> Any:
    done = installed.call(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_before_the_first_start_there_is_no_database_and_none_is_made(installed: Installation) -> None:
    for arguments in (["device", "list"], ["device", "show", "a"], ["device", "rearm", "a"], ["order", "list"]):
        done = installed.call(*arguments)
        assert done.returncode == 1
        assert done.stderr == "otscert: there is no database at hq-data/hq.db yet: otscert serve makes it\n"
    assert not installed.database.exists()


def test_no_box_yet_is_no_error(installed: Installation) -> None:
    fill(installed)
    done = installed.call("device", "list")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "No box yet.\n")
    assert as_json(installed, "device", "list") == {"devices": [], "after": None}


def test_pages_of_a_list_hold_every_box_once(installed: Installation) -> None:
    fill(installed, *(device(number) for number in range(5)))
    seen, after = [], ""
    for _ in range(3):
        page = as_json(installed, "device", "list", "--limit", "2", "--after", after)
        seen += [each["id"] for each in page["devices"]]
        after = page["after"] or "end"
    assert (seen, after) == ([f"id-{number}" for number in range(5)], "end")
    assert "There are more: --after id-1\n" in installed.call("device", "list", "--limit", "2").stderr


def test_the_list_shows_a_line_a_box_in_whole_columns(installed: Installation) -> None:
    fill(
        installed,
        device(1),
        device(2, unserved=2, addresses=("192.168.1.2", "fd00:1234:5678:9abc:def0:1234:5678:9abc")),
    )
    lines = installed.call("device", "list").stdout.splitlines()
    assert lines[0].split() == ["LABEL", "MODEL", "STATE", "SEEN", "ADDRESSES"]
    assert lines[1].split("  ")[0] == "label-1"
    assert "active, no orders" in lines[2]
    assert lines[2].endswith("192.168.1.2 fd00:1234:5678:9abc:def0:1234:5678:9abc")


@pytest.mark.parametrize("word", ["id-1", "label-1", "SN-1", "label-1.boxes.example.com", "LABEL-1.boxes.example.com."])
def test_a_box_is_found_by_id_label_serial_and_full_name(installed: Installation, word: str) -> None:
    fill(installed, device(1), device(2))
    assert as_json(installed, "device", "show", word)["id"] == "id-1"


def test_an_id_may_begin_with_a_hyphen(installed: Installation) -> None:
    fill(installed, device(1, id="-Xy_1"))
    assert as_json(installed, "device", "show", "-Xy_1")["label"] == "label-1"


def test_an_unknown_box_is_named(installed: Installation) -> None:
    fill(installed)
    done = installed.call("device", "show", "nobody\x1b[2J")
    assert done.returncode == 1
    assert "no box has the id, label, name or serial number 'nobody?[2J'" in done.stderr


@pytest.mark.parametrize(
    ("typed", "meant"), [("SN-0044", "SN-0042"), ("sn-0042", "SN-0042"), ("nifty-babage-7k2q", "nifty-babbage-7k2q")]
)
def test_a_box_that_is_typed_wrong_is_suggested(installed: Installation, typed: str, meant: str) -> None:
    fill(installed, device(1, serial="SN-0042", label="nifty-babbage-7k2q"), device(2))
    done = installed.call("device", "show", typed)
    assert done.returncode == 1
    assert f"serial number {typed!r}: did you mean {meant}? otscert device list" in done.stderr


def test_a_blocked_serial_number_is_shown_with_its_box(installed: Installation) -> None:
    fill(installed, device(1), device(2))
    assert as_json(installed, "device", "show", "id-1")["serial_blocked"] is None
    assert installed.call("device", "block-serial", "box", "SN-1", "--reason", "stolen").returncode == 0
    assert "SN-1, BLOCKED: stolen" in installed.call("device", "show", "id-1").stdout
    lines = installed.call("device", "list").stdout.splitlines()
    assert ["serial BLOCKED" in line for line in lines] == [False, True, False]
    assert [each["serial_blocked"] for each in as_json(installed, "device", "list")["devices"]] == ["stolen", None]


def test_the_list_says_why_a_name_ended(installed: Installation) -> None:
    ends = list(Retired)
    fill(
        installed, *(device(number, state=DeviceState.RETIRED, retired=why) for number, why in enumerate(ends, start=1))
    )
    lines = installed.call("device", "list").stdout.splitlines()[1:]
    words = ("ended: reset", "ended: transferred", "ended: replaced", "ended: retired")
    assert [word in line for word, line in zip(words, lines, strict=True)] == [True] * 4


@pytest.mark.parametrize("revoked", ["", "the CA does not know it", None])
def test_a_name_taken_back_shows_what_became_of_its_certificate(installed: Installation, revoked: str | None) -> None:
    box = device(1)
    done = order(1, of=box, state=OrderState.ISSUED, reason="issued")
    last = certificate(done, days_left=40)
    fill(installed, box, done, last)
    assert installed.call("device", "reset", "id-1").returncode == 0
    shown = installed.call("device", "show", "id-1").stdout
    assert "certificate  none; its last one, from ca: to be revoked: HQ asks the CA" in shown
    assert last.sha256 in shown
    if revoked is not None:
        settle(installed, last.sha256, problem=revoked)
        state = as_json(installed, "device", "show", "id-1")["ended_certificate"]["state"]
        assert state.startswith(f"not revoked: {revoked}" if revoked else "revoked at 20")


def test_show_tells_who_admitted_it_what_it_serves_and_when_it_renews(installed: Installation) -> None:
    box = device(1)
    done = order(1, of=box, state=OrderState.ISSUED, reason="issued")
    newest = certificate(done, days_left=40)
    fill(installed, replace(box, served_sha256=newest.sha256), done, newest)
    view = as_json(installed, "device", "show", "label-1")
    assert view["names"] == ["label-1.boxes.example.com", "*.label-1.boxes.example.com"]
    assert (view["policy"], view["contribution"], view["source"]) == ("token", "open", "hwrng")
    assert view["serves_newest"] is True
    assert view["certificate"]["days_left"] == 40
    assert view["certificate"]["renewal"]["due"] is False
    assert [each["id"] for each in view["orders"]] == ["order-1"]
    assert [each["kind"] for each in view["events"]] == ["order.waits", "device.admitted"]
    text = installed.call("device", "show", "label-1").stdout
    assert "certificate  40 days left, until " in text
    assert "serves it    yes, the newest certificate" in text
    assert re.search(r"renewal      renews from \d{4}-\d\d-\d\d \(enough of its life is left\)\n", text)
    assert "issued  issued" not in text


@pytest.mark.parametrize(
    ("told_after_end", "lane", "words"),
    [(False, "not due", "suggests a later"), (True, "incident", "lies in the past")],
)
def test_show_tells_what_the_ca_suggests_and_what_an_order_replaces(
    installed: Installation, lane: str, words: str, *, told_after_end: bool
) -> None:
    box = device(1)
    done = replace(order(1, of=box, state=OrderState.ISSUED, reason="issued"), replaces="aki.serial")
    end_s = NOW_S - 1800 if told_after_end else NOW_S + 20 * DAY_S
    window: dict[str, Any] = {
        "ari_start_s": end_s - 1000,
        "ari_end_s": end_s,
        "ari_told_s": NOW_S - 60,
        "renew_at_s": end_s - 500,
    }
    newest = replace(certificate(done, days_left=70), ari_explanation="https://ca.example/why", **window)
    fill(installed, box, done, newest)
    renewal = as_json(installed, "device", "show", "label-1")["certificate"]["renewal"]
    assert renewal["lane"] == lane
    assert words in renewal["reason"]
    assert renewal["window"]["explanation"] == "https://ca.example/why"
    assert renewal["window"]["start"] < renewal["window"]["chosen"] < renewal["window"]["end"]
    text = installed.call("device", "show", "label-1").stdout
    assert f"CA's window  {renewal['window']['start']} to {renewal['window']['end']}, of which " in text
    assert "CA explains  https://ca.example/why\n" in text
    assert (
        "replaces      the certificate with the ARI id aki.serial\n"
        in installed.call("order", "show", "order-1").stdout
    )


def test_right_after_issuance_nothing_is_said_of_certificates_never_seen(installed: Installation) -> None:
    box = device(1, unserved=1)
    done = order(1, of=box, state=OrderState.ISSUED, reason="issued")
    fill(installed, box, done, certificate(done, days_left=90))
    assert "serves it    not yet reported\n" in installed.call("device", "show", "label-1").stdout
    assert "state         issued\n" in installed.call("order", "show", "order-1").stdout
    assert installed.call("order", "list").stdout.splitlines()[1].split() == ["order-1", "label-1", "issued"]
    assert installed.call("order", "list", "--waiting").stderr == "No order is waiting.\n"


def test_details_of_events_are_dates_and_spans_and_nothing_empty() -> None:
    event = {
        "at": "2026-11-23T12:00:00Z",
        "kind": "order.issued",
        "data": {
            "not_after_s": 1_799_332_097,
            "wait_s": 1830,
            "refused": {},
            "reason": "",
            "unserved": 0,
            "policy": "token",
        },
    }
    ((_, _, details),) = event_rows([event])
    assert details == "not_after=2027-01-07T14:28:17Z wait_s=1830 unserved=0 policy=token"


def test_show_tells_a_box_that_serves_another_certificate_and_why_it_is_due(installed: Installation) -> None:
    box = device(1, served_sha256="cd" * 32)
    done = order(1, of=box, state=OrderState.ISSUED, reason="issued")
    fill(installed, box, done, certificate(done, days_left=20))
    assert as_json(installed, "device", "show", "label-1")["serves_newest"] is False
    text = installed.call("device", "show", "label-1").stdout
    assert "serves it    another one than the newest: SHA-256 cdcd" in text
    assert "less than a third of its life is left" in text


def test_what_a_box_calls_itself_cannot_move_the_cursor(installed: Installation) -> None:
    fill(installed, device(1, serial="SN\x1b[2J[red]1", firmware="\r\n1"))
    for arguments in (["device", "show", "id-1"], ["device", "list"]):
        shown = installed.call(*arguments).stdout
        assert "\x1b" not in shown
        assert "\r" not in shown
    assert "SN?[2J[red]1" in installed.call("device", "show", "id-1").stdout


@pytest.mark.parametrize("changes", [{"unserved": 2}, {"state": DeviceState.FROZEN}])
def test_rearm_lets_a_box_order_again_and_leaves_an_event(installed: Installation, changes: dict[str, Any]) -> None:
    fill(installed, device(1, **changes))
    assert as_json(installed, "device", "show", "id-1")["may_order"] is False
    done = installed.call("device", "rearm", "label-1")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "label-1 may order again.")
    rearmed, events = stored(installed, "id-1")
    assert (rearmed.state, rearmed.unserved) == (DeviceState.ACTIVE, 0)
    assert events[0] == "device.rearmed"
    assert as_json(installed, "device", "show", "id-1")["may_order"] is True


def test_rearm_of_a_box_in_good_standing_says_so(installed: Installation) -> None:
    fill(installed, device(1))
    assert installed.call("device", "rearm", "id-1").stdout == "label-1 was in good standing already.\n"


def test_orders_are_listed_by_state_and_by_whether_they_have_ended(installed: Installation) -> None:
    box = device(1)
    fill(
        installed,
        box,
        order(1, of=box, state=OrderState.ISSUED, reason="issued"),
        order(2, of=box, state=OrderState.PUBLISHED, reason="the CA did not see the TXT"),
        order(3, of=box, state=OrderState.FAILED, reason="rejected"),
    )

    def ids(*options: str) -> list[str]:
        return [each["id"] for each in as_json(installed, "order", "list", *options)["orders"]]

    assert ids() == ["order-1", "order-2", "order-3"]
    assert ids("--waiting") == ["order-2"]
    assert ids("--state", "failed") == ["order-3"]
    assert ids("--limit", "1", "--after", "order-1") == ["order-2"]
    assert installed.call("order", "list", "--state", "waiting").stderr == "No such order.\n"
    lost = installed.run("order", "list", "--state", "lost")
    assert lost.returncode == 2
    assert "'lost' is no state of an order: waiting, creating, created, published, finalizing, issued, failed" in (
        lost.stderr
    )
    assert "Value error" not in lost.stderr


def test_an_order_is_shown_with_its_reason_next_attempt_and_events(installed: Installation) -> None:
    box = device(1)
    other = order(1, of=box, state=OrderState.ISSUED, reason="issued")
    fill(installed, box, other, order(2, of=box, state=OrderState.PUBLISHED, reason="the CA did not see the TXT"))
    view = as_json(installed, "order", "show", "order-2")
    assert (view["state"], view["reason"], view["attempt"]) == ("published", "the CA did not see the TXT", 3)
    assert view["next_at"] == time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW_S + 1830))
    assert [each["order"] for each in view["events"]] == ["order-2"]
    assert as_json(installed, "order", "show", "order-1")["next_at"] is None
    text = installed.call("order", "show", "order-2").stdout
    assert "state         published: the CA did not see the TXT" in text
    assert "order.waits" in text
    listed = installed.call("order", "list", "--waiting").stdout.splitlines()
    assert listed[1].split("  ")[:3] == ["order-2", "label-1", "published"]
    minutes = re.search(r"  in (\d+) min  ", listed[1])
    assert minutes is not None
    assert 0 < int(minutes[1]) <= 30  # NOW_S is the moment of the import


def test_an_unknown_order_is_named(installed: Installation) -> None:
    fill(installed)
    done = installed.call("order", "show", "nothing")
    assert done.returncode == 1
    assert done.stderr == "otscert: no order has the id 'nothing': otscert order list shows all of them\n"


def test_the_commands_work_while_hq_runs(installed: Installation) -> None:
    fill(installed, device(1, unserved=2))
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        assert [each["id"] for each in as_json(installed, "device", "list")["devices"]] == ["id-1"]
        assert installed.run("device", "rearm", "id-1").returncode == 0
        assert hq.poll() is None
    assert stored(installed, "id-1")[0].unserved == 0
