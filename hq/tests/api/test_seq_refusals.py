"""`seq` at the device API: once, again, too late, twice."""

from __future__ import annotations

import asyncio

from otscert_agent.wire.messages import PATH_CHECKIN, PATH_ENROLL, PATH_HELLO, CheckIn, Hello
from otscert_agent.wire.problems import ProblemType
from tests.harness.scene import Scene, assert_says


async def test_a_lower_seq_is_told_the_last_one(scene: Scene) -> None:
    box = scene.box()
    await box.hello(header={"seq": 41})
    reply = await box.hello(header={"seq": 40})
    assert_says(reply, 409, "seq 40 is below the last accepted one, 41")
    assert (reply.problem, reply.message["last_seq"], reply.signed) == (ProblemType.STALE_SEQ, 41, True)


async def test_the_same_seq_with_another_body_is_a_conflict(scene: Scene) -> None:
    box = scene.box()
    await box.hello(header={"seq": 7})
    reply = await box.hello(header={"seq": 7})
    assert_says(reply, 409, "seq 7 was already used for another message")
    assert (reply.problem, reply.message["last_seq"]) == (ProblemType.SEQ_CONFLICT, 7)


async def test_the_same_bytes_get_the_same_bytes_and_nothing_happens_twice(scene: Scene) -> None:
    box = scene.box()
    await box.hello()
    enrolment = box.sign_enroll()
    granted = await box.post(PATH_ENROLL, enrolment)
    rows = await scene.rows()
    assert (await box.post(PATH_ENROLL, enrolment)).body == granted.body
    assert await scene.rows() == rows


async def test_a_repeated_refusal_of_a_known_key_is_the_stored_one(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    message = box.checkin_message(firmware="x" * 201)
    body = box.sign(box.identity, CheckIn.TYP, PATH_CHECKIN, message)
    first = await box.post(PATH_CHECKIN, body)
    assert_says(first, 400, "longer than 200")
    assert (await box.post(PATH_CHECKIN, body)).body == first.body


async def test_the_same_bytes_at_once_get_one_answer(scene: Scene) -> None:
    box = scene.box()
    body = box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(), introduce=True)
    box.take_challenge(await box.post(PATH_HELLO, body))
    enrolment = box.sign_enroll()
    replies = await asyncio.gather(*(box.post(PATH_ENROLL, enrolment) for _ in range(20)))
    assert len({reply.body for reply in replies}) == 1
    replies[0].granted()
    assert (await scene.hq.count("device"), await scene.hq.count("cert_order")) == (1, 1)


async def test_a_refused_first_message_does_not_use_up_its_seq(scene: Scene) -> None:
    box = scene.box()
    reply = await box.hello(model="no-such-model", header={"seq": 5})
    assert_says(reply, 404, "no-such-model")
    again = await box.hello(header={"seq": 5})
    assert again.typ == "otscert-v1-challenge"


async def test_twins_that_send_the_same_hello_get_another_r_and_both_are_admitted(scene: Scene) -> None:
    """A cloned image without entropy: two boxes say the same bytes, and must not end with one key."""
    first, second = scene.box(), scene.box()
    body = first.sign(first.hello_key, Hello.TYP, PATH_HELLO, first.hello_message(), introduce=True)
    second.hello_key, second.d0 = first.hello_key, first.d0
    first.take_challenge(await first.post(PATH_HELLO, body))
    second.take_challenge(await second.post(PATH_HELLO, body))
    one, other = (await first.enroll()).granted(), (await second.enroll()).granted()
    assert one["device_id"] != other["device_id"]
    assert set(one["names"]).isdisjoint(other["names"])
    keys = await scene.hq.rows("SELECT count(DISTINCT spki_sha256), count(*) FROM verified_key")
    assert keys == [(4, 4)]  # two certificates' keys and two identities
    assert await scene.hq.rows("SELECT last_answer FROM device_key WHERE device_id IS NULL") == [(None,)]


async def test_one_key_does_not_use_up_the_seq_of_another(scene: Scene) -> None:
    await scene.box().hello(header={"seq": 2**53 - 1})
    assert (await scene.box().hello(header={"seq": 1})).typ == "otscert-v1-challenge"


async def test_an_enrolment_of_one_identity_for_two_hellos_at_once_is_one_device(scene: Scene) -> None:
    """Both were verified before either was admitted."""
    first = scene.box()
    second = scene.box(identity=first.identity, seqs=first.seqs)
    await first.hello()
    await second.hello()
    bodies = [first.sign_enroll(), second.sign_enroll()]
    replies = await asyncio.gather(*(first.post(PATH_ENROLL, body) for body in bodies))
    assert sorted(reply.status for reply in replies) in ([200, 400], [200, 409])
    assert all(reply.signed for reply in replies)
    assert await scene.hq.count("device") == 1
