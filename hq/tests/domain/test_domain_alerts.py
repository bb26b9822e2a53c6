"""Every kind of alert: from which facts on it holds, how bad it is, since when, and what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from otscert.domain.alert_facts import BudgetFacts, ChannelFacts, Facts, IncidentFacts, IssuerFacts, Some
from otscert.domain.alert_message import what_to_do
from otscert.domain.alert_rules import RULES, holding
from otscert.domain.alert_texts import TEXTS
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Kind, Severity

NOW_S = 2_000_000_000
PAGE = (Path(__file__).parents[3] / "docs" / "alerts.md").read_text(encoding="utf-8")
LONG_AGO = Some(count=3, since_s=NOW_S - 2 * DAY_S, examples=("nifty-babbage-7k2q",))
WARNING, CRITICAL = Severity.WARNING, Severity.CRITICAL


def ca(**changes: object) -> IssuerFacts:
    return IssuerFacts(name="ca", **changes)  # type: ignore[arg-type]


def short(**changes: object) -> BudgetFacts:
    members = {"issuer": "ca", "bucket": "ca orders-per-account", "waiting": 40, "urgent": 0, "since_s": NOW_S - DAY_S}
    return BudgetFacts(**(members | changes))  # type: ignore[arg-type]


DOWN = ca(failing_since_s=NOW_S - HOUR_S, failures=9, reason="503")
HOLDS = [
    ({"late": LONG_AGO}, Kind.RENEWAL_LATE, "", WARNING, "3 boxes that call HQ should have got another certificate"),
    ({"lapsed": LONG_AGO}, Kind.RENEWAL_LATE, "", CRITICAL, "3 boxes that call HQ have an expired certificate"),
    (
        {"late": LONG_AGO, "lapsed": Some(count=1)},
        Kind.RENEWAL_LATE,
        "",
        CRITICAL,
        "1 box that calls HQ has an expired",
    ),
    ({"unattended": LONG_AGO}, Kind.ORDER_STUCK, "", CRITICAL, "3 orders could go on"),
    ({"old_orders": LONG_AGO}, Kind.ORDER_STUCK, "", WARNING, "3 orders got no certificate for more than a day"),
    ({"away": LONG_AGO}, Kind.BOX_AWAY, "", WARNING, "3 boxes did not call for long"),
    ({"not_served": LONG_AGO}, Kind.NOT_SERVED, "", WARNING, "3 boxes do not serve the newest certificate"),
    ({"held_back": LONG_AGO}, Kind.NOT_SERVED, "", WARNING, "3 boxes get no more certificates"),
    ({"budgets": [short()]}, Kind.BUDGET_SHORT, "ca", WARNING, "40 orders wait because the limits of ca are used up"),
    ({"budgets": [short(urgent=2)]}, Kind.BUDGET_SHORT, "ca", CRITICAL, "40 orders wait"),
    ({"issuers": [DOWN]}, Kind.ISSUER_DOWN, "ca", CRITICAL, "the issuer ca fails: 9 times in a row"),
    ({"issuers": [DOWN, IssuerFacts(name="other")]}, Kind.ISSUER_DOWN, "ca", WARNING, "the issuer ca fails"),
    (
        {"issuers": [ca(account_problem="paused", account_link="https://ca.example/unpause")]},
        Kind.ISSUER_ACCOUNT,
        "ca",
        CRITICAL,
        "the account at ca: the CA has paused HQ's account for some names",
    ),
    ({"issuers": [ca(account_problem="lost")]}, Kind.ISSUER_ACCOUNT, "ca", CRITICAL, "does not know HQ's account"),
    ({"issuers": [ca(account_problem="new word")]}, Kind.ISSUER_ACCOUNT, "ca", CRITICAL, "new word"),
    ({"shared": LONG_AGO}, Kind.CLONE_SEEN, "", WARNING, "3 identities are shared by two boxes"),
    ({"copied_units": Some(count=1)}, Kind.CLONE_SEEN, "", WARNING, "1 identity is shared by two boxes"),
    ({"copies_told": 2}, Kind.CLONE_SEEN, "", WARNING, "2 copies of boxes called"),
    ({"repeating": [("camera", NOW_S - DAY_S)]}, Kind.RNG_REPEATS, "camera", CRITICAL, "randomness of model camera"),
    ({"disk_free_bytes": 900_000_000}, Kind.DISK_NEARLY_FULL, "", WARNING, "900 MB left"),
    ({"disk_free_bytes": 100_000_000}, Kind.DISK_NEARLY_FULL, "", CRITICAL, "100 MB left"),
    ({"own_ends": [("tls", NOW_S + 58 * DAY_S)]}, Kind.HQ_CERTIFICATE, "tls", WARNING, "ends in 58 days"),
    ({"own_ends": [("answer", NOW_S + 13 * DAY_S)]}, Kind.HQ_CERTIFICATE, "answer", CRITICAL, "ends in 13 days"),
    ({"own_ends": [("tls", NOW_S - 1)]}, Kind.HQ_CERTIFICATE, "tls", CRITICAL, "has ended"),
    ({"own_ends": [("root", NOW_S + 700 * DAY_S)]}, Kind.HQ_CERTIFICATE, "root", WARNING, "HQ's root ends in 700 days"),
    ({"worker_seen_s": NOW_S - 3 * MINUTE_S}, Kind.HQ_NO_WORKER, "", CRITICAL, "no HQ process with the role worker"),
    ({"revocations": LONG_AGO}, Kind.REVOCATION_STUCK, "", WARNING, "3 certificates should have been revoked"),
    (
        {"incidents": [IncidentFacts(id="i1", reason="key lost", started_s=NOW_S - 60, marked=50, left=20)]},
        Kind.INCIDENT_RUNNING,
        "i1",
        WARNING,
        "20 of 50 certificates still to be replaced",
    ),
    (
        {"channels": [ChannelFacts(name="mail", waiting=2, since_s=NOW_S - HOUR_S, problem="refused")]},
        Kind.CHANNEL_FAILS,
        "mail",
        WARNING,
        "2 messages cannot be delivered by mail",
    ),
]
RECENT = Some(count=3, since_s=NOW_S - 60)
WELL = [
    {},
    {"unattended": RECENT},
    {"revocations": RECENT},
    {"budgets": [short(since_s=NOW_S - 60)]},
    {"issuers": [ca(failing_since_s=NOW_S - 60, failures=3)]},
    {"issuers": [ca(last_success_s=NOW_S)]},
    {"copies_told": 1},
    {"disk_free_bytes": 2_000_000_000},
    {"own_ends": [("tls", NOW_S + 60 * DAY_S), ("root", NOW_S + 3 * 365 * DAY_S)]},
    {"worker_seen_s": NOW_S - 60},
    {"channels": [ChannelFacts(name="mail", waiting=1, since_s=NOW_S - 60, problem="refused")]},
]


@pytest.mark.parametrize(("facts", "kind", "subject", "severity", "words"), HOLDS)
def test_a_kind_holds(facts: dict[str, object], kind: Kind, subject: str, severity: Severity, words: str) -> None:
    (alert,) = holding(Facts(**facts), now_s=NOW_S)  # type: ignore[arg-type]
    assert (alert.kind, alert.subject, alert.severity) == (kind, subject, severity)
    assert words in alert.what
    assert alert.since_s <= NOW_S
    assert alert.count >= 1
    assert "{" not in what_to_do(alert)


@pytest.mark.parametrize("facts", WELL)
def test_what_is_usual_is_no_alert(facts: dict[str, object]) -> None:
    assert holding(Facts(**facts), now_s=NOW_S) == []  # type: ignore[arg-type]


def test_every_kind_has_a_rule_a_text_and_a_case_here() -> None:
    assert set(Kind) == RULES.keys() == TEXTS.keys() == {case[1] for case in HOLDS}


def test_ten_thousand_late_boxes_are_one_alert_with_a_few_examples() -> None:
    many = Some(count=10_000, since_s=NOW_S - DAY_S, examples=("a", "b", "c"))
    (alert,) = holding(Facts(late=many), now_s=NOW_S)
    assert (alert.count, alert.examples) == (10_000, ("a", "b", "c"))


def test_an_account_that_needs_a_person_is_not_also_called_down() -> None:
    both = ca(failing_since_s=NOW_S - DAY_S, failures=9, account_problem="terms")
    assert [alert.kind for alert in holding(Facts(issuers=[both]), now_s=NOW_S)] == [Kind.ISSUER_ACCOUNT]


def test_each_issuer_has_its_own_alert() -> None:
    budgets = [short(), short(issuer="other", bucket="other orders-per-account"), short(bucket="ca x y")]
    found = holding(Facts(budgets=budgets), now_s=NOW_S)
    assert [(alert.subject, alert.count) for alert in found] == [("ca", 80), ("other", 40)]


def test_what_a_ca_says_is_one_line_of_bounded_length() -> None:
    rude = ca(account_problem="refused", account_reason="no\r\nBcc: everybody\x1b[2J" + "x" * 5000)
    (alert,) = holding(Facts(issuers=[rude]), now_s=NOW_S)
    said = alert.details["CA says"]
    assert said.isprintable()
    assert len(said) <= 400


def squeezed(text: str) -> str:
    return " ".join(text.replace("`", "").replace("**", "").split())


@pytest.mark.parametrize("kind", Kind)
def test_the_page_of_alerts_says_of_each_kind_why_what_still_works_and_what_to_do(kind: Kind) -> None:
    sections = dict(re.findall(r"^### `([a-z._]+)`\n(.*?)(?=^##|\Z)", PAGE, re.MULTILINE | re.DOTALL))
    assert kind.value in sections
    said, text = squeezed(sections[kind.value]), TEXTS[kind]
    for part in (text.reason, text.serves, text.mend.format(subject="NAME")):
        assert squeezed(part) in said


def test_the_page_of_alerts_has_no_other_kind() -> None:
    assert set(re.findall(r"^### `([a-z._]+)`$", PAGE, re.MULTILINE)) == {kind.value for kind in Kind}
