"""Who may speak for HQ, and when: pure rules on certificates, no clock anywhere."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pytest
from agent.tests.harness import certificates as pki
from cryptography import x509

from otscert_agent import trust
from otscert_agent.errors import ConfigError, UntrustedError
from otscert_agent.state import HqMemory

ROOT = pki.make_root()
PINS = trust.Pins.parse(ROOT.pem)
TIME = int(pki.NOW.timestamp())
BUILD = TIME - 30 * 86400
YEAR = 365 * pki.DAY


def check(*chain: pki.KeyPair, pins: trust.Pins = PINS, time: int = TIME, **memory: int) -> HqMemory:
    return trust.check_answer_chain(
        [pair.certificate for pair in chain], pins, time=time, memory=HqMemory(**memory), build_epoch=BUILD
    )


def test_an_answer_certificate_under_the_pin_is_accepted_and_raises_the_floor() -> None:
    memory = check(pki.answer_leaf(ROOT, generation=3))
    assert memory == HqMemory(floor=int((pki.NOW - pki.DAY).timestamp()), answer_generation=3)


def test_the_time_itself_never_raises_the_floor() -> None:
    late = int((pki.NOW + 300 * pki.DAY).timestamp())
    assert check(pki.answer_leaf(ROOT), time=late).floor == int((pki.NOW - pki.DAY).timestamp())


def test_a_foreign_root_of_the_same_name_is_refused() -> None:
    foreign = pki.make_root()
    with pytest.raises(UntrustedError, match="pinned root"):
        check(pki.answer_leaf(foreign))


def test_the_next_root_is_as_good_as_the_current_one() -> None:
    following = pki.make_root("next")
    pins = trust.Pins.parse(ROOT.pem + following.pem)
    assert check(pki.answer_leaf(following), pins=pins).answer_generation == 1


def rotated() -> tuple[pki.KeyPair, pki.KeyPair, pki.KeyPair, pki.KeyPair]:
    """An old root, the next one, the old one's word for it, and an answer certificate of the next one."""
    old, following = pki.make_root("old", path_length=1), pki.make_root("next")
    return old, following, pki.make_cross(old, following), pki.answer_leaf(following)


@pytest.mark.parametrize("pinned", ["old", "next", "both", "both, the next one first"])
def test_while_a_root_is_rotated_old_and_new_firmware_believe_the_same_chain(pinned: str) -> None:
    old, following, cross, answer = rotated()
    pem = {
        "old": old.pem,
        "next": following.pem,
        "both": old.pem + following.pem,
        "both, the next one first": following.pem + old.pem,
    }[pinned]
    assert check(answer, cross, pins=trust.Pins.parse(pem)).answer_generation == 1


def test_without_the_old_roots_word_old_firmware_refuses_the_next_root() -> None:
    old, following, cross, answer = rotated()
    for chain in ([answer], [cross, answer], [answer, pki.make_cross(pki.make_root("old"), following)]):
        with pytest.raises(UntrustedError):
            check(*chain, pins=trust.Pins.parse(old.pem))


def test_an_old_root_that_may_sign_leaves_only_vouches_for_no_other_root() -> None:
    old, following = pki.make_root("old", path_length=0), pki.make_root("next")
    chain = [pki.answer_leaf(following), pki.make_cross(old, following)]
    with pytest.raises(UntrustedError, match="may not issue"):
        check(*chain, pins=trust.Pins.parse(old.pem))
    # A pin that leads nowhere does not spoil the other.
    assert check(*chain, pins=trust.Pins.parse(old.pem + following.pem)).answer_generation == 1


def test_what_follows_the_pinned_part_of_a_chain_is_for_other_boxes() -> None:
    old, following, cross, answer = rotated()
    others = pki.make_leaf(
        old, usages=[pki.SERVER_AUTH], ca=True, not_before=pki.NOW + YEAR, not_after=pki.NOW + 2 * YEAR
    )
    pins = trust.Pins.parse(following.pem)
    later = check(answer, cross, others, pins=pins)
    assert later == check(answer, pins=pins)


def test_the_tls_leaf_cannot_sign_answers_and_the_answer_leaf_cannot_serve_tls() -> None:
    with pytest.raises(UntrustedError, match="another purpose"):
        check(pki.tls_leaf(ROOT))
    with pytest.raises(UntrustedError, match="another purpose"):
        trust.check_tls_leaf(pki.answer_leaf(ROOT).certificate, HqMemory(), BUILD)


@pytest.mark.parametrize(
    ("leaf", "why"),
    [
        ({"usages": [pki.EKU_ANSWER], "critical": False}, "another purpose"),
        ({"usages": [pki.EKU_ANSWER, pki.SERVER_AUTH], "critical": True}, "another purpose"),
        ({"usages": [pki.EKU_ANSWER], "critical": True, "generation": None}, "no generation"),
        (
            {
                "usages": [pki.EKU_ANSWER],
                "critical": True,
                "extra": x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\x00"),
            },
            "unknown critical",
        ),
    ],
)
def test_a_leaf_that_is_not_exactly_an_answer_certificate_is_refused(leaf: dict[str, Any], why: str) -> None:
    with pytest.raises(UntrustedError, match=why):
        check(pki.make_leaf(ROOT, **leaf))


def test_a_leaf_may_not_issue_another_leaf() -> None:
    middle = pki.tls_leaf(ROOT)
    stolen = pki.answer_leaf(pki.KeyPair(key=middle.key, certificate=middle.certificate))
    with pytest.raises(UntrustedError, match="may not issue"):
        check(stolen, middle)


def test_a_pinned_certificate_that_is_no_ca_pins_nothing() -> None:
    root = pki.make_root(ca=False)
    with pytest.raises(UntrustedError, match="may not issue"):
        check(pki.answer_leaf(root), pins=trust.Pins.parse(root.pem))


def test_a_path_longer_than_the_root_allows_is_refused() -> None:
    middle = pki.make_leaf(ROOT, usages=[pki.SERVER_AUTH], ca=True)
    with pytest.raises(UntrustedError, match="may not issue"):
        check(pki.answer_leaf(middle), middle)


@pytest.mark.parametrize("what", ["duplicate extension", "garbled extension", "unknown curve"])
def test_a_certificate_that_raises_when_it_is_read_is_refused_like_a_foreign_one(what: str) -> None:
    answer = pki.unreadable(pki.answer_leaf(ROOT))[what]
    middle = pki.unreadable(pki.tls_leaf(ROOT))["unknown curve"]
    for chain in ([answer], [pki.answer_leaf(pki.make_root()).certificate, middle]):
        with pytest.raises(UntrustedError):
            trust.check_answer_chain(chain, PINS, time=TIME, memory=HqMemory(), build_epoch=BUILD)


@pytest.mark.parametrize("what", ["duplicate extension", "garbled extension"])
def test_a_tls_leaf_that_raises_when_it_is_read_is_refused(what: str) -> None:
    with pytest.raises(UntrustedError, match="cannot be read"):
        trust.check_tls_leaf(pki.unreadable(pki.tls_leaf(ROOT))[what], HqMemory(), BUILD)


def test_an_empty_chain_is_refused() -> None:
    with pytest.raises(UntrustedError, match="no certificate"):
        check()


def test_a_lower_generation_than_the_highest_seen_is_refused() -> None:
    with pytest.raises(UntrustedError, match="generation 4, 5 was seen"):
        check(pki.answer_leaf(ROOT, generation=4), answer_generation=5)
    with pytest.raises(UntrustedError, match="generation 4, 5 was seen"):
        trust.check_tls_leaf(pki.tls_leaf(ROOT, generation=4).certificate, HqMemory(tls_generation=5), BUILD)
    assert check(pki.answer_leaf(ROOT, generation=5), answer_generation=5, tls_generation=9).answer_generation == 5


@pytest.mark.parametrize("days", [-2, 366])
def test_a_time_outside_the_answer_certificate_is_refused(days: int) -> None:
    with pytest.raises(UntrustedError, match="outside the validity"):
        check(pki.answer_leaf(ROOT), time=int((pki.NOW + days * pki.DAY).timestamp()))


def test_a_time_before_the_build_of_the_firmware_is_refused() -> None:
    old = pki.answer_leaf(ROOT, not_before=pki.NOW - 2 * YEAR)
    with pytest.raises(UntrustedError, match="before the floor"):
        check(old, time=BUILD - 1)
    assert check(old, time=BUILD).floor == BUILD


def test_a_certificate_that_expired_before_the_build_is_refused() -> None:
    old = pki.answer_leaf(ROOT, not_before=pki.NOW - 2 * YEAR, not_after=pki.NOW - YEAR)
    with pytest.raises(UntrustedError, match="had expired"):
        check(old, time=int((pki.NOW - YEAR - pki.DAY).timestamp()))


def test_one_wrong_date_of_hq_does_not_brick_the_box() -> None:
    future = dt.datetime(2040, 1, 1, tzinfo=dt.UTC)
    wrong = pki.answer_leaf(ROOT, generation=2, not_before=future, not_after=future + YEAR)
    memory = check(wrong, time=int((future + pki.DAY).timestamp()))
    assert memory.floor == int(future.timestamp())
    mended = pki.answer_leaf(ROOT, generation=3)
    with pytest.raises(UntrustedError, match="had expired before the floor"):
        check(mended, floor=memory.floor, answer_generation=2, deaf_s=trust.DEAF_LIMIT_S - 1)
    healed = check(mended, floor=memory.floor, answer_generation=2, deaf_s=trust.DEAF_LIMIT_S)
    assert healed == HqMemory(floor=int((pki.NOW - pki.DAY).timestamp()), answer_generation=3, deaf_s=0)


def test_pins_that_are_no_certificates_or_too_many_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match="no PEM certificate"):
        trust.Pins.parse(b"nothing")
    with pytest.raises(ConfigError, match="holds 3"):
        trust.Pins.parse(ROOT.pem * 3)
