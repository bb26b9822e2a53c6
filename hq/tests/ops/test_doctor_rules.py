"""The checks as values, where no command is needed to see them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

import pytest
from multidict import CIMultiDict, CIMultiDictProxy

from otscert.acme.directory import Meta
from otscert.ca.answer import Answer
from otscert.config import IssuerConfig
from otscert.domain.breaker import Breaker
from otscert.ops.doctor import run_checks
from otscert.ops.doctor_accounts import judge_caa, judge_issuers
from otscert.ops.doctor_finding import Finding, Outcome, any_failed, failed, ok, unknown, warning
from otscert.ops.doctor_folder import check_folder
from otscert.ops.doctor_issuer import judge_clock, judge_meta
from otscert.ops.doctor_keys import check_clock_floor, check_keys
from otscert.pki.files import PkiFolder
from otscert.store.issuers import AccountProblem, Issuer

DAY_S = 86_400
MADE_S = 1_790_000_000


def answer(headers: Mapping[str, str], *, at: datetime) -> Answer:
    return Answer(url="", status=200, headers=CIMultiDictProxy(CIMultiDict(headers)), body=b"", received=at)


@pytest.mark.parametrize(
    ("second", "outcome"), [(0, Outcome.OK), (30, Outcome.OK), (31, Outcome.FAILED), (59, Outcome.FAILED)]
)
def test_the_clock_may_be_half_a_minute_off(second: int, outcome: Outcome) -> None:
    at = datetime(2026, 11, 23, 12, 0, second, tzinfo=UTC)
    assert judge_clock(answer({"date": "Mon, 23 Nov 2026 12:00:00 GMT"}, at=at)).outcome is outcome


@pytest.mark.parametrize("headers", [{}, {"Date": "yesterday"}])
def test_without_a_date_of_the_ca_the_clock_is_unknown(headers: dict[str, str]) -> None:
    assert judge_clock(answer(headers, at=datetime(2026, 11, 23, tzinfo=UTC))).outcome is Outcome.UNKNOWN


def issuer(*, agreed: bool = True, profile: str | None = "tlsserver", kid: str = "") -> IssuerConfig:
    return IssuerConfig(
        name="ca",
        directory_url="https://ca.example/directory",
        contact=(),
        terms_agreed=agreed,
        profile=profile,
        trust_file=None,
        eab_kid=kid,
        eab_hmac_key="",
        caa_identity="",
        max_in_flight=1,
    )


@pytest.mark.parametrize(
    ("configured", "meta", "expected"),
    [
        (issuer(), Meta(caa_identities=("ca.example",)), {}),
        (issuer(), Meta(), {"issuer.ca.caa": Outcome.WARNING}),
        (
            issuer(agreed=False),
            Meta(terms_of_service="https://ca.example/terms", caa_identities=("ca.example",)),
            {"issuer.ca.terms": Outcome.FAILED},
        ),
        (issuer(agreed=False), Meta(caa_identities=("ca.example",)), {}),
        (
            issuer(),
            Meta(external_account_required=True, caa_identities=("ca.example",)),
            {"issuer.ca.eab": Outcome.FAILED},
        ),
        (issuer(kid="kid"), Meta(external_account_required=True, caa_identities=("ca.example",)), {}),
        (
            issuer(),
            Meta(profiles={"classic": ""}, caa_identities=("ca.example",)),
            {"issuer.ca.profile": Outcome.WARNING},
        ),
        (issuer(profile=None), Meta(profiles={"classic": ""}, caa_identities=("ca.example",)), {}),
    ],
)
def test_what_a_ca_says_of_itself_is_held_against_the_configuration(
    configured: IssuerConfig, meta: Meta, expected: dict[str, Outcome]
) -> None:
    findings = judge_meta(configured, meta)
    assert {each.check: each.outcome for each in findings if each.outcome is not Outcome.OK} == expected


@pytest.fixture
def pki(tmp_path: Path) -> PkiFolder:
    made = PkiFolder(folder=tmp_path / "pki")
    made.create(zone="boxes.example.com", hosts=("hq.example.com",), passphrase=None, now_s=MADE_S)
    return made


@pytest.mark.parametrize(
    ("days", "outcome"), [(0, Outcome.OK), (305, Outcome.OK), (307, Outcome.WARNING), (367, Outcome.FAILED)]
)
def test_own_certificates_are_warned_of_sixty_days_before_their_end(
    pki: PkiFolder, days: int, outcome: Outcome
) -> None:
    found = {each.check: each.outcome for each in check_keys(pki, now_s=MADE_S + days * DAY_S)}
    assert (found["keys.tls"], found["keys.answer"]) == (outcome, outcome)


def test_a_root_key_that_is_offline_is_well(pki: PkiFolder) -> None:
    (pki.folder / "root.key").unlink()
    findings = list(check_keys(pki, now_s=MADE_S))
    assert not any_failed(findings)
    assert "root.key is offline" in findings[-1].what


def test_a_clock_before_the_root_was_made_is_wrong(pki: PkiFolder) -> None:
    assert check_clock_floor(pki, now_s=MADE_S).outcome is Outcome.OK
    assert check_clock_floor(pki, now_s=MADE_S - DAY_S).outcome is Outcome.FAILED


def test_a_data_folder_that_others_can_look_into_is_a_warning(tmp_path: Path) -> None:
    for mode, outcome in ((0o700, Outcome.OK), (0o750, Outcome.WARNING), (0o705, Outcome.WARNING)):
        tmp_path.chmod(mode)
        assert next(iter(check_folder(tmp_path))).outcome is outcome


def test_a_data_folder_that_is_not_there_is_wrong(tmp_path: Path) -> None:
    (finding,) = check_folder(tmp_path / "gone")
    assert (finding.outcome, "No such file" in finding.what) == (Outcome.FAILED, True)


async def findings_of(*found: Finding, then_wait: bool = False) -> AsyncIterator[Finding]:
    for finding in found:
        yield finding
    if then_wait:
        await asyncio.Event().wait()


async def test_a_check_that_does_not_end_costs_only_itself() -> None:
    first, second = ok("a", "found before"), failed("b", "found", why="", mend="")
    checks = {"slow": findings_of(first, then_wait=True), "quick": findings_of(second)}
    waited: list[list[str]] = []
    found = await run_checks(checks, limit_s=0.05, on_slow=waited.append)
    assert [each.outcome for each in found] == [Outcome.OK, Outcome.UNKNOWN, Outcome.FAILED]
    assert found[0] is first
    assert waited == []


async def test_who_waits_for_long_hears_for_what() -> None:
    waited: list[list[str]] = []
    checks = {"quick": findings_of(), "slow": findings_of(then_wait=True)}
    await run_checks(checks, limit_s=2.5, on_slow=waited.append)
    assert waited == [["slow"]]


def test_only_what_failed_is_wrong() -> None:
    well = [ok("a", ""), warning("b", "", why="", mend=""), unknown("c", "")]
    assert not any_failed(well)
    assert any_failed([*well, failed("d", "", why="", mend="")])


ANSWERING = Issuer(name="a", last_success_s=MADE_S)
DOWN = Issuer(
    name="b", breaker=Breaker(failures=7, failing_since_s=MADE_S, open_until_s=MADE_S + 300, reason="refused")
)
LOST = Issuer(
    name="b",
    breaker=DOWN.breaker,
    problem=AccountProblem(kind="lost", reason="no such account", link="", since_s=MADE_S),
)


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ([ANSWERING], {"issuer.a.state": Outcome.OK}),
        ([Issuer(name="a")], {}),  # nothing is known yet
        ([ANSWERING, DOWN], {"issuer.a.state": Outcome.OK, "issuer.b.state": Outcome.WARNING}),
        ([ANSWERING, LOST], {"issuer.a.state": Outcome.OK, "issuer.b.state": Outcome.WARNING}),
        ([DOWN], {"issuer.b.state": Outcome.FAILED}),
        ([LOST], {"issuer.b.state": Outcome.FAILED}),
    ],
)
def test_an_issuer_in_trouble_is_a_failure_when_no_other_is_left(
    known: list[Issuer], expected: dict[str, Outcome]
) -> None:
    found = list(judge_issuers(known, preference=("a", "b"), now_s=MADE_S + 60))
    assert {finding.check: finding.outcome for finding in found} == expected
    assert all(finding.mend for finding in found if finding.outcome is not Outcome.OK)


def test_caa_records_name_every_account_or_there_are_none() -> None:
    assert judge_caa({"a": ["ca.example; accounturi=x"], "b": ["cb.example"]}).outcome is Outcome.OK
    found = judge_caa({"a": ["ca.example; accounturi=x"], "b": [""]})
    assert (found.outcome, "b does not say" in found.what) == (Outcome.WARNING, True)
    assert "issuer.b.caa_identity" in found.mend
