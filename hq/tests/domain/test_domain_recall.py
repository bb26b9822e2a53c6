"""What an operator recalls: the words of --where, what they select, and what a recall means for renewal."""

from __future__ import annotations

import pytest

from otscert.domain.recall import (
    Candidate,
    CrlReason,
    Recall,
    Serials,
    Where,
    WhereError,
    call_every_s,
    describe,
    from_json,
    in_words,
    matches,
    parse_reason,
    parse_serial,
    parse_serials,
    parse_where,
    to_json,
)
from otscert.domain.renewal import Lane, Window, judge_renewal

DAY_S = 86_400
NOVEMBER_S = 1_793_491_200  # 2026-11-01T00:00:00Z
RECALL = Recall(incident="i1", since_s=10 * DAY_S, reason="the firmware's keys leaked")
CANDIDATE = Candidate(sha256="aa", issuer="le", model="cam", key=b"k", issued_at_s=NOVEMBER_S)


def test_several_conditions_are_read_into_one_selection() -> None:
    asked = parse_where(
        ["issuer=le", " model = cam", "key=box-1", "serial-list=a,b.txt", "issued-between=2026-11-01..2026-11-01"]
    )
    assert asked.where == Where(issuer="le", model="cam", issued_from_s=NOVEMBER_S, issued_until_s=NOVEMBER_S + DAY_S)
    assert (asked.key, asked.serial_list) == ("box-1", "a,b.txt")


@pytest.mark.parametrize(
    ("text", "from_s", "until_s"),
    [
        ("2026-11-01..2026-11-02", 0, 2 * DAY_S),
        ("2026-11-01T06:00..2026-11-01T07:00", 6 * 3600, 7 * 3600 + 1),
        ("2026-11-01T06:00Z..2026-11-01T07:00+01:00", 6 * 3600, 6 * 3600 + 1),
        ("2026-10-31 .. 2026-11-01T00:00:00Z", -DAY_S, 1),
    ],
)
def test_a_span_holds_its_last_day_or_second(text: str, from_s: int, until_s: int) -> None:
    where = parse_where([f"issued-between={text}"]).where
    assert (where.issued_from_s, where.issued_until_s) == (NOVEMBER_S + from_s, NOVEMBER_S + until_s)


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "say which"),
        (["le"], "KIND=VALUE"),
        (["ca=le"], "issuer, key, model, serial-list, issued-between"),
        (["issuer="], "missing"),
        (["issuer=a", "issuer=b"], "twice"),
        (["issued-between=2026-11-01"], "A..B"),
        (["issued-between=2026-11-01..yesterday"], "ISO 8601"),
        (["issued-between=2026-11-02..2026-11-01"], "ends before"),
        (["issued-between=2026-11-01..9999-12-31"], "ISO 8601"),
        (["issued-between=01.11.2026..02.11.2026"], "ISO 8601"),
    ],
)
def test_what_cannot_be_understood_is_refused_with_what_to_write(texts: list[str], words: str) -> None:
    with pytest.raises(WhereError, match=words):
        parse_where(texts)


def test_serial_numbers_are_read_as_cas_publish_them() -> None:
    text = '# affected\n\n03:AB:0C\n0x3ab0c, 2026-11-01\n0003AB0D some text\n"ff"\n'
    assert parse_serials(text) == ["3ab0c", "3ab0d", "ff"]
    assert parse_serial("00") == "0"


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "no serial"), ("# nothing\n", "no serial"), ("ab\nxyz\n", "line 2"), ("f" * 41, "line 1"), ("-5", "line 1")],
)
def test_a_line_that_is_no_serial_number_is_named(text: str, words: str) -> None:
    with pytest.raises(WhereError, match=words):
        parse_serials(text)


@pytest.mark.parametrize(
    ("where", "fits"),
    [
        (Where(), True),
        (Where(issuer="le"), True),
        (Where(issuer="zerossl"), False),
        (Where(issuer="le", model="cam", key=b"k", certificate="aa"), True),
        (Where(issuer="le", model="nas"), False),
        (Where(key=b"other"), False),
        (Where(certificate="bb"), False),
        (Where(issued_from_s=NOVEMBER_S), True),
        (Where(issued_from_s=NOVEMBER_S + 1), False),
        (Where(issued_until_s=NOVEMBER_S), False),
        (Where(issued_until_s=NOVEMBER_S + 1), True),
    ],
)
def test_a_certificate_is_selected_when_it_fits_everything(where: Where, fits: bool) -> None:  # noqa: FBT001
    assert matches(where, CANDIDATE) is fits


@pytest.mark.parametrize(
    "where",
    [
        Where(),
        Where(issuer="le", model="cam", key=b"\0k", issued_from_s=1, issued_until_s=2, certificate="aa"),
        Where(serials=describe(["a", "b"])),
    ],
)
def test_a_selection_is_the_same_after_it_was_stored(where: Where) -> None:
    assert from_json(to_json(where)) == where
    assert to_json(from_json(to_json(where))) == to_json(where)


def test_a_selection_is_told_in_words() -> None:
    where = Where(issuer="le", issued_from_s=NOVEMBER_S, serials=Serials(count=1200, sha256="x"))
    assert in_words(where) == "issuer le, a list of 1,200 serial numbers, issued from 2026-11-01T00:00:00Z"


@pytest.mark.parametrize("reason", CrlReason)
def test_a_reason_is_known_by_word_and_by_number(reason: CrlReason) -> None:
    assert parse_reason(reason.word) is parse_reason(reason.word.upper()) is parse_reason(str(int(reason))) is reason


@pytest.mark.parametrize("text", ["", "3", "cACompromise", "hold"])
def test_a_reason_that_no_ca_takes_from_a_subscriber_is_refused(text: str) -> None:
    with pytest.raises(WhereError, match="keyCompromise"):
        parse_reason(text)


PAST = Window(start_s=8 * DAY_S, end_s=9 * DAY_S, told_s=12 * DAY_S, at_s=8 * DAY_S)


# The life is 90 days: due from day 60, late from day 75.
@pytest.mark.parametrize(
    ("window", "now", "lane", "at", "words"),
    [
        (None, 10, Lane.INCIDENT, 10, "operator wants it replaced now: the firmware's keys leaked"),
        (None, 70, Lane.INCIDENT, 10, "operator"),
        (None, 76, Lane.EMERGENCY, 10, "late; besides, HQ's operator"),
        (None, 91, Lane.EMERGENCY, 10, "expired; besides, HQ's operator"),
        (PAST, 20, Lane.INCIDENT, 10, "operator"),  # both: the operator's word has the better reason
    ],
)
def test_a_recalled_certificate_is_due_at_once(
    window: Window | None, now: int, lane: Lane, at: int, words: str
) -> None:
    decision = judge_renewal(not_before_s=0, not_after_s=90 * DAY_S, now_s=now * DAY_S, window=window, recall=RECALL)
    assert (decision.lane, decision.at_s, decision.recalled) == (lane, at * DAY_S, True)
    assert words in decision.reason


@pytest.mark.parametrize(
    ("left", "usual_s", "every_s"),
    [
        (1, 21_600, 60),
        (3_000, 21_600, 60),
        (10_000, 21_600, 200),
        (10**6, 21_600, 20_000),
        (10**7, 21_600, 21_600),
        (5, 30, 30),
    ],
)
def test_boxes_of_an_incident_call_as_often_as_hq_can_bear(left: int, usual_s: int, every_s: int) -> None:
    assert call_every_s(left=left, usual_s=usual_s) == every_s
