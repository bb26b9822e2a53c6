"""Approval through the real API: a box waits, a person types what the box shows, the box asks again."""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from otscert.domain import pairing_code, setup_code
from otscert.domain.admission import Answer, Policy
from otscert.domain.quota import Quota
from otscert.domain.unit import Unit, UnitState
from otscert.service import approval, housekeeping
from otscert.service.approval import Confirmer, Missed, Place
from otscert.service.waiting import CODE_LIFE_S, WAITING_S
from otscert.store.requests import AdmissionRequest
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.factory import Factory
from tests.harness.box import Box, Reply
from tests.harness.hq import DAY_S, default_models, make_model
from tests.harness.scene import Scene, assert_says

StartScene = Callable[..., Awaitable[Scene]]  # the fixture of conftest.py, which cannot be imported
MODELS = default_models() | {
    "asking": make_model("asking", policies=(Policy.APPROVAL,)),
    "few": make_model("few", policies=(Policy.APPROVAL,), waiting_per_address=Quota(count=2, period_s=DAY_S)),
}


@pytest.fixture
async def asking(start: StartScene) -> Scene:
    return await start(models=MODELS)


async def waiting(scene: Scene, model: str = "asking", **changes: Any) -> tuple[Box, str]:
    """A box that was told to wait, and the code that it shows."""
    box = scene.box(model=model)
    await box.hello(**changes)
    return box, code_of(await box.enroll())


def code_of(reply: Reply) -> str:
    assert (reply.status, reply.typ, reply.signed) == (202, "otscert-v1-pending", True), reply.message
    return str(reply.message["pairing_code"])


def who(scene: Scene, account: str = "ann", address: str | None = None) -> Confirmer:
    return Confirmer(account=account, address=address, now_s=scene.hq.hq.now_s())


async def find(scene: Scene, code: str, confirmer: Confirmer) -> AdmissionRequest | Missed:
    """What the command line does: look at the tries first, which writes nothing."""
    missed = await scene.hq.store.read(lambda transaction: approval.may_try(transaction, confirmer))
    if missed is not None:
        return missed
    secret = scene.hq.hq.secret
    return await scene.hq.store.write(
        lambda transaction: approval.find_by_pairing_code(transaction, code, confirmer, secret=secret)
    )


async def decide(scene: Scene, code: str, answer: Answer) -> AdmissionRequest | Missed:
    confirmer = who(scene)
    found = await find(scene, code, confirmer)
    assert isinstance(found, AdmissionRequest)
    return await scene.hq.store.write(lambda transaction: approval.decide(transaction, found, answer, confirmer))


def reason(found: AdmissionRequest | Missed) -> str:
    assert isinstance(found, Missed)
    return found.reason


async def wrong_codes(scene: Scene) -> int:
    """How many codes were counted against somebody."""
    ((number,),) = await scene.hq.rows("SELECT count(*) FROM event WHERE kind = 'admission.wrong_code'")
    return int(number)


def wrong(code: str) -> str:
    return code[:-1] + ("A" if code[-1] != "A" else "B")


async def test_a_box_waits_shows_a_code_and_is_admitted_once_a_person_typed_it(asking: Scene) -> None:
    box, code = await waiting(asking)
    assert box.challenge["asks"] == ["approval"]
    assert pairing_code.parse(code) == code
    assert await asking.hq.count("device") == await asking.hq.count("cert_order") == 0
    again = await box.enroll()
    assert code_of(again) == code
    assert again.message["retry_after_s"] == 5
    assert isinstance(await decide(asking, code, Answer.YES), AdmissionRequest)
    (await box.enroll()).granted()
    assert await asking.hq.rows("SELECT policy FROM device") == [("approval",)]
    assert await asking.hq.count("admission_request") == 0
    assert await asking.hq.event_kinds() == ["admission.approved", "device.admitted"]


async def test_a_refused_box_is_told_so_for_good_however_often_it_asks(asking: Scene) -> None:
    box, code = await waiting(asking)
    await decide(asking, code, Answer.NO)
    for _ in range(3):  # the first answers may have been lost
        reply = await box.enroll()
        assert (reply.status, reply.typ) == (403, "otscert-v1-refused")
        assert (reply.message["final"], reply.message["reason"]) == (True, "a person refused this box")
    assert await asking.hq.count("device") == 0


async def test_a_decision_outlives_a_kill_before_the_box_has_heard_of_it(start: StartScene) -> None:
    scene = await start(models=MODELS)
    (yes, yes_code), (no, no_code) = await waiting(scene), await waiting(scene)
    await decide(scene, yes_code, Answer.YES)
    await decide(scene, no_code, Answer.NO)
    # The database as a kill -9 leaves it: WAL and all, without anything of this process.
    rows = await scene.hq.rows("SELECT approval, code_hash, code_sealed FROM admission_request ORDER BY approval")
    assert rows == [("no", None, None), ("yes", None, None)]
    (await yes.enroll()).granted()
    (await yes.enroll()).granted()  # the answer was lost, the same enrolment again
    assert (await no.enroll()).message["final"] is True


async def test_a_code_is_understood_in_lower_case_with_hyphens_and_misread_letters(asking: Scene) -> None:
    _, code = await waiting(asking)
    typed = f" {code[:4].lower()}-{code[4:]}".replace("O", "0").replace("I", "1").replace("b", "8")
    assert isinstance(await find(asking, typed, who(asking)), AdmissionRequest)


async def test_a_code_is_used_once(asking: Scene) -> None:
    _, code = await waiting(asking)
    await decide(asking, code, Answer.YES)
    for _ in range(approval.TRIES.count + 2):  # and typing it again is no guess
        said = reason(await find(asking, code, who(asking)))
        assert said.startswith("the box that showed this code was approved already, ")
        assert said.endswith(" s ago, by ann: it is let in when it asks again")
    _, refused = await waiting(asking)
    await decide(asking, refused, Answer.NO)
    asking.hq.clock.ahead_s = 130
    assert "was refused already, 2 min ago, by ann" in reason(await find(asking, refused, who(asking)))
    assert await wrong_codes(asking) == 0


async def test_two_people_who_decide_at_the_same_time_do_not_overrule_each_other(asking: Scene) -> None:
    box, code = await waiting(asking)
    ann, bob = who(asking), who(asking, "bob")
    found, same = await find(asking, code, ann), await find(asking, code, bob)
    assert isinstance(found, AdmissionRequest)
    assert isinstance(same, AdmissionRequest)
    await asking.hq.store.write(lambda transaction: approval.decide(transaction, found, Answer.NO, ann))
    late = await asking.hq.store.write(lambda transaction: approval.decide(transaction, same, Answer.YES, bob))
    assert late == Missed(reason="the box was refused by ann meanwhile")
    assert (await box.enroll()).message["final"] is True


async def test_a_code_ends_after_a_quarter_of_an_hour_and_the_box_shows_a_new_one(asking: Scene) -> None:
    box, code = await waiting(asking)
    asking.hq.clock.ahead_s = CODE_LIFE_S + 1
    for _ in range(approval.TRIES.count + 1):
        assert "that code has ended" in reason(await find(asking, code, who(asking)))
    reply = await box.enroll()
    fresh = code_of(reply)
    assert fresh != code
    for _ in range(approval.TRIES.count + 1):
        assert "the box shows another one by now" in reason(await find(asking, code, who(asking)))
    assert await wrong_codes(asking) == 0
    assert reply.message["retry_after_s"] == 60
    assert isinstance(await decide(asking, fresh, Answer.YES), AdmissionRequest)
    (await box.enroll()).granted()


async def test_ten_thousand_wrong_codes_are_refused_and_then_the_right_one_too(asking: Scene) -> None:
    box, code = await waiting(asking)
    begin_s = time.monotonic()
    for _ in range(10_000):
        guess = pairing_code.make(secrets.token_bytes(5))
        assert guess == code or isinstance(await find(asking, guess, who(asking)), Missed)
    assert time.monotonic() - begin_s < 20  # a bound for a busy machine: it takes about one second
    refused = await find(asking, code, who(asking))
    assert isinstance(refused, Missed)
    assert "too many wrong codes: 5 in 15 min" in refused.reason
    assert 0 < refused.retry_after_s <= CODE_LIFE_S / 5
    # Another account is not locked out by it, and this one gets a try back after a while.
    assert isinstance(await find(asking, code, who(asking, "bob")), AdmissionRequest)
    asking.hq.clock.ahead_s = CODE_LIFE_S // 5 + 1
    assert isinstance(await find(asking, code, who(asking)), AdmissionRequest)
    assert await wrong_codes(asking) == 5
    assert code_of(await box.enroll()) == code


@pytest.mark.parametrize("typed", ["", "SN-0042", "K7QM-2XW", "K7QM-2XWDA", "K7QM-2XW9"])
async def test_what_cannot_be_a_code_costs_no_tries(asking: Scene, typed: str) -> None:
    _, code = await waiting(asking)
    for _ in range(approval.TRIES.count + 1):
        assert "this is no pairing code: one has 8 characters" in reason(await find(asking, typed, who(asking)))
    assert await wrong_codes(asking) == 0
    assert isinstance(await find(asking, code, who(asking)), AdmissionRequest)


async def test_right_codes_cost_no_tries(asking: Scene) -> None:
    for _ in range(approval.TRIES.count + 3):
        _, code = await waiting(asking)
        assert isinstance(await decide(asking, code, Answer.YES), AdmissionRequest)


@pytest.mark.parametrize(
    "addresses",
    [["198.51.100.7"] * 6, [f"2001:db8:1:2::{number}" for number in range(6)]],
    ids=["IPv4", "one IPv6 network"],
)
async def test_one_address_has_five_tries_for_all_its_accounts(asking: Scene, addresses: list[str]) -> None:
    _, code = await waiting(asking)
    for number, address in enumerate(addresses[:5]):
        missed = await find(asking, wrong(code), who(asking, f"account-{number}", address))
        assert isinstance(missed, Missed)
        assert "too many" not in missed.reason
    last = await find(asking, code, who(asking, "another", addresses[5]))
    assert isinstance(last, Missed)
    assert "too many wrong codes" in last.reason
    assert isinstance(await find(asking, code, who(asking, "another", "203.0.113.9")), AdmissionRequest)


@pytest.mark.parametrize(
    ("box_at", "person_at", "expected"),
    [
        ("198.51.100.7", "198.51.100.7", Place.SAME),
        ("198.51.100.7", "198.51.100.8", Place.OTHER),
        ("2001:db8:1:2::/64", "2001:db8:1:2::99", Place.SAME),
        ("2001:db8:1:2::/64", "2001:db8:1:3::99", Place.OTHER),
        ("2001:db8:1:2::/64", "198.51.100.7", Place.UNKNOWN),
        ("198.51.100.7", None, Place.UNKNOWN),
        ("testclient", "198.51.100.7", Place.UNKNOWN),
    ],
)
async def test_the_persons_address_is_compared_with_the_boxs(
    asking: Scene, box_at: str, person_at: str | None, expected: Place
) -> None:
    _, code = await waiting(asking)
    found = await find(asking, code, who(asking))
    assert isinstance(found, AdmissionRequest)
    assert found.address == "127.0.0.1"
    moved = AdmissionRequest(
        **{name: getattr(found, name) for name in AdmissionRequest.__slots__} | {"address": box_at}
    )
    assert approval.place(moved, who(asking, address=person_at)) is expected


async def test_only_so_many_boxes_of_one_address_may_wait(start: StartScene) -> None:
    scene = await start(models=MODELS)
    first, _ = await waiting(scene, "few")
    await waiting(scene, "few")
    box = scene.box(model="few")
    await box.hello()
    before = await scene.rows()
    reply = await box.enroll()
    assert_says(reply, 429, "2 boxes of model few at this address have asked for a decision lately")
    assert await scene.rows() == before
    code_of(await first.enroll())  # who waits already goes on waiting
    await waiting(scene)  # and another model has its own


async def test_a_box_that_waits_for_hours_is_not_forgotten_and_one_that_left_is(asking: Scene) -> None:
    patient, _ = await waiting(asking)
    await waiting(asking)
    for _ in range(5):
        asking.hq.clock.ahead_s += WAITING_S // 3
        await housekeeping.sweep(asking.hq.hq, asking.hq.store)
        code = code_of(await patient.enroll(introduce=False))  # HQ still knows its key, too
    assert await asking.hq.count("admission_request") == 1
    await decide(asking, code, Answer.YES)
    (await patient.enroll()).granted()


# ---- setup codes

SECRET = Factory.from_bytes(bytes(range(32)))


async def stamp(scene: Scene, *, serial: str = "SN-7") -> tuple[Unit, str]:
    """A unit of a manifest, and the code on its label."""
    code = setup_code.make(secrets.token_bytes(setup_code.RANDOM_BYTES))
    unit = Unit(
        thumbprint=SECRET.signer().public.thumbprint(),
        model="asking",
        serial=serial,
        short_id="7KQ2M",
        sign_key=SECRET.signer().public.raw,
        seal_key=SECRET.seal_public,
        setup_hash=setup_code.hash_code(code, model="asking", serial=serial),
        batch="first",
        state=UnitState.STAMPED,
        device_id=None,
        fingerprint=None,
    )
    await scene.hq.store.write(lambda transaction: transaction.units.add_many([unit], now_s=1))
    return unit, code


async def stamped_box(scene: Scene) -> tuple[Box, Reply]:
    box = scene.box(model="asking", hello_key=SECRET.signer())
    hello = box.hello_message(report={"source": "jitter", "crng": "ready", "used": ["factory"]})
    body = box.sign(box.hello_key, messages.Hello.TYP, messages.PATH_HELLO, hello, introduce=True)
    box.challenge = (await box.post(messages.PATH_HELLO, body)).message
    box.r = SECRET.open(
        b64.decode(box.challenge["contribution"]["sealed"]),
        txid=b64.decode(box.challenge["txid"]),
        hello_digest=jws.parse(body).digest(),
    )
    return box, await box.enroll()


async def by_label(scene: Scene, unit: Unit | None, typed: str, confirmer: Confirmer) -> AdmissionRequest | Missed:
    right = unit is not None and setup_code.matches(
        typed, model=unit.model, serial=unit.serial, setup_hash=unit.setup_hash
    )
    return await scene.hq.store.write(
        lambda transaction: approval.find_by_setup_code(transaction, unit, confirmer, right=right)
    )


async def test_the_label_of_a_stamped_unit_approves_it(asking: Scene) -> None:
    unit, label = await stamp(asking)
    box, reply = await stamped_box(asking)
    assert code_of(reply)
    confirmer = who(asking)
    found = await by_label(asking, unit, setup_code.shown(label).lower(), confirmer)
    assert isinstance(found, AdmissionRequest)
    assert found.serial == "SN-7"
    await asking.hq.store.write(lambda transaction: approval.decide(transaction, found, Answer.YES, confirmer))
    (await box.enroll()).granted()
    assert await asking.hq.rows("SELECT policy, contribution, serial FROM device") == [("approval", "sealed", "SN-7")]


async def test_a_box_that_only_says_the_units_serial_number_is_not_approved_by_its_label(asking: Scene) -> None:
    unit, label = await stamp(asking)
    liar, _ = await waiting(asking, serial="SN-7")
    missed = await by_label(asking, unit, label, who(asking))
    assert isinstance(missed, Missed)
    assert "the code is right, but unit SN-7 is not waiting" in missed.reason
    code_of(await liar.enroll())


async def test_wrong_setup_codes_and_unknown_units_sound_alike_and_cost_tries(asking: Scene) -> None:
    unit, label = await stamp(asking)
    await stamped_box(asking)
    heard = {
        (await by_label(asking, *pair, who(asking))).reason  # type: ignore[union-attr]  # every one of them is missed
        for pair in [(unit, wrong(label)), (None, label), (unit, ""), (unit, "no code at all"), (unit, wrong(label))]
    }
    await by_label(asking, unit, wrong(label), who(asking))
    assert heard == {"the setup code is not the one on the label of such a unit"}
    last = await by_label(asking, unit, label, who(asking))
    assert isinstance(last, Missed)
    assert "too many wrong codes" in last.reason
    assert isinstance(await by_label(asking, unit, label, who(asking, "bob")), AdmissionRequest)


async def test_wrong_codes_of_one_kind_or_one_unit_lock_no_other(asking: Scene) -> None:
    unit, label = await stamp(asking)
    await stamped_box(asking)
    _, code = await waiting(asking)
    ann = who(asking, address="198.51.100.7")
    for _ in range(approval.TRIES.count + 1):
        await find(asking, wrong(code), ann)
    assert "too many" in reason(await find(asking, code, ann))
    assert isinstance(await by_label(asking, unit, label, ann), AdmissionRequest)
    other = replace(unit, serial="SN-8", thumbprint="other")
    for _ in range(approval.TRIES.count + 1):
        await by_label(asking, other, wrong(label), ann)
    assert "too many" in reason(await by_label(asking, other, label, ann))
    assert isinstance(await by_label(asking, unit, label, ann), AdmissionRequest)
    # A unit of another model with the same serial number is guessed at with the same tries.
    twin = replace(unit, model="few", thumbprint="twin")
    for _ in range(approval.TRIES.count):
        await by_label(asking, twin, wrong(label), ann)
    assert "too many" in reason(await by_label(asking, unit, label, ann))
