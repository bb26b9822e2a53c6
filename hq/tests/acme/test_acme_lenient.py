"""What a CA sends is read whatever it is: no document makes a parser raise, and what is good in it is still found."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.acme import members
from otscert.acme.account import Account, AccountStatus
from otscert.acme.authorization import Authorization, AuthorizationStatus
from otscert.acme.challenge import Challenge, ChallengeStatus
from otscert.acme.directory import Directory, Meta
from otscert.acme.order import Order, OrderStatus, new_order_payload
from otscert.acme.problem import Problem
from otscert.acme.renewal_info import RenewalInfo

NAMES = (
    *("status", "identifiers", "authorizations", "finalize", "certificate", "expires", "error", "identifier", "type"),
    *("wildcard", "challenges", "token", "url", "value", "detail", "subproblems", "meta", "profiles", "newNonce"),
    *("newAccount", "newOrder", "contact", "orders", "caaIdentities", "profile", "replaces", "instance", "title"),
    *("suggestedWindow", "start", "end", "explanationURL"),
)
WORDS = st.sampled_from(("pending", "valid", "dns", "dns-01", "2026-11-23T12:00:00Z", "9999-12-31T23:59:59-23:59"))
LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS
STRANGE: tuple[object, ...] = ("contemplating", None, 17, ["valid"], {})
JSON: st.SearchStrategy[Any] = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6),
    max_leaves=12,
)
DOCUMENTS = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=8)


@given(DOCUMENTS)
def test_no_document_makes_a_parser_raise(document: dict[str, Any]) -> None:
    order = Order.parse("https://ca.example/order/1", document)
    assert isinstance(order.status, OrderStatus)
    assert all(isinstance(name, str) for name in order.names)
    authorization = Authorization.parse("https://ca.example/authz/1", document)
    assert authorization.dns01 is None or authorization.dns01.token
    Account.parse("https://ca.example/acct/1", document)
    Directory.parse(document)
    info = RenewalInfo.parse(document)
    assert info is None or info.start_s < info.end_s


@given(JSON)
def test_no_value_in_place_of_an_object_makes_a_parser_raise(value: Any) -> None:
    Challenge.parse(value)
    Meta.parse(value)
    str(Problem.parse(value))


@given(st.binary())
def test_no_body_makes_the_json_reader_raise(body: bytes) -> None:
    assert isinstance(members.json_object(body), dict | None)


@pytest.mark.parametrize("body", [b"<html>", b"", b"[]", b"17", b'{"a":', b"[" * 100_000, b'{"a":"\xff"}'])
def test_a_body_that_is_no_json_object_is_none(body: bytes) -> None:
    assert members.json_object(body) is None


@pytest.mark.parametrize(
    ("value", "moment"),
    [
        ("2026-11-23T12:00:00Z", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-11-23T12:00:00.123456789Z", datetime(2026, 11, 23, 12, 0, 0, 123456, tzinfo=UTC)),  # as Go writes it
        ("2026-11-23T14:00:00+02:00", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("2026-11-23T12:00:00", datetime(2026, 11, 23, 12, tzinfo=UTC)),
        ("9999-12-31T23:59:59-23:59", None),
        ("0001-01-01T00:00:00+23:59", None),
        ("soon", None),
        (1795435200, None),
    ],
)
def test_a_moment_is_read_in_utc_or_not_at_all(value: object, moment: datetime | None) -> None:
    assert members.moment({"expires": value}, "expires") == moment


def test_unknown_states_are_kept_apart_from_the_known_ones() -> None:
    for kind in (OrderStatus, AuthorizationStatus, ChallengeStatus, AccountStatus):
        for unknown in STRANGE:
            assert kind(unknown).value == "unknown"
        assert kind("valid").value == "valid"


def test_the_dns01_challenge_is_found_among_types_that_nobody_knows() -> None:
    document = {
        "status": "pending",
        "identifier": {"type": "dns", "value": "a.example"},
        "challenges": [
            {"type": "dns-persist-01", "url": "https://ca.example/1", "issuer-domain-names": ["ca.example"]},
            {"type": "dns-01", "url": "https://ca.example/2"},  # without a token: not answerable
            "what",
            {"type": "dns-01", "url": "https://ca.example/3", "token": "t", "status": "pending"},
        ],
    }
    challenge = Authorization.parse("https://ca.example/authz/1", document).dns01
    assert challenge is not None
    assert challenge.url == "https://ca.example/3"


def test_an_order_is_read_in_full() -> None:
    document = {
        "status": "valid",
        "expires": "2026-11-23T13:00:00.5+01:00",
        "identifiers": [{"type": "dns", "value": "A.example"}, {"type": "ip", "value": "192.0.2.1"}],
        "authorizations": ["https://ca.example/authz/1"],
        "finalize": "https://ca.example/finalize/1",
        "certificate": "https://ca.example/cert/1",
        "profile": "tlsserver",
        "replaces": "aki.serial",
    }
    order = Order.parse("https://ca.example/order/1", document)
    assert order.status is OrderStatus.VALID
    assert order.names == {"a.example"}
    assert order.expires == datetime(2026, 11, 23, 12, 0, 0, 500_000, tzinfo=UTC)
    assert (order.finalize, order.certificate) == (document["finalize"], document["certificate"])
    assert (order.profile, order.replaces) == ("tlsserver", "aki.serial")


def test_a_new_order_names_profile_and_replaces_only_when_there_are_any() -> None:
    plain = new_order_payload(["a.example"], profile=None, replaces=None)
    assert plain == {"identifiers": [{"type": "dns", "value": "a.example"}]}
    full = new_order_payload(["a.example"], profile="tlsserver", replaces="aki.serial")
    assert full == {**plain, "profile": "tlsserver", "replaces": "aki.serial"}


def test_a_directory_says_what_it_lacks() -> None:
    assert Directory.parse({"newNonce": "https://ca.example/n", "newOrder": 17}) == ("newAccount", "newOrder")


@pytest.mark.parametrize(
    "said",
    [
        "",
        "ca.example; accounturi=https://other.example/1",
        "c\u00e4.example",
        "ca.example\n",
        "ca..example",
        "-",
        "a" * 254,
    ],
)
def test_what_is_no_name_of_a_ca_is_left_out(said: str) -> None:
    assert Meta.parse({"caaIdentities": [said, "CA-2.example"]}).caa_identities == ("CA-2.example",)


def test_a_directorys_meta_is_read() -> None:
    meta = Meta.parse(
        {
            "termsOfService": "https://ca.example/terms",
            "caaIdentities": ["ca.example", 17],
            "externalAccountRequired": True,
            "profiles": {"tlsserver": "45 days", "odd": 17},
        }
    )
    assert meta.caa_identities == ("ca.example",)
    assert meta.external_account_required
    assert meta.profiles == {"tlsserver": "45 days"}


def test_a_problem_is_read_with_its_subproblems() -> None:
    problem = Problem.parse(
        {
            "type": "urn:ietf:params:acme:error:compound",
            "detail": "two names failed",
            "status": 403,
            "subproblems": [
                {
                    "type": "urn:ietf:params:acme:error:caa",
                    "detail": "forbidden",
                    "identifier": {"type": "dns", "value": "a.example"},
                    "subproblems": [{"type": "nested"}],
                },
                17,
            ],
        }
    )
    assert problem is not None
    assert problem.name == "compound"
    assert [part.name for part in problem.subproblems] == ["caa", None]
    assert problem.subproblems[0].subproblems == ()
    assert str(problem).startswith("compound: two names failed; caa: forbidden (a.example)")


@pytest.mark.parametrize("value", [None, {}, [], "<html>", {"error": "oops"}])
def test_what_has_nothing_of_a_problem_is_none(value: Any) -> None:
    assert Problem.parse(value) is None
