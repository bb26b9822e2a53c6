"""An incident from start to end, on both databases: what is marked, what goes on after a kill, what is revoked."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest
from hq.tests.store.rows import certificate, device, fill, hello, order

from otscert.domain.budget import Rank
from otscert.domain.device import DeviceState
from otscert.domain.key_index import KeyIndex
from otscert.domain.order import OrderState
from otscert.domain.recall import CrlReason, Where, describe
from otscert.service import incidents
from otscert.service.enroll_checks import refuse_known_key
from otscert.service.recalls import call_within_s, recall_of, settle
from otscert.service.refusal import Refusal
from otscert.store.incidents import Incident
from otscert.store.transaction import Transaction

Store = Any
NOW_S = 10_000
END_S = 90_000


def fleet(transaction: Transaction, count: int, **changes: Any) -> None:
    """Devices d1..dn with a certificate each, served; every second one of the model cam."""
    for number in range(1, count + 1):
        sha256 = f"{number:064x}"
        values = {
            "device_id": f"d{number}",
            "not_after_s": END_S,
            "serial": f"{number:x}",
            "spki_sha256": b"key%d" % number,
            **changes,
        }
        fill(
            transaction,
            device(number, model="cam" if number % 2 else "nas", served_sha256=sha256),
            order(number, device_id=f"d{number}", state=OrderState.ISSUED),
            certificate(number, **values),
        )
        key = KeyIndex(spki_sha256=values["spki_sha256"], x_coordinate=b"x%d" % number)
        transaction.verified_keys.add(key, device_id=f"d{number}", kind="k", contribution="", source="", now_s=1)


def renewed(transaction: Transaction, number: int, *, served: bool = True, issued_at_s: int = NOW_S + 50) -> None:
    """The device has another certificate since."""
    later = number + 100
    fill(
        transaction,
        order(later, device_id=f"d{number}", state=OrderState.ISSUED),
        certificate(
            later, device_id=f"d{number}", not_after_s=END_S + 1, issued_at_s=issued_at_s, spki_sha256=b"new%d" % number
        ),
    )
    if served:
        found = transaction.devices.get(f"d{number}")
        assert found is not None
        transaction._connection.execute(
            "UPDATE device SET served_sha256 = ? WHERE id = ?", (f"{later:064x}", f"d{number}")
        )


def begin(transaction: Transaction, where: Where, revoke: CrlReason | None = None, now_s: int = NOW_S) -> Incident:
    begun = incidents.begin(transaction, where, revoke=revoke, reason="why", now_s=now_s, new_id=lambda: f"i{now_s}")
    return begun.incident


def run(
    transaction: Transaction,
    where: Where,
    *,
    revoke: CrlReason | None = None,
    serials: Sequence[str] = (),
    now_s: int = NOW_S,
    limit: int = 2,
) -> Incident:
    """Begin and look through the whole fleet."""
    incident: Incident | None = begin(transaction, where, revoke, now_s)
    assert incident is not None
    while (incident := incidents.mark_page(transaction, incident.id, serials, now_s=now_s, limit=limit)) is not None:
        if incident.marked_s is not None:
            return incident
    raise AssertionError("the incident ended")


def marked(transaction: Transaction, incident: Incident) -> list[str]:
    return [each.device_id for each in transaction.incidents.marked(incident.id, after=("", ""), limit=100)]


SERIALS = ["3", "5", "77"]


@pytest.mark.parametrize(
    ("where", "serials", "devices"),
    [
        (Where(issuer="ca"), (), ["d1", "d2", "d3", "d4", "d5"]),
        (Where(issuer="other"), (), []),
        (Where(model="cam"), (), ["d1", "d3", "d5"]),
        (Where(model="cam", issued_from_s=102, issued_until_s=105), (), ["d3"]),
        (Where(key=b"key2"), (), ["d2"]),
        (Where(key=b"key2", model="cam"), (), []),
        (Where(serials=describe(SERIALS)), SERIALS, ["d3", "d5"]),
        (Where(serials=describe(SERIALS), issued_until_s=104), SERIALS, ["d3"]),
        (Where(certificate=f"{4:064x}"), (), ["d4"]),
    ],
)
async def test_what_fits_is_marked_and_counted_whatever_the_pages(
    store: Store, where: Where, serials: Sequence[str], devices: list[str]
) -> None:
    await store.write(partial(fleet, count=5))
    incident = await store.write(partial(run, where=where, serials=serials))
    assert (await store.read(partial(marked, incident=incident)), incident.count) == (devices, len(devices))
    assert (incident.idle, incident.left) == (0, len(devices))
    assert await store.read(lambda t: t.incidents.with_marks()) == ([incident.id] if devices else [])


async def test_a_run_that_was_killed_goes_on_where_it_was_and_one_that_was_not_looks_again(store: Store) -> None:
    await store.write(partial(fleet, count=5))
    where = Where(issuer="ca")
    first = await store.write(partial(begin, where=where))
    await store.write(lambda t: incidents.mark_page(t, first.id, (), now_s=NOW_S, limit=2))
    half = await store.read(lambda t: t.incidents.get(first.id))
    assert (half.count, half.place, half.marked_s) == (2, "d2", None)  # killed here
    again = await store.write(
        lambda t: incidents.begin(t, where, revoke=None, reason="other words", now_s=NOW_S + 9, new_id=lambda: "never")
    )
    assert (again.incident.id, again.again) == (first.id, True)
    whole = await store.write(partial(run, where=where, now_s=NOW_S + 9))
    assert (whole.id, whole.count, whole.marked_s) == (first.id, 5, NOW_S + 9)
    assert (await store.write(partial(run, where=where, now_s=NOW_S + 10))).count == 5
    assert (await store.write(partial(run, where=where, now_s=NOW_S + 10, revoke=CrlReason.SUPERSEDED))).id != first.id


async def test_only_what_a_box_uses_is_waited_for_the_rest_is_revoked_if_asked(store: Store) -> None:
    def prepare(transaction: Transaction) -> None:
        fleet(transaction, 3)
        renewed(transaction, 1, issued_at_s=500)  # its first certificate is idle
        renewed(transaction, 2, issued_at_s=500, served=False)  # both are in use: served, and newest

    await store.write(prepare)
    incident = await store.write(partial(run, where=Where(issuer="ca"), revoke=CrlReason.SUPERSEDED))
    assert (incident.count, incident.idle) == (4, 1)
    due = await store.read(lambda t: t.revocations.due(now_s=NOW_S, limit=10))
    assert [(each.certificate_sha256, each.reason) for each in due] == [(f"{1:064x}", 4)]


async def test_what_was_issued_since_the_start_and_what_has_ended_is_not_meant(store: Store) -> None:
    def prepare(transaction: Transaction) -> None:
        fleet(transaction, 1, not_after_s=NOW_S)
        renewed(transaction, 1)

    await store.write(prepare)
    incident = await store.write(partial(run, where=Where(issuer="ca")))
    assert (incident.count, incident.idle) == (0, 0)


async def test_a_replaced_one_is_revoked_when_its_box_serves_the_new_one_and_not_before(store: Store) -> None:
    await store.write(partial(fleet, count=1))
    incident = await store.write(partial(run, where=Where(issuer="ca"), revoke=CrlReason.SUPERSEDED))

    def settled(transaction: Transaction) -> tuple[Incident | None, int]:
        newest = transaction.certificates.newest("d1")
        assert newest is not None
        settle(transaction, "d1", newest, now_s=NOW_S)
        return transaction.incidents.get(incident.id), len(transaction.revocations.due(now_s=END_S, limit=9))

    now, revoked = await store.write(settled)
    assert (now.left, revoked) == (1, 0)  # its own mark stands while it is the newest
    await store.write(partial(renewed, number=1))
    for _ in range(2):
        now, revoked = await store.write(settled)
        assert (now.replaced, now.left, revoked) == (1, 0, 1)


async def test_a_compromised_key_is_never_taken_again_and_its_certificates_are_revoked_at_once(store: Store) -> None:
    def prepare(transaction: Transaction) -> None:
        fleet(transaction, 2)
        fill(transaction, order(50, state=OrderState.ISSUED))
        fill(transaction, certificate(50, device_id="d1", not_after_s=END_S, issued_at_s=50, spki_sha256=b"key1"))
        transaction.revocations.ask(f"{50:064x}", reason=CrlReason.SUPERSEDED, now_s=5)

    await store.write(prepare)
    incident = await store.write(partial(run, where=Where(key=b"key1"), revoke=CrlReason.KEY_COMPROMISE))
    assert (incident.count, incident.idle) == (1, 1)
    due = await store.read(lambda t: t.revocations.due(now_s=NOW_S, limit=10))
    assert {(each.certificate_sha256, each.reason) for each in due} == {(f"{1:064x}", 1), (f"{50:064x}", 1)}
    same_secret = KeyIndex(spki_sha256=b"other", x_coordinate=b"x1")
    other = KeyIndex(spki_sha256=b"key2", x_coordinate=b"x2")
    assert await store.read(lambda t: [t.verified_keys.compromised(each) for each in (same_secret, other)]) == [
        True,
        False,
    ]


async def test_who_comes_with_a_compromised_key_is_told_so(store: Store) -> None:
    await store.write(partial(fleet, count=2))
    await store.write(partial(run, where=Where(key=b"key1"), revoke=CrlReason.KEY_COMPROMISE))

    def refusals(transaction: Transaction) -> list[str]:
        found = []
        for number in (1, 2):
            index = KeyIndex(spki_sha256=b"key%d" % number, x_coordinate=b"x%d" % number)
            with pytest.raises(Refusal) as refused:
                refuse_known_key(transaction, index, hello())
            found.append(str(refused.value))
        return found

    compromised, used = await store.read(refusals)
    assert "compromised" in compromised
    assert "used before" in used


@pytest.mark.parametrize(
    ("first", "second", "taken"),
    [
        (None, None, True),
        (None, CrlReason.SUPERSEDED, True),
        (CrlReason.SUPERSEDED, None, False),
        (CrlReason.SUPERSEDED, CrlReason.KEY_COMPROMISE, True),
    ],
)
async def test_a_later_incident_takes_over_unless_it_does_less(
    store: Store,
    first: CrlReason | None,
    second: CrlReason | None,
    taken: bool,  # noqa: FBT001
) -> None:
    await store.write(partial(fleet, count=1))
    before = await store.write(partial(run, where=Where(issuer="ca"), revoke=first))
    after = await store.write(partial(run, where=Where(model="cam"), revoke=second, now_s=NOW_S + 1))
    before = await store.read(lambda t: t.incidents.get(before.id))
    assert (before.left, before.released, after.count) == ((0, 1, 1) if taken else (1, 0, 0))


async def test_a_mark_of_an_incident_that_has_ended_means_nothing_and_is_taken_by_the_next(store: Store) -> None:
    await store.write(partial(fleet, count=1))
    first = await store.write(partial(run, where=Where(issuer="ca")))

    def recalled(transaction: Transaction) -> bool:
        return recall_of(transaction, transaction.certificates.newest("d1")) is not None

    assert await store.read(recalled)
    ended = await store.write(lambda t: incidents.end(t, first.id, now_s=NOW_S + 5, by_itself=False))
    assert (ended.ended_s, ended.left) == (NOW_S + 5, 1)
    assert not await store.read(recalled)
    assert await store.write(lambda t: incidents.end(t, "unknown", now_s=1, by_itself=False)) is None
    second = await store.write(partial(run, where=Where(issuer="ca"), now_s=NOW_S + 6))
    assert (second.id != first.id, second.count) == (True, 1)
    assert (await store.read(lambda t: t.incidents.get(first.id))).released == 0
    assert await store.read(recalled)


async def test_an_order_that_waits_goes_first_from_then_on(store: Store) -> None:
    def prepare(transaction: Transaction) -> None:
        fleet(transaction, 1)
        fill(transaction, order(70, rank=Rank.ROUTINE), order(71, rank=Rank.EXPIRING))
        fill(transaction, order(72, rank=Rank.ROUTINE, state=OrderState.CREATED))

    await store.write(prepare)
    await store.write(partial(run, where=Where(issuer="ca")))
    ranks = await store.read(lambda t: {each.id: each.rank for each in t.orders.unfinished_of("d1")})
    assert ranks == {"o70": Rank.INCIDENT, "o71": Rank.EXPIRING, "o72": Rank.ROUTINE}


async def test_boxes_call_more_often_while_the_fleet_is_looked_through_and_until_they_are_replaced(
    store: Store,
) -> None:
    await store.write(partial(fleet, count=3))

    def calls(transaction: Transaction, number: int) -> int | None:
        found, newest = transaction.devices.get(f"d{number}"), transaction.certificates.newest(f"d{number}")
        assert found is not None
        return call_within_s(transaction, found, newest, usual_s=21_600)

    async def both() -> list[int | None]:
        return [await store.read(partial(calls, number=number)) for number in (1, 2)]

    assert await both() == [None, None]
    begun = await store.write(partial(begin, where=Where(model="cam")))
    assert await both() == [60, None]  # not marked yet, but it will be
    await store.write(partial(renewed, number=3))
    assert await store.read(partial(calls, number=3)) is None  # what was issued since is not meant
    await store.write(partial(run, where=Where(model="cam")))
    assert await both() == [60, None]
    await store.write(partial(renewed, number=1))
    assert await both() == [None, None]
    await store.write(lambda t: incidents.end(t, begun.id, now_s=NOW_S, by_itself=False))
    assert await both() == [None, None]


async def test_how_the_box_of_a_marked_certificate_is_doing(store: Store) -> None:
    def prepare(transaction: Transaction) -> Incident:
        fleet(transaction, 5)
        incident = run(transaction, Where(issuer="ca"))
        renewed(transaction, 1)
        renewed(transaction, 2, served=False)
        transaction.certificates.replace_all("d3")
        transaction.devices.set_state("d4", DeviceState.QUARANTINED)
        fill(transaction, order(80, device_id="d5", created_at_s=NOW_S))
        return incident

    incident = await store.write(prepare)
    rows = await store.read(lambda t: t.incidents.marked(incident.id, after=("", ""), limit=10))
    assert [(row.replaced, row.over, row.ordering, row.state) for row in rows] == [
        (True, False, False, "active"),
        (False, False, False, "active"),
        (False, True, False, "active"),
        (False, False, False, "quarantined"),
        (False, False, True, "active"),
    ]
    assert [(row.last_order, row.last_order_s) for row in rows[3:]] == [("issued", 104), ("waiting", NOW_S)]
    after = (rows[1].device_id, rows[1].sha256)
    assert await store.read(lambda t: t.incidents.marked(incident.id, after=after, limit=2)) == rows[2:4]
