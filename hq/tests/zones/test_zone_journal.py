"""What a secondary is told of changes, and how far the serial goes."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.zones import wire
from otscert.zones.journal import Journal
from otscert.zones.rrs import Rr
from otscert.zones.serials import is_ahead, newest
from otscert.zones.zone import Zone


@pytest.mark.parametrize(
    ("serial", "other", "ahead"),
    [(2, 1, True), (1, 2, False), (1, 1, False), (0, 2**32 - 1, True), (2**31, 0, False), (2**31 - 1, 0, True)],
)
def test_serials_are_compared_as_rfc_1982_wants(serial: int, other: int, *, ahead: bool) -> None:
    assert is_ahead(serial, other) is ahead
    assert newest(other, serial) == (serial if ahead else other)


def test_each_change_is_a_step_of_what_goes_and_what_comes(zone: Zone) -> None:
    journal, begin = zone.keep_journal(), zone.serial
    zone.put_txt("four", "one")
    zone.put_txt("four", "two")
    zone.withdraw("both")
    steps = journal.since(begin)
    assert steps is not None
    assert [(step.new - step.old, len(step.deleted), len(step.added)) for step in steps] == [
        (1, 1, 1),  # the placeholder goes
        (1, 0, 1),
        (1, 4, 0),  # three addresses and the placeholder
    ]
    assert {record.rtype for record in steps[2].deleted} == {wire.A, wire.AAAA, wire.TXT}
    assert journal.since(zone.serial) == ()
    assert journal.since(begin - 1) is None


def test_what_changed_at_the_ceiling_is_one_step_later_on(zone: Zone) -> None:
    journal, begin = zone.keep_journal(), zone.serial
    zone.number(begin)
    zone.put_txt("four", "one")
    zone.drop_txt("four", "one")
    zone.put_txt("four", "two")
    assert (zone.serial, zone.serials_left) == (begin, 0)
    before = [record for record in zone.snapshot().records() if record.owner.startswith(b"\x0f_acme-challenge\x04four")]
    assert [record.rdata[1:] for record in before] == [b"no challenge is waiting"]
    zone.allow_serials(begin + 10)
    assert zone.serial == begin + 1
    (step,) = journal.since(begin) or ()
    assert [record.rdata for record in step.added] == [b"\x03two"]


def test_nothing_leads_to_a_zone_that_was_filled_anew(zone: Zone) -> None:
    journal, begin = zone.keep_journal(), zone.serial
    zone.put_txt("four", "one")
    zone.load([("new", [ip_address("10.0.0.1")], DEFAULT_POLICY)], [])
    assert journal.since(begin) is None
    assert journal.since(begin + 1) is None
    zone.number(zone.serial)
    loaded = zone.serial
    zone.load([], [])
    zone.number(loaded + 5)
    assert journal.since(loaded) is None


def test_the_journal_is_bounded() -> None:
    records = [Rr(b"\x00", 1, 1, bytes((number,))) for number in range(20)]
    shown: list[Rr] = []
    journal = Journal(lambda _: list(shown), 0, most_records=10, most_steps=100)
    for number, record in enumerate(records):
        journal.before(b"\x01a")
        shown.append(record)
        journal.moved(number + 1)
    assert len(journal.since(10) or ()) == 10
    assert journal.since(9) is None


def test_a_snapshot_is_of_one_moment(zone: Zone) -> None:
    wanted = list(zone.rrs())
    snapshot = zone.snapshot()
    records = snapshot.records()
    first = next(records)
    zone.withdraw("both")
    zone.put_txt("fresh", "value-two")
    zone.activate("later", [ip_address("10.0.0.1")], DEFAULT_POLICY)
    assert sorted([snapshot.soa, first, *records]) == sorted(wanted)
    zone.release(snapshot)
