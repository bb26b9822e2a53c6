from __future__ import annotations

from datetime import UTC, datetime

import pytest

from otscert.acme.fault import BY_NAME, Asked, Remedy, classify, of_outcome
from otscert.acme.problem import ACME_URN, Problem

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)

# Every error type of RFC 8555 section 6.7, of RFC 9773 section 7.4 and of the profiles draft, and what it asks of us.
EXPECTED = {
    "accountDoesNotExist": Remedy.ACCOUNT,
    "alreadyRevoked": Remedy.PERMANENT,
    "badCSR": Remedy.PERMANENT,
    "badNonce": Remedy.RETRY_NOW,
    "badPublicKey": Remedy.PERMANENT,
    "badRevocationReason": Remedy.PERMANENT,
    "badSignatureAlgorithm": Remedy.PERMANENT,
    "caa": Remedy.PERMANENT,
    "connection": Remedy.DNS,
    "dns": Remedy.DNS,
    "externalAccountRequired": Remedy.ACCOUNT,
    "incorrectResponse": Remedy.DNS,
    "invalidContact": Remedy.ACCOUNT,
    "malformed": Remedy.PERMANENT,
    "orderNotReady": Remedy.POLL,
    "rateLimited": Remedy.PARK,
    "rejectedIdentifier": Remedy.PERMANENT,
    "serverInternal": Remedy.BACK_OFF,
    "tls": Remedy.DNS,
    "unauthorized": Remedy.DNS,
    "unsupportedContact": Remedy.ACCOUNT,
    "unsupportedIdentifier": Remedy.PERMANENT,
    "userActionRequired": Remedy.ACCOUNT,
    "alreadyReplaced": Remedy.WITHOUT_REPLACES,
    "invalidProfile": Remedy.PERMANENT,
}


def _problem(name: str, detail: str = "because", *subproblems: Problem) -> Problem:
    return Problem(type=ACME_URN + name, detail=detail, subproblems=subproblems)


def test_the_table_has_every_type_but_compound() -> None:
    assert dict(BY_NAME) == EXPECTED


@pytest.mark.parametrize(("name", "remedy"), EXPECTED.items())
def test_each_error_type_has_its_remedy(name: str, remedy: Remedy) -> None:
    fault = classify(400, _problem(name), {}, NOW)
    assert fault.remedy is remedy
    assert fault.reason == f"{name}: because"
    assert fault.retry_after_s is None


@pytest.mark.parametrize(("name", "remedy"), EXPECTED.items())
def test_each_error_type_means_the_same_inside_an_invalid_order(name: str, remedy: Remedy) -> None:
    assert of_outcome(_problem(name)).remedy is remedy


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (400, Remedy.PERMANENT),
        (404, Remedy.PERMANENT),
        (408, Remedy.BACK_OFF),
        (429, Remedy.PARK),
        (500, Remedy.BACK_OFF),
        (503, Remedy.BACK_OFF),
        (302, Remedy.BACK_OFF),
    ],
)
def test_an_unknown_error_type_is_judged_by_its_status(status: int, remedy: Remedy) -> None:
    for unknown in ("urn:ietf:params:acme:error:notInventedYet", "about:blank", "https://ca.example/oops"):
        assert classify(status, Problem(type=unknown), {}, NOW).remedy is remedy


@pytest.mark.parametrize(
    ("status", "remedy"),
    [(403, Remedy.BACK_OFF), (404, Remedy.BACK_OFF), (429, Remedy.PARK), (503, Remedy.BACK_OFF)],
)
def test_an_answer_without_a_problem_document_never_ends_an_order(status: int, remedy: Remedy) -> None:
    """A load balancer's or proxy's page is not the CA's word."""
    assert classify(status, None, {}, NOW).remedy is remedy


@pytest.mark.parametrize("header", ["30", "Mon, 23 Nov 2026 12:00:30 GMT"])
def test_retry_after_comes_with_the_fault_in_both_forms(header: str) -> None:
    assert classify(429, _problem("rateLimited"), {"Retry-After": header}, NOW).retry_after_s == 30.0


@pytest.mark.parametrize("detail", ['Account is not valid, has status "deactivated"', "the account was revoked"])
def test_unauthorized_because_the_account_is_closed_is_about_the_account(detail: str) -> None:
    assert classify(403, _problem("unauthorized", detail), {}, NOW).remedy is Remedy.ACCOUNT


@pytest.mark.parametrize(
    ("asked", "name", "remedy"),
    [
        (Asked.FINALIZE, "unauthorized", Remedy.PERMANENT),  # "CSR is missing Order domain"
        (Asked.FINALIZE, "orderNotReady", Remedy.POLL),
        (Asked.ACCOUNT, "unauthorized", Remedy.ACCOUNT),  # a wrong EAB key
        (Asked.ACCOUNT, "malformed", Remedy.ACCOUNT),
        (Asked.ACCOUNT, "serverInternal", Remedy.BACK_OFF),
        (Asked.ACCOUNT, "rateLimited", Remedy.PARK),
        (Asked.REPLACING_ORDER, "malformed", Remedy.WITHOUT_REPLACES),
        (Asked.REPLACING_ORDER, "unauthorized", Remedy.WITHOUT_REPLACES),
        (Asked.REPLACING_ORDER, "rateLimited", Remedy.PARK),
        (Asked.REPLACING_ORDER, "rejectedIdentifier", Remedy.PERMANENT),
    ],
)
def test_what_was_asked_for_changes_what_a_refusal_means(asked: Asked, name: str, remedy: Remedy) -> None:
    assert classify(403, _problem(name), {}, NOW, asked=asked).remedy is remedy


def test_a_compound_problem_weighs_as_its_gravest_part() -> None:
    parts = [_problem("dns"), _problem("rejectedIdentifier"), _problem("rateLimited")]
    assert classify(403, _problem("compound", "several", *parts), {}, NOW).remedy is Remedy.PERMANENT
    assert classify(403, _problem("compound", "several", parts[0]), {}, NOW).remedy is Remedy.DNS


def test_a_compound_problem_without_parts_is_judged_by_its_status() -> None:
    assert classify(500, _problem("compound"), {}, NOW).remedy is Remedy.BACK_OFF


def test_a_reason_is_one_printable_line_of_bounded_length() -> None:
    fault = classify(400, _problem("badCSR", "a\x1b[31m\r\nb\u202e" + "x" * 5000), {}, NOW)
    assert fault.reason.isprintable()
    assert fault.reason.startswith("badCSR: a [31m b x")
    assert len(fault.reason) == 600


def test_an_order_that_failed_without_a_reason_counts_as_a_failed_validation() -> None:
    assert of_outcome(None).remedy is Remedy.DNS


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "https://ca.example/\x1b]0;x\x07", "https://ca.example/\x00", "https:///x", "x" * 5000],
)
def test_a_link_that_is_no_web_page_is_nobodys_to_open(link: str) -> None:
    terms = Problem(type=ACME_URN + "userActionRequired", instance=link)
    assert classify(403, terms, {}, NOW).link is None
    paused = Problem(type=ACME_URN + "rateLimited", detail=f"Your account is paused, visit {link}")
    assert classify(429, paused, {}, NOW).link is None


@pytest.mark.parametrize("found", ["account deactivated", "this account is paused"])
def test_words_that_a_validation_found_say_nothing_of_the_account(found: str) -> None:
    problem = Problem(type=ACME_URN + "unauthorized", detail=f'Incorrect TXT record "{found}" found')
    assert of_outcome(problem).remedy is Remedy.DNS
    assert classify(403, problem, {}, NOW).remedy in {Remedy.ACCOUNT, Remedy.PAUSED}
