from __future__ import annotations

import itertools

import pytest

from otscert.domain.admission import Answer, Evidence, Policy, Verdict, judge_admission
from tests.harness.hq import make_model

FACTORY, TOKEN, APPROVAL, OPEN = Policy.FACTORY, Policy.TOKEN, Policy.APPROVAL, Policy.OPEN
EVERYTHING = Evidence(stamped=True, token_valid=True, approval=Answer.YES)


@pytest.mark.parametrize("policies", list(itertools.permutations(Policy)))
def test_the_first_policy_that_admits_is_the_one_on_record(policies: tuple[Policy, ...]) -> None:
    admission = judge_admission(make_model(policies=policies), EVERYTHING)
    assert (admission.verdict, admission.policy) == (Verdict.ADMIT, policies[0])


@pytest.mark.parametrize(
    ("policies", "evidence", "policy"),
    [
        ((FACTORY, OPEN), Evidence(), OPEN),
        ((FACTORY, TOKEN), Evidence(token_valid=True), TOKEN),
        ((TOKEN, FACTORY), Evidence(token_valid=False, stamped=True), FACTORY),
        ((APPROVAL, TOKEN), Evidence(token_valid=True), TOKEN),
        ((TOKEN, APPROVAL), Evidence(approval=Answer.YES), APPROVAL),
    ],
)
def test_a_policy_that_does_not_admit_leaves_it_to_the_next(
    policies: tuple[Policy, ...], evidence: Evidence, policy: Policy
) -> None:
    assert judge_admission(make_model(policies=policies), evidence).policy is policy


@pytest.mark.parametrize("approval", [Answer.NOT_ASKED, Answer.WAITING])
def test_a_person_is_asked_when_no_other_policy_admits(approval: Answer) -> None:
    admission = judge_admission(make_model(policies=(FACTORY, APPROVAL, TOKEN)), Evidence(approval=approval))
    assert (admission.verdict, admission.policy) == (Verdict.ASK_PERSON, None)


@pytest.mark.parametrize("policies", [(APPROVAL,), (APPROVAL, TOKEN), (TOKEN, APPROVAL), (OPEN, APPROVAL)])
def test_a_no_of_a_person_counts_whatever_else_the_box_brings(policies: tuple[Policy, ...]) -> None:
    evidence = Evidence(stamped=True, token_valid=True, approval=Answer.NO)
    admission = judge_admission(make_model(policies=policies), evidence)
    assert (admission.verdict, admission.final, admission.reason) == (Verdict.REFUSE, True, "a person refused this box")


def test_a_box_without_what_the_model_wants_may_come_again_with_it() -> None:
    admission = judge_admission(make_model(policies=(FACTORY, TOKEN)), Evidence(token_valid=False))
    assert (admission.verdict, admission.final) == (Verdict.REFUSE, False)
    assert "stamped unit" in admission.reason
    assert "not one of this model's" in admission.reason


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        (Answer.NOT_ASKED, Verdict.ASK_WEBHOOK),
        (Answer.WAITING, Verdict.ASK_WEBHOOK),
        (Answer.YES, Verdict.ADMIT),
        (Answer.NO, Verdict.REFUSE),
    ],
)
@pytest.mark.parametrize("policy", Policy)
def test_the_webhook_is_asked_about_every_box_that_a_policy_admitted(
    policy: Policy, answer: Answer, verdict: Verdict
) -> None:
    evidence = Evidence(stamped=True, token_valid=True, approval=Answer.YES, webhook=answer)
    admission = judge_admission(make_model(policies=(policy,), webhook=True), evidence)
    assert (admission.verdict, admission.policy) == (verdict, policy)
    assert admission.final is (answer is Answer.NO)


@pytest.mark.parametrize("webhook", Answer)
def test_no_webhook_admits_a_box_that_no_policy_does(webhook: Answer) -> None:
    admission = judge_admission(make_model(policies=(TOKEN,), webhook=True), Evidence(webhook=webhook))
    assert admission.verdict is Verdict.REFUSE
