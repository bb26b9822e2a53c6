"""The smaller decisions: seq, renewal, names, admission, standing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hq.tests.store.rows import device
from hypothesis import given
from hypothesis import strategies as st

from otscert.domain.addresses import DEFAULT_POLICY
from otscert.domain.admission import Answer, Evidence, Model, Naming, Policy, Verdict, asks, judge_admission
from otscert.domain.assurance import Contribution, Source
from otscert.domain.device import MAX_UNSERVED, DeviceState, may_order
from otscert.domain.errors import DomainError
from otscert.domain.names import MAX_ZONE_LENGTH, RANDOM_BYTES, certificate_names, make_label, parse_zone
from otscert.domain.quota import Quota
from otscert.domain.renewal import judge_renewal
from otscert.domain.seq import SeqVerdict, judge_seq
from otscert.domain.words import ADJECTIVES, SURNAMES
from otscert.zones.computed import labelled_address
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

DAY_S = 86_400


@given(st.integers(0, 2**53), st.integers(1, 2**53), st.binary(max_size=2), st.binary(max_size=2))
def test_seq(last: int, seq: int, last_digest: bytes, digest: bytes) -> None:
    decision = judge_seq(last_seq=last, last_digest=last_digest, seq=seq, digest=digest)
    same = SeqVerdict.REPEAT if digest == last_digest else SeqVerdict.CONFLICT
    assert decision.verdict is (SeqVerdict.NEW if seq > last else SeqVerdict.STALE if seq < last else same)
    assert decision.reason


@pytest.mark.parametrize(
    ("life_days", "due_after_days"), [(90, 60), (45, 30), (47, 31.3333), (10, 6.6667), (9.99, 4.995), (6.6667, 3.3333)]
)
def test_renewal_is_due_with_a_third_left_or_half_of_a_short_life(life_days: float, due_after_days: float) -> None:
    life_s, due_s = round(life_days * DAY_S), round(due_after_days * DAY_S)
    early = judge_renewal(not_before_s=0, not_after_s=life_s, now_s=due_s - 60)
    late = judge_renewal(not_before_s=0, not_after_s=life_s, now_s=due_s + 60)
    assert (early.due, late.due) == (False, True)
    assert abs(early.at_s - due_s) <= 5


def test_a_six_day_certificate_is_renewed_after_three_days() -> None:
    decision = judge_renewal(not_before_s=0, not_after_s=160 * 3600, now_s=80 * 3600)
    assert (decision.due, decision.at_s) == (True, 80 * 3600)
    assert "half" in decision.reason


def test_an_expired_certificate_is_due_and_called_so() -> None:
    decision = judge_renewal(not_before_s=0, not_after_s=100, now_s=100)
    assert (decision.due, decision.reason) == (True, "the certificate has expired")


@given(st.sampled_from(Naming), st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES))
def test_a_label_is_a_plain_host_name_and_never_looks_like_an_address(naming: Naming, randomness: bytes) -> None:
    label = make_label(naming, randomness)
    zone_of_labels().activate(label, [], DEFAULT_POLICY)  # raises for what cannot be a box's
    assert label == label.lower()
    assert not label.startswith("xn--")
    assert label[2:4] != "--"
    assert labelled_address(label.encode()) is None
    assert len(label) == 16 if naming is Naming.OPAQUE else label.count("-") == 2


def zone_of_labels() -> Zone:
    return Zone(
        ZoneSettings(
            origin="boxes.example.com",
            name_servers=("ns.example.net",),
            contact="hostmaster.boxes.example.com",
            server_addresses={},
            first_serial=1,
        )
    )


@given(st.binary(min_size=RANDOM_BYTES, max_size=RANDOM_BYTES), st.integers(0, 8 * RANDOM_BYTES - 1))
def test_every_random_bit_of_an_opaque_label_counts(randomness: bytes, bit: int) -> None:
    flipped = (int.from_bytes(randomness, "big") ^ 1 << bit).to_bytes(RANDOM_BYTES, "big")
    assert make_label(Naming.OPAQUE, randomness) != make_label(Naming.OPAQUE, flipped)


def test_the_words_are_plain_and_each_is_there_once() -> None:
    for words in (ADJECTIVES, SURNAMES):
        assert len(set(words)) == len(words)
        assert all(word.isascii() and word.isalpha() and word.islower() and len(word) <= 15 for word in words)


def test_a_label_wants_exactly_its_randomness() -> None:
    with pytest.raises(ValueError, match="10 random bytes"):
        make_label(Naming.OPAQUE, bytes(9))


def test_a_certificate_is_for_the_name_and_the_names_below_it() -> None:
    assert certificate_names("a", "b.c") == ("a.b.c", "*.a.b.c")


@pytest.mark.parametrize(
    ("text", "zone"), [("boxes.example.com", "boxes.example.com"), (" Boxes.Example.COM. ", "boxes.example.com")]
)
def test_a_zone_is_read(text: str, zone: str) -> None:
    assert parse_zone(text) == zone


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            ".",
            "com",
            "a..b",
            "-a.example",
            "a-.example",
            "a_b.example",
            "bücher.example",
            "a b.c",
            "*.a.b",
            "a.b/c",
        ),
        *("x" * 64 + ".example", ".".join(["abcdefghi"] * 17)),
    ],
)
def test_what_is_no_zone_is_refused(text: str) -> None:
    with pytest.raises(DomainError, match="is not a DNS zone"):
        parse_zone(text)


def test_the_longest_zone_is_one_that_can_be_served() -> None:
    longest = ".".join(["abcdefghi"] * 15 + ["abcdef"])
    assert len(longest) == MAX_ZONE_LENGTH
    ZoneSettings(
        origin=parse_zone(longest),
        name_servers=("ns.example.net",),
        contact="h.example",
        server_addresses={},
        first_serial=1,
    )


def model(*policies: Policy, webhook: bool = False) -> Model:
    quota = Quota(count=1, period_s=1)
    return Model(
        name="box",
        policies=policies,
        addresses=DEFAULT_POLICY,
        naming=Naming.OPAQUE,
        static_address=True,
        admissions_per_address=quota,
        admissions_per_model=quota,
        admissions_per_token=quota,
        waiting_per_address=quota,
        min_contribution=Contribution.OPEN,
        min_source=Source.STARVED,
        rekey_after_s=0,
        allow_rsa=False,
        webhook=webhook,
        revoke_replaced=True,
    )


F, T, A, OPEN = Policy.FACTORY, Policy.TOKEN, Policy.APPROVAL, Policy.OPEN
YES, NO, WAITING = Answer.YES, Answer.NO, Answer.WAITING


@pytest.mark.parametrize(
    ("policies", "evidence", "verdict", "admitted_by"),
    [
        ((OPEN,), Evidence(), Verdict.ADMIT, OPEN),
        ((OPEN,), Evidence(token_valid=False), Verdict.ADMIT, OPEN),
        ((T,), Evidence(token_valid=True), Verdict.ADMIT, T),
        ((T,), Evidence(token_valid=False), Verdict.REFUSE, None),
        ((T,), Evidence(), Verdict.REFUSE, None),
        ((T, OPEN), Evidence(token_valid=True), Verdict.ADMIT, T),
        ((T, OPEN), Evidence(), Verdict.ADMIT, OPEN),
        ((OPEN, T), Evidence(token_valid=True), Verdict.ADMIT, OPEN),
        ((), Evidence(token_valid=True, stamped=True), Verdict.REFUSE, None),
        ((F,), Evidence(stamped=True), Verdict.ADMIT, F),
        ((F,), Evidence(token_valid=True), Verdict.REFUSE, None),
        ((T,), Evidence(stamped=True), Verdict.REFUSE, None),
        ((F, T), Evidence(token_valid=True), Verdict.ADMIT, T),
        ((F, T), Evidence(stamped=True, token_valid=True), Verdict.ADMIT, F),
        ((A,), Evidence(), Verdict.ASK_PERSON, None),
        ((A,), Evidence(approval=WAITING), Verdict.ASK_PERSON, None),
        ((A,), Evidence(approval=YES), Verdict.ADMIT, A),
        ((A,), Evidence(approval=NO), Verdict.REFUSE, None),
        ((F, A), Evidence(stamped=True), Verdict.ADMIT, F),
        ((F, A), Evidence(), Verdict.ASK_PERSON, None),
        ((A, F), Evidence(stamped=True), Verdict.ADMIT, F),
        ((T, A), Evidence(token_valid=False), Verdict.ASK_PERSON, None),
        ((A, T), Evidence(approval=NO, token_valid=True), Verdict.REFUSE, None),  # a person is obeyed
    ],
)
def test_policies_are_asked_in_order(
    policies: tuple[Policy, ...], evidence: Evidence, verdict: Verdict, admitted_by: Policy | None
) -> None:
    admission = judge_admission(model(*policies), evidence)
    assert (admission.verdict, admission.policy) == (verdict, admitted_by)
    assert admission.reason
    # A webhook is asked about nobody whom no policy admitted, and can only say no.
    asked = judge_admission(model(*policies, webhook=True), evidence)
    assert asked.verdict is (Verdict.ASK_WEBHOOK if verdict is Verdict.ADMIT else verdict)
    assert asked.policy is admitted_by


@pytest.mark.parametrize(
    ("webhook", "verdict", "final"),
    [
        (Answer.NOT_ASKED, Verdict.ASK_WEBHOOK, False),
        (WAITING, Verdict.ASK_WEBHOOK, False),
        (YES, Verdict.ADMIT, False),
        (NO, Verdict.REFUSE, True),
    ],
)
def test_the_webhook_decides_after_the_policies(webhook: Answer, verdict: Verdict, final: bool) -> None:  # noqa: FBT001 - pytest hands it over by name
    admission = judge_admission(model(F, webhook=True), Evidence(stamped=True, webhook=webhook))
    assert (admission.verdict, admission.final) == (verdict, final)
    assert judge_admission(model(F, webhook=True), Evidence(webhook=YES)).verdict is Verdict.REFUSE


@pytest.mark.parametrize(
    ("policies", "stamped", "asked"),
    [
        ((F,), True, ()),
        ((F,), False, ()),
        ((F, T, A), True, ()),
        ((F, T, A), False, ("token", "approval")),
        ((T, F), True, ("token",)),
        ((T, OPEN, A), False, ("token",)),
        ((OPEN, T), False, ()),
    ],
)
def test_a_box_is_told_what_it_will_be_asked_for(
    policies: tuple[Policy, ...],
    stamped: bool,  # noqa: FBT001 - pytest hands it over by name
    asked: tuple[str, ...],
) -> None:
    assert asks(model(*policies), stamped=stamped) == asked


def test_who_may_order() -> None:
    assert may_order(device()).allowed
    assert may_order(device(unserved=MAX_UNSERVED - 1)).allowed
    assert "never seen served" in may_order(device(unserved=MAX_UNSERVED)).reason
    frozen = may_order(replace(device(), state=DeviceState.FROZEN))
    assert (frozen.allowed, "otscert device rearm" in frozen.reason) == (False, True)
    for state in (DeviceState.QUARANTINED, DeviceState.RETIRED):
        assert not may_order(replace(device(), state=state)).allowed
