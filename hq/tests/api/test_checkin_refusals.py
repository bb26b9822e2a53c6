"""What check-ins and renewals can get wrong: the ratchet, identity, hardware."""

from __future__ import annotations

import json
import secrets

import pytest

from otscert_agent.wire import b64
from otscert_agent.wire.messages import PATH_CHECKIN, CheckIn
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import Box
from tests.harness.hq import DAY_S
from tests.harness.scene import Scene, assert_says, changed

ANSWER = CheckIn.TYP + "-answer"


async def admitted(scene: Scene) -> Box:
    box = scene.box()
    await box.admit()
    return box


async def test_the_hello_key_cannot_check_in(scene: Scene) -> None:
    box = await admitted(scene)
    reply = await box.check_in(signer=box.hello_key)
    assert_says(reply, 401, "not a device's identity; say hello")
    assert reply.problem is ProblemType.UNKNOWN_KEY
    assert (await box.check_in()).typ == ANSWER


async def test_the_hello_key_cannot_renew(scene: Scene) -> None:
    box = await admitted(scene)
    names = box.names
    # With the epoch token of its device it is still only a stranger: a new name, no way to the old one.
    reply = await box.hello(epoch_token=box.epoch_token)
    assert reply.message["names"] != names


async def test_the_transaction_of_a_renewal_is_the_identitys_alone(scene: Scene) -> None:
    box = await admitted(scene)
    await box.hello(signer=box.identity, epoch_token=box.epoch_token)
    thief = await admitted(scene)
    thief.challenge, thief.d0, thief.r = box.challenge, box.d0, box.r
    reply = await thief.enroll(epoch_token=box.epoch_token)
    assert_says(reply, 409, "this transaction belongs to another key")


async def test_a_check_in_repeated_after_a_lost_answer_gets_that_answer(scene: Scene) -> None:
    box = await admitted(scene)
    txid = b64.encode(secrets.token_bytes(16))
    lost = await box.check_in(txid=txid, keep=False)
    again = await box.check_in(txid=txid)
    assert again.message == lost.message
    assert (await box.check_in()).typ == ANSWER


async def test_an_older_token_gets_one_resync_then_the_fork_is_frozen(scene: Scene) -> None:
    box = await admitted(scene)
    copied = box.epoch_token
    await box.check_in()
    await box.check_in()
    clone = await box.check_in(epoch_token=copied, keep=False)
    assert clone.typ == ANSWER
    assert (await scene.hq.event_kinds()).count("device.resync") == 1
    reply = await box.check_in()
    assert_says(reply, 409, "two boxes share this identity", "HQ's operator decides")
    assert reply.problem is ProblemType.STALE_EPOCH
    assert (await scene.hq.rows("SELECT state FROM device"))[0] == ("frozen",)
    assert (await scene.hq.event_kinds()).count("clone.frozen") == 1
    # The branch that HQ follows may check in, but nobody gets another certificate.
    assert (await box.check_in(epoch_token=clone.message["epoch_token"])).typ == ANSWER
    await box.hello(signer=box.identity, epoch_token=box.epoch_token)
    renewal = await box.enroll(epoch_token=box.epoch_token)
    assert (renewal.status, renewal.typ) == (403, "otscert-v1-refused")
    assert "otscert device rearm" in renewal.message["reason"]


async def test_a_backup_may_be_restored_again_after_thirty_days(scene: Scene) -> None:
    box = await admitted(scene)
    old = box.epoch_token
    await box.check_in()
    assert (await box.check_in(epoch_token=old)).typ == ANSWER
    scene.hq.clock.ahead_s = 31 * DAY_S
    assert (await box.check_in(epoch_token=old)).typ == ANSWER


async def test_a_copy_on_other_hardware_starts_over(scene: Scene) -> None:
    box = await admitted(scene)
    reply = await box.check_in(hardware_fingerprint="another board", keep=False)
    assert_says(reply, 409, "copy of another box's state", "enrol as a new box")
    assert reply.problem is ProblemType.START_OVER
    assert "clone.seen" in await scene.hq.event_kinds()
    assert (await box.check_in()).typ == ANSWER


async def test_a_renewal_with_a_stale_epoch_token_is_refused(scene: Scene) -> None:
    box = await admitted(scene)
    stale = box.epoch_token
    await box.check_in()
    for token in (stale, None, "", "x"):
        reply = await box.hello(signer=box.identity, epoch_token=token)
        assert_says(reply, 409, "not the current one; check in first")
        assert reply.problem is ProblemType.STALE_EPOCH
    assert (await box.renew()).granted()


async def test_a_renewal_whose_token_grows_stale_in_between_is_refused(scene: Scene) -> None:
    box = await admitted(scene)
    stale = box.epoch_token
    await box.hello(signer=box.identity, epoch_token=stale)
    await box.check_in()
    assert (await box.enroll(epoch_token=stale)).problem is ProblemType.STALE_EPOCH
    (await box.enroll(epoch_token=box.epoch_token)).granted()


async def test_a_renewal_from_other_hardware_starts_over(scene: Scene) -> None:
    box = await admitted(scene)
    reply = await box.hello(signer=box.identity, epoch_token=box.epoch_token, hardware_fingerprint="another board")
    assert_says(reply, 409, "forget this identity and enrol as a new box")
    assert reply.problem is ProblemType.START_OVER
    assert "clone.seen" in await scene.hq.event_kinds()


async def test_a_renewal_of_another_model_starts_over(scene: Scene) -> None:
    box = await admitted(scene)
    reply = await box.hello(signer=box.identity, epoch_token=box.epoch_token, model="token-box")
    assert reply.problem is ProblemType.START_OVER


async def test_renewals_are_limited_and_the_first_certificate_counts(scene: Scene) -> None:
    box = await admitted(scene)
    for _ in range(3):
        (await box.renew()).granted()
    reply = await box.renew()
    assert (reply.status, reply.typ) == (403, "otscert-v1-refused")
    assert "already had 4 certificates lately" in reply.message["reason"]
    assert reply.message["retry_after_s"] > 0
    assert await scene.hq.count("cert_order") == 4


async def test_a_lost_answer_to_a_renewal_costs_one_order_only(scene: Scene) -> None:
    box = await admitted(scene)
    await box.hello(signer=box.identity, epoch_token=box.epoch_token)
    first = (await box.post("/device/v1/enroll", box.sign_enroll(epoch_token=box.epoch_token))).granted()
    second = (await box.enroll(epoch_token=box.epoch_token)).granted()
    assert first["order"] == second["order"]
    assert (await box.check_in()).typ == ANSWER


@pytest.mark.parametrize("address", ["8.8.8.8", "127.0.0.1", "169.254.169.254", "224.0.0.1", "::ffff:10.0.0.1"])
async def test_a_bad_address_is_not_taken_and_does_not_keep_the_box_from_renewing(scene: Scene, address: str) -> None:
    box = await admitted(scene)
    reply = await box.check_in(addresses=[address])
    assert reply.typ == ANSWER
    assert (await scene.hq.rows("SELECT addresses FROM device"))[0] == ("192.168.1.20",)
    ((data,),) = await scene.hq.rows("SELECT data FROM event WHERE kind = 'address.refused'")
    assert len(json.loads(data)["refused"]) == 1
    assert (await box.check_in()).typ == ANSWER


@pytest.mark.parametrize(
    ("member", "value", "words"),
    [
        ("txid", "", "txid is 0 bytes long, not 16"),
        ("txid", "x y", "txid is not base64url"),
        ("served_sha256", "f" * 63, "64 hexadecimal digits"),
        ("served_sha256", "\x1b[31m" + "f" * 59, "64 hexadecimal digits"),
        ("firmware", "x" * 201, "longer than 200"),
        ("addresses", "192.168.1.20", "payload.addresses is not a list"),
    ],
)
async def test_a_malformed_member_is_named(scene: Scene, member: str, value: str, words: str) -> None:
    box = await admitted(scene)
    assert_says(await box.check_in(**changed(member, value)), 400, words)
    assert (await box.check_in()).typ == ANSWER


async def test_an_empty_txid_does_not_bring_back_an_older_answer(scene: Scene) -> None:
    box = await admitted(scene)
    await box.check_in()
    previous = box.epoch_token
    (await box.renew()).granted()  # now `previous` is the previous token, and no check-in belongs to it
    body = box.sign(box.identity, CheckIn.TYP, PATH_CHECKIN, box.checkin_message(epoch_token=previous, txid=""))
    assert_says(await box.post(PATH_CHECKIN, body), 400, "txid")


async def test_an_old_enrolment_cannot_be_repeated_around_the_ratchet(scene: Scene) -> None:
    """A copy of the state from the first boot, after the box has checked in and renewed."""
    box = await admitted(scene)
    await box.check_in()
    first = box.challenge, box.d0, box.r
    assert (await box.renew()).typ == "otscert-v1-granted"
    box.challenge, box.d0, box.r = first
    assert (await box.enroll()).problem is ProblemType.UNKNOWN_TXID


async def test_a_box_that_moves_all_the_time_does_not_fill_the_disk(scene: Scene) -> None:
    box = await admitted(scene)
    for number in range(30):
        assert (await box.check_in(addresses=[f"192.168.1.{number + 1}"])).typ == ANSWER
    ((count,),) = await scene.hq.rows("SELECT count(*) FROM event WHERE kind = 'device.moved'")
    assert count == 20
    assert (await scene.hq.rows("SELECT addresses FROM device")) == [("192.168.1.30",)]
