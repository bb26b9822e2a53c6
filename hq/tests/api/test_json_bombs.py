"""Messages that want to hurt whoever parses them, unsigned and signed, in envelope, header and payload."""

from __future__ import annotations

import json

import pytest

from otscert_agent.wire import b64
from otscert_agent.wire.messages import PATH_CHECKIN, PATH_HELLO, CheckIn, Hello
from tests.harness.box import Box
from tests.harness.scene import Scene, assert_says, changed

DEEP = 20_000
BOMBS = {
    "nested lists": b"[" * DEEP + b"]" * DEEP,
    "nested objects": b'{"a":' * 9000 + b"1" + b"}" * 9000,
    "many digits": b'{"model":' + b"9" * 60_000 + b"}",
    "a member twice": b'{"model":"box","model":"box"}',
    "NaN": b'{"model":NaN}',
    "Infinity": b'{"model":-Infinity}',
    "not UTF-8": b'{"model":"\xff\xfe"}',
    "a list": b"[]",
    "a text": b'"hello"',
    "nothing": b"",
    "NUL octets": bytes(1000),
}
bombs = pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)


@bombs
async def test_as_the_message(scene: Scene, bomb: bytes) -> None:
    reply = await scene.box().post(PATH_HELLO, bomb)
    assert_says(reply, 400)
    assert not reply.signed


@bombs
async def test_as_the_protected_header(scene: Scene, bomb: bytes) -> None:
    if len(bomb) > 40_000:
        bomb = bomb[:20_000] + bomb[-20_000:]
    body = {"protected": b64.encode(bomb), "payload": "", "signature": ""}
    assert_says(await scene.box().post(PATH_HELLO, json.dumps(body).encode()), 400)


@bombs
async def test_as_a_signed_payload(scene: Scene, bomb: bytes) -> None:
    if len(bomb) > 40_000:
        bomb = bomb[:20_000] + bomb[-20_000:]
    box = scene.box()
    reply = await box.post(PATH_HELLO, box.sign(box.hello_key, Hello.TYP, PATH_HELLO, bomb, introduce=True))
    assert_says(reply, 400)
    assert reply.signed
    assert await scene.hq.count("device_key") == 0


@pytest.mark.parametrize("depth", [10, 200, 400, 600, 800, 900, 950, 980, 990, 1000, 5000])
@pytest.mark.parametrize("member", ["url", "kid", "typ", "seq"])
async def test_nesting_in_a_header_member(scene: Scene, member: str, depth: int) -> None:
    box = scene.box()
    header = {"alg": "Ed25519", "typ": Hello.TYP, "jwk": box.hello_key.public.jwk(), "url": "u", "seq": 1}
    text = json.dumps({**header, member: "HERE"}).replace('"HERE"', "[" * depth + "]" * depth)
    body = {"protected": b64.encode(text.encode()), "payload": "", "signature": ""}
    reply = await box.post(PATH_HELLO, json.dumps(body).encode())
    assert reply.status in {400, 401}, reply.message


@pytest.mark.parametrize("depth", [100, 500, 800, 900, 950, 980, 990])
async def test_nesting_in_an_unknown_member_of_a_signed_payload(scene: Scene, depth: int) -> None:
    box = scene.box()
    text = json.dumps(box.hello_message(later="HERE")).replace('"HERE"', "[" * depth + "]" * depth)
    reply = await box.post(PATH_HELLO, box.sign(box.hello_key, Hello.TYP, PATH_HELLO, text.encode(), introduce=True))
    assert reply.signed
    assert reply.status in {200, 400}


HALF = "\ud800"


@pytest.mark.parametrize("member", ["model", "firmware", "hardware_fingerprint", "serial", "canary", "nonce", "d0"])
async def test_half_a_surrogate_pair_in_a_hello(scene: Scene, member: str) -> None:
    reply = await scene.box().hello(**changed(member, HALF))
    assert_says(reply, 400, "half of a surrogate pair")
    assert reply.signed


@pytest.mark.parametrize("member", ["model", "firmware", "hardware_fingerprint", "serial", "canary", "nonce", "d0"])
async def test_a_nul_in_a_hello(scene: Scene, member: str) -> None:
    reply = await scene.box().hello(**changed(member, "\\\x00"))
    assert_says(reply, 400, "NUL")
    assert reply.signed


async def test_a_text_that_speaks_of_nul_is_a_text(scene: Scene) -> None:
    assert (await scene.box().hello(firmware="1.0 \\u0000")).status == 200


async def test_a_nul_as_kid(scene: Scene) -> None:
    box: Box = scene.box()
    reply = await box.post(PATH_CHECKIN, box.sign(box.identity, CheckIn.TYP, PATH_CHECKIN, {}, header={"kid": "\x00"}))
    assert_says(reply, 400, "NUL")


async def test_half_a_surrogate_pair_as_kid(scene: Scene) -> None:
    box: Box = scene.box()
    reply = await box.post(PATH_CHECKIN, box.sign(box.identity, CheckIn.TYP, PATH_CHECKIN, {}, header={"kid": HALF}))
    assert_says(reply, 400, "half of a surrogate pair")


@pytest.mark.parametrize("member", ["txid", "csr", "token_proof", "epoch_token"])
async def test_half_a_surrogate_pair_in_an_enrolment(scene: Scene, member: str) -> None:
    box = scene.box()
    await box.hello()
    assert_says(await box.enroll(**changed(member, HALF)), 400, "half of a surrogate pair")


@pytest.mark.parametrize("value", [None, 1, [], {}, True, 1.5])
@pytest.mark.parametrize("member", ["model", "d0", "report", "build_epoch"])
async def test_a_member_of_the_wrong_type_is_named(scene: Scene, member: str, value: object) -> None:
    if member == "build_epoch" and value == 1 and value is not True:
        return  # that one is right
    reply = await scene.box().hello(**changed(member, value))
    assert_says(reply, 400, f"payload.{member}")


@pytest.mark.parametrize("member", ["model", "firmware", "hardware_fingerprint", "canary", "serial"])
async def test_a_text_that_is_too_long_is_refused(scene: Scene, member: str) -> None:
    assert_says(await scene.box().hello(**changed(member, "x" * 201)), 404 if member == "model" else 400)
