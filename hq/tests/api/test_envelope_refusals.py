"""Every rule of the envelope, broken once; each answer says which, is signed where a key is known, and costs no row."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest

from otscert_agent.wire import b64, jws
from otscert_agent.wire.keys import Signer
from otscert_agent.wire.messages import PATH_ENROLL, PATH_HELLO, Hello
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import DROP, Box, Reply, random_signer
from tests.harness.scene import Scene, assert_says

_P = 2**255 - 19


def by_hand(header: dict[str, Any], payload: bytes, signature: bytes, **members: Any) -> bytes:
    """An envelope whose every part is the caller's."""
    parts = {"protected": b64.encode(json.dumps(header).encode()), "payload": b64.encode(payload)}
    return json.dumps({**parts, "signature": b64.encode(signature), **members}).encode()


def hello_header(box: Box, **changes: Any) -> dict[str, Any]:
    header = {
        "typ": Hello.TYP,
        "alg": "Ed25519",
        "jwk": box.hello_key.public.jwk(),
        "url": box.hq.url + PATH_HELLO,
        "seq": 1,
        **changes,
    }
    return {member: value for member, value in header.items() if value is not DROP}


async def refused(scene: Scene, body: bytes, *, path: str = PATH_HELLO) -> Reply:
    """Send what HQ must refuse; it may not leave a row."""
    before = await scene.rows()
    reply = await scene.box().post(path, body)
    assert await scene.rows() == before
    return reply


async def test_a_signature_by_another_key_is_refused(scene: Scene) -> None:
    box = scene.box()
    payload = json.dumps(box.hello_message()).encode()
    other = random_signer()
    signed = jws.sign(other, hello_header(box, alg=DROP), payload)
    reply = await refused(scene, signed)
    assert_says(reply, 401, "signature does not fit")
    assert reply.signed
    assert reply.problem is ProblemType.BAD_SIGNATURE


async def test_a_changed_payload_is_refused(scene: Scene) -> None:
    box = scene.box()
    signed = json.loads(box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(), introduce=True))
    signed["payload"] = b64.encode(json.dumps(box.hello_message()).encode())
    reply = await refused(scene, json.dumps(signed).encode())
    assert_says(reply, 401, "signature does not fit")
    assert reply.signed


async def test_a_message_for_another_url_is_refused(scene: Scene) -> None:
    box = scene.box()
    reply = await box.hello(header={"url": "https://hq.example.net/device/v1/hello"})
    assert_says(reply, 400, "https://hq.example.net", f"this is {scene.hq.url}{PATH_HELLO}")
    assert reply.signed
    assert await scene.hq.count("device_key") == 0


async def test_a_message_without_a_url_is_refused(scene: Scene) -> None:
    assert_says(await scene.box().hello(header={"url": DROP}), 400, "url is missing", scene.hq.url)


async def test_a_hello_sent_to_the_path_of_enrolment_is_refused(scene: Scene) -> None:
    box = scene.box()
    reply = await refused(
        scene, box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(), introduce=True), path=PATH_ENROLL
    )
    assert_says(reply, 400, "otscert-v1-hello", "otscert-v1-enroll")


async def test_a_message_of_another_typ_is_refused(scene: Scene) -> None:
    reply = await scene.box().hello(header={"typ": "otscert-v1-checkin"})
    assert_says(reply, 400, "otscert-v1-checkin", "this endpoint takes otscert-v1-hello")
    assert reply.signed


async def test_a_message_without_typ_is_refused(scene: Scene) -> None:
    reply = await scene.box().hello(header={"typ": DROP})
    assert_says(reply, 400, "the protected header has no typ")
    assert not reply.signed


async def test_alg_none_is_refused(scene: Scene) -> None:
    box = scene.box()
    payload = json.dumps(box.hello_message()).encode()
    reply = await refused(scene, by_hand(hello_header(box, alg="none"), payload, b""))
    assert_says(reply, 401, "alg is 'none'", "Ed25519")
    assert reply.signed


async def test_hs256_with_the_public_key_as_the_secret_is_refused(scene: Scene) -> None:
    box = scene.box()
    payload = json.dumps(box.hello_message()).encode()
    unsigned = json.loads(by_hand(hello_header(box, alg="HS256"), payload, b""))
    signing_input = f"{unsigned['protected']}.{unsigned['payload']}".encode()
    tag = hmac.new(box.hello_key.public.raw, signing_input, hashlib.sha256).digest()
    reply = await refused(scene, by_hand(hello_header(box, alg="HS256"), payload, tag))
    assert_says(reply, 401, "alg is 'HS256'")


async def test_an_alg_of_another_key_kind_is_refused(scene: Scene) -> None:
    box = scene.box()
    payload = json.dumps(box.hello_message()).encode()
    assert_says(
        await refused(scene, by_hand(hello_header(box, alg="ES256"), payload, bytes(64))), 401, "alg is 'ES256'"
    )


async def test_crit_is_refused(scene: Scene) -> None:
    reply = await scene.box().hello(header={"crit": ["exp"], "exp": 1})
    assert_says(reply, 400, "crit", "knows no critical extension")


async def test_an_unprotected_header_is_refused(scene: Scene) -> None:
    box = scene.box()
    signed = json.loads(box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(), introduce=True))
    reply = await refused(scene, json.dumps({**signed, "header": {"kid": "other"}}).encode())
    assert_says(reply, 400, "exactly the members protected, payload, signature")


async def test_the_general_form_with_several_signatures_is_refused(scene: Scene) -> None:
    box = scene.box()
    signed = json.loads(box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(), introduce=True))
    general = {"payload": signed.pop("payload"), "signatures": [signed]}
    assert_says(await refused(scene, json.dumps(general).encode()), 400, "exactly the members")


async def test_both_jwk_and_kid_are_refused(scene: Scene) -> None:
    box = scene.box()
    reply = await box.hello(header={"kid": box.hello_key.public.thumbprint()})
    assert_says(reply, 400, "either jwk or kid")
    assert await scene.hq.count("device_key") == 0


async def test_neither_jwk_nor_kid_is_refused(scene: Scene) -> None:
    assert_says(await scene.box().hello(header={"jwk": DROP}), 400, "either jwk or kid")


async def test_a_kid_that_is_not_a_text_is_refused(scene: Scene) -> None:
    assert_says(await scene.box().hello(header={"jwk": DROP, "kid": [["x"]]}), 400, "kid is not a string")


async def test_a_kid_that_hq_never_saw_is_told_to_say_hello(scene: Scene) -> None:
    box = scene.box()
    reply = await box.check_in()
    assert_says(reply, 401, "no message with this key's jwk was ever accepted")
    assert reply.problem is ProblemType.UNKNOWN_KEY
    assert reply.signed


async def test_a_check_in_must_name_its_key_by_kid(scene: Scene) -> None:
    box = scene.box()
    path = "/device/v1/checkin"
    body = box.sign(box.identity, "otscert-v1-checkin", path, box.checkin_message(), introduce=True)
    assert_says(await refused(scene, body, path=path), 400, "must name its key by kid")


@pytest.mark.parametrize(
    "y", [0, 1, _P - 1, 0x7A03AC9277FDC74EC6CC392CFA53202A0F67100D760B3CBA4FD84D3D706A17C7], ids=hex
)
@pytest.mark.parametrize("sign_bit", [0, 1])
async def test_an_ed25519_key_of_small_order_is_refused(scene: Scene, y: int, sign_bit: int) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64.encode((y | sign_bit << 255).to_bytes(32, "little"))}
    box = scene.box()
    payload = json.dumps(box.hello_message()).encode()
    # R = the neutral element, S = 0: OpenSSL takes it as this key's signature under many messages.
    reply = await refused(scene, by_hand(hello_header(box, jwk=jwk), payload, b"\1" + bytes(63)))
    assert_says(reply, 400, "small order")


async def test_an_ed25519_key_that_is_not_canonical_is_refused(scene: Scene) -> None:
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": b64.encode((_P + 3).to_bytes(32, "little"))}
    box = scene.box()
    reply = await refused(scene, by_hand(hello_header(box, jwk=jwk), b"{}", bytes(64)))
    assert_says(reply, 400, "canonical")


async def test_an_es256_key_off_the_curve_is_refused(scene: Scene) -> None:
    point = b64.encode((5).to_bytes(32, "big"))
    jwk = {"kty": "EC", "crv": "P-256", "x": point, "y": point}
    box = scene.box()
    reply = await refused(scene, by_hand(hello_header(box, jwk=jwk, alg="ES256"), b"{}", bytes(64)))
    assert_says(reply, 400, "not a point of P-256")


async def test_a_jwk_with_the_private_key_is_refused(scene: Scene) -> None:
    box = scene.box()
    jwk = {**box.hello_key.public.jwk(), "d": b64.encode(bytes(32))}
    assert_says(await refused(scene, by_hand(hello_header(box, jwk=jwk), b"{}", bytes(64))), 400, "private key")


@pytest.mark.parametrize("seq", [0, -1, 2**53, 1.5, "1", True, None, 10**19])
async def test_a_seq_that_does_not_count_is_refused(scene: Scene, seq: object) -> None:
    reply = await scene.box().hello(header={"seq": seq})
    assert_says(reply, 400, "seq is not a number from 1 to 2^53-1")
    assert await scene.hq.count("device_key") == 0


async def test_an_es256_box_is_served(scene: Scene) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415 - one test's need

    box = scene.box(hello_key=Signer(ec.generate_private_key(ec.SECP256R1())))
    (await box.admit()).granted()


async def test_base64_that_is_not_canonical_is_refused(scene: Scene) -> None:
    box = scene.box()
    signed = json.loads(box.sign(box.hello_key, Hello.TYP, PATH_HELLO, b"{}", introduce=True))
    signed["signature"] += "="
    assert_says(await refused(scene, json.dumps(signed).encode()), 400, "not base64url")


async def test_a_refusal_cannot_be_taken_for_the_answer_to_another_message(scene: Scene) -> None:
    box = scene.box()
    first = box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(model="nobody"), introduce=True)
    second = box.sign(box.hello_key, Hello.TYP, PATH_HELLO, box.hello_message(model="nobody"), introduce=True)
    reply = await box.post(PATH_HELLO, first)
    box.verify(first, reply.body)
    with pytest.raises(AssertionError):
        box.verify(second, reply.body)


async def test_the_first_hello_of_a_box_is_served(scene: Scene) -> None:
    box: Box = scene.box()
    reply = await box.hello()
    assert reply.typ == "otscert-v1-challenge"
    assert reply.signed


async def test_a_message_for_another_hq_is_not_told_that_this_one_forgot_its_key(scene: Scene) -> None:
    """Else whoever carries messages could make a box believe that its own HQ lost it."""
    box = scene.box()
    header = hello_header(
        box, jwk=DROP, kid=box.identity.public.thumbprint(), url="https://another-hq.example" + PATH_HELLO
    )
    reply = await refused(scene, jws.sign(box.identity, header, json.dumps(box.hello_message()).encode()))
    assert reply.problem is ProblemType.MALFORMED
    assert_says(reply, 400, "another-hq.example")
