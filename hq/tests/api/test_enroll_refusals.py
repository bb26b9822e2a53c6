"""What an enrolment can get wrong: transaction, binding, CSR, key, token, addresses, quota."""

from __future__ import annotations

import secrets
from ipaddress import ip_address
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from hq.tests.api.conftest import StartScene

from otscert.domain.quota import Quota
from otscert_agent.wire import b64, point
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import DROP, Box, Reply, make_csr, random_signer
from tests.harness.hq import DAY_S, TOKEN, default_models, make_model
from tests.harness.scene import Scene, assert_says


async def challenged(scene: Scene, model: str = "box") -> Box:
    box = scene.box(model=model)
    assert (await box.hello()).typ == "otscert-v1-challenge"
    return box


async def refused(scene: Scene, box: Box, **changes: Any) -> Reply:
    """Enroll with something wrong; nothing is left behind, and the box is admitted when it is put right."""
    before = await scene.rows()
    reply = await box.enroll(**changes)
    assert reply.typ == "otscert-v1-problem", reply.message
    assert reply.signed
    assert await scene.rows() == before
    (await box.enroll()).granted()
    return reply


# ---- the transaction


async def test_a_txid_that_hq_never_gave_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    reply = await refused(scene, box, txid=b64.encode(bytes(16)))
    assert_says(reply, 404, "no open transaction", "say hello again")
    assert reply.problem is ProblemType.UNKNOWN_TXID


async def test_a_txid_that_has_expired_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    scene.hq.clock.ahead_s = 601
    assert_says(await box.enroll(), 404, "no open transaction", "say hello again")
    (await box.admit()).granted()


async def test_a_txid_of_another_box_is_refused(scene: Scene) -> None:
    victim, thief = await challenged(scene), await challenged(scene)
    csr = b64.encode(make_csr(thief.scalar, victim.names))
    reply = await refused(scene, thief, txid=victim.challenge["txid"], csr=csr)
    assert_says(reply, 401, "binding")  # the thief's hello key did not open that transaction
    (await victim.enroll()).granted()


async def test_an_enrolled_txid_of_another_box_is_a_conflict(scene: Scene) -> None:
    victim, thief = await challenged(scene), await challenged(scene)
    (await victim.enroll()).granted()
    reply = await refused(scene, thief, txid=victim.challenge["txid"])
    assert_says(reply, 409, "enrolled by another key")


async def test_the_same_txid_with_another_csr_is_a_conflict(scene: Scene) -> None:
    box = await challenged(scene)
    (await box.enroll()).granted()
    other = b64.encode(make_csr(box.scalar, box.names, digest=hashes.SHA384()))
    reply = await box.enroll(csr=other)
    assert_says(reply, 409, "another CSR", "say hello again")
    assert reply.problem is ProblemType.TXID_CONFLICT
    assert await scene.hq.count("cert_order") == 1


async def test_the_same_enrolment_under_a_new_seq_is_the_same_order(scene: Scene) -> None:
    box = await challenged(scene)
    first = (await box.enroll()).granted()
    second = (await box.enroll()).granted()
    assert (first["device_id"], first["order"]) == (second["device_id"], second["order"])
    assert first["epoch_token"] != second["epoch_token"]
    assert (await scene.hq.count("device"), await scene.hq.count("cert_order")) == (1, 1)
    assert (await box.check_in()).typ == "otscert-v1-checkin-answer"


# ---- the binding of the identity


async def test_an_enrolment_without_binding_is_refused(scene: Scene) -> None:
    reply = await refused(scene, await challenged(scene), binding=DROP)
    assert_says(reply, 401, "the binding of the identity key")


async def test_a_binding_by_another_key_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    assert_says(await refused(scene, box, binding=box.binding(signer=random_signer())), 401, "binding")


async def test_a_binding_of_another_transaction_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    reply = await refused(scene, box, binding=box.binding(txid=b64.encode(bytes(16))))
    assert_says(reply, 401, "names another transaction or another key")


async def test_a_binding_of_another_key_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    thumbprint = random_signer().public.thumbprint()
    assert_says(await refused(scene, box, binding=box.binding(thumbprint=thumbprint)), 401, "another key")


async def test_a_binding_of_another_typ_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    assert_says(await refused(scene, box, binding=box.binding(typ="otscert-v1-hello")), 401, "binding")


async def test_the_hello_key_is_no_identity(scene: Scene) -> None:
    box = await challenged(scene)
    identity, box.identity = box.identity, box.hello_key
    reply = await box.enroll()
    assert_says(reply, 401, "the hello key signs hello only")
    box.identity = identity
    (await box.enroll()).granted()


async def test_the_identity_of_a_device_cannot_be_enrolled_again(scene: Scene) -> None:
    first = scene.box()
    await first.admit()
    second = scene.box(identity=first.identity, seqs=first.seqs)
    await second.hello()
    assert_says(await second.enroll(), 400, "this identity key belongs to a device already")
    assert await scene.hq.count("device") == 1


# ---- the CSR (all of them in test_domain_csr; here: they arrive, signed, and name the fault)


async def test_a_csr_for_another_box_is_refused(scene: Scene) -> None:
    victim, box = await challenged(scene), await challenged(scene)
    reply = await refused(scene, box, csr=b64.encode(make_csr(box.scalar, victim.names)))
    assert_says(reply, 400, f"must be exactly {box.names[0]}, {box.names[1]}", victim.names[0])
    assert reply.problem is ProblemType.BAD_CSR


async def test_a_csr_with_an_extra_name_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    csr = make_csr(box.scalar, [*box.names, "www.example.com"])
    assert_says(await refused(scene, box, csr=b64.encode(csr)), 400, "www.example.com")


async def test_a_csr_with_an_ip_address_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    sans = [*(x509.DNSName(name) for name in box.names), x509.IPAddress(ip_address("192.168.1.20"))]
    assert_says(await refused(scene, box, csr=b64.encode(make_csr(box.scalar, [], sans=sans))), 400, "not a DNS name")


async def test_a_csr_of_junk_is_refused(scene: Scene) -> None:
    reply = await refused(scene, await challenged(scene), csr=b64.encode(secrets.token_bytes(500)))
    assert_says(reply, 400, "not a DER PKCS #10 structure")


async def test_a_csr_whose_key_is_not_the_agreed_one_is_refused(scene: Scene) -> None:
    box = await challenged(scene)
    reply = await refused(scene, box, csr=b64.encode(make_csr(box.d0, box.names)))  # r was left out
    assert_says(reply, 400, "not D0 + r*G")
    assert reply.problem is ProblemType.BAD_CONTRIBUTION


class RepeatedRandomness:
    """A broken HQ: every contribution is the same."""

    def __call__(self, count: int) -> bytes:
        return bytes(range(48)) if count == 48 else secrets.token_bytes(count)


async def test_a_key_that_is_known_already_is_refused_and_an_event_says_whose(start: StartScene) -> None:
    scene = await start(randomness=RepeatedRandomness())
    first = scene.box()
    granted = (await first.admit()).granted()
    # The same point can only come again with the same D0, which is refused; -D shares its x coordinate.
    second = scene.box()
    await second.hello(scalar=(-(first.d0 + 2 * first.r)) % point.N)
    assert point.public_point(second.scalar)[1:33] == point.public_point(first.scalar)[1:33]
    reply = await second.enroll()
    assert_says(reply, 400, "this key was used before; make a new one")
    assert reply.problem is ProblemType.BAD_CONTRIBUTION
    ((kind, device_id),) = await scene.hq.rows("SELECT kind, device_id FROM event WHERE kind = 'key.duplicate'")
    assert (kind, device_id) == ("key.duplicate", granted["device_id"])
    assert await scene.hq.count("device") == 1
    scene.hq.clock.ahead_s = 0
    bystander = scene.box()
    await bystander.hello()
    (await bystander.enroll()).granted()


# ---- the token


async def test_a_valid_token_admits(scene: Scene) -> None:
    box = await challenged(scene, "token-box")
    assert box.challenge["asks"] == ["token"]
    (await box.enroll(token_proof=box.token_proof(TOKEN))).granted()
    assert (await scene.hq.rows("SELECT policy FROM device"))[0] == ("token",)


@pytest.mark.parametrize(
    ("token", "words"),
    [
        (None, "wants a claim token and the enrolment has no proof"),
        (b"a-wrong-token-of-some-length", "not one of this model's"),
        (b"another-claim-token", "not one of this model's"),
    ],
    ids=["none", "wrong", "of another model"],
)
async def test_without_a_valid_token_nobody_is_admitted(scene: Scene, token: bytes | None, words: str) -> None:
    box = await challenged(scene, "token-box")
    before = await scene.rows()
    reply = await box.enroll(token_proof=DROP if token is None else box.token_proof(token))
    assert (reply.status, reply.typ, reply.signed) == (403, "otscert-v1-refused", True)
    assert words in reply.message["reason"]
    assert reply.message["final"] is False
    assert await scene.rows() == before
    (await box.enroll(token_proof=box.token_proof(TOKEN))).granted()


async def test_many_refused_identities_leave_no_rows(scene: Scene) -> None:
    box = await challenged(scene, "token-box")
    before = await scene.rows()
    for _ in range(5):
        box.identity = random_signer()
        assert (await box.enroll()).typ == "otscert-v1-refused"
    assert await scene.rows() == before


async def test_a_token_proof_of_another_transaction_is_refused(scene: Scene) -> None:
    box = await challenged(scene, "token-box")
    proof = box.token_proof(TOKEN)
    await box.hello()
    assert (await box.enroll(token_proof=proof)).typ == "otscert-v1-refused"


async def test_a_token_proof_that_is_no_base64_is_refused(scene: Scene) -> None:
    box = await challenged(scene, "token-box")
    not_base64 = "%%"
    assert_says(await box.enroll(token_proof=not_base64), 403, "token_proof is not base64url")


# ---- addresses


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("8.8.8.8", "is in no network that this model allows"),
        ("2606:4700:4700::1111", "is in no network"),
        ("127.0.0.1", "loopback"),
        ("::1", "loopback"),
        ("169.254.169.254", "link-local"),
        ("fe80::1", "link-local"),
        ("224.0.0.1", "multicast"),
        ("ff02::1", "multicast"),
        ("0.0.0.0", "unspecified"),
        ("::ffff:192.168.1.20", "mapped"),
        ("2002:c0a8:114::1", "6to4"),
        ("64:ff9b::c0a8:114", "NAT64"),
        ("fd00:ec2::254", "metadata"),
        ("100.64.0.1", "is in no network"),
        ("192.168.1.256", "is not an IPv4 or IPv6 address"),
        ("192.168.1.20/24", "is not an IPv4 or IPv6 address"),
        ("fe80::1%eth0", "zone index"),
        ("box.local", "is not an IPv4 or IPv6 address"),
        ("", "is not an IPv4 or IPv6 address"),
        ("x" * 5000, "at most 45 characters"),
    ],
)
async def test_an_address_that_cannot_be_published_is_refused(scene: Scene, address: str, words: str) -> None:
    reply = await refused(scene, await challenged(scene), addresses=[address])
    assert_says(reply, 400, words, "Send the box's private LAN addresses")
    assert reply.problem is ProblemType.BAD_ADDRESS
    assert str(reply.message["detail"]).count(address) <= 1 or not address


async def test_of_good_and_bad_addresses_the_good_ones_are_published(scene: Scene) -> None:
    box = await challenged(scene)
    (await box.enroll(addresses=["8.8.8.8", "192.168.1.20", "169.254.1.1", "fd12::1"])).granted()
    assert (await scene.hq.rows("SELECT addresses FROM device"))[0] == ("192.168.1.20 fd12::1",)
    ((data,),) = await scene.hq.rows("SELECT data FROM event WHERE kind = 'device.admitted'")
    assert "8.8.8.8" in data
    assert "169.254.1.1" in data


async def test_too_many_addresses_are_refused(scene: Scene) -> None:
    addresses = [f"192.168.1.{number}" for number in range(17)]
    assert_says(await refused(scene, await challenged(scene), addresses=addresses), 400, "more than 16 addresses")


# ---- quotas


async def test_admissions_of_one_address_are_limited(start: StartScene) -> None:
    few = make_model("few", admissions_per_address=Quota(count=2, period_s=DAY_S))
    scene = await start(models=default_models() | {"few": few})
    for _ in range(2):
        await scene.box(model="few").admit()
    box = await challenged(scene, "few")
    before = await scene.rows()
    reply = await box.enroll()
    assert_says(reply, 429, "policy open of model few admits 2 boxes in 86400 s")
    assert 0 < reply.message["retry_after_s"] <= DAY_S / 2
    assert await scene.rows() == before
    (await scene.box().admit()).granted()  # another model has its own


async def test_admissions_of_one_model_are_limited(start: StartScene) -> None:
    few = make_model("few", admissions_per_model=Quota(count=1, period_s=DAY_S))
    scene = await start(models=default_models() | {"few": few})
    await scene.box(model="few").admit()
    box = await challenged(scene, "few")
    assert_says(await box.enroll(), 429, "admits 1 boxes")
    scene.hq.clock.ahead_s = DAY_S
    assert (await box.hello()).typ == "otscert-v1-challenge"
    (await box.enroll()).granted()


# ---- orders of others


async def test_the_order_of_another_device_looks_like_none(scene: Scene) -> None:
    victim, thief = scene.box(), scene.box()
    await victim.admit()
    await thief.admit()
    reply = await thief.poll(path=victim.order_path)
    assert_says(reply, 404, "this box has no such order")
    missing = await thief.poll(path="/device/v1/orders/AAAAAAAAAAAAAAAAAAAAAA")
    assert {**missing.message} == {**reply.message}


async def test_the_hello_key_cannot_ask_for_the_order(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    assert_says(await box.poll(signer=box.hello_key), 404, "this box has no such order")


async def test_an_order_is_asked_for_with_an_empty_payload(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    body = box.sign(box.identity, "otscert-v1-order", box.order_path, {"a": 1})
    assert_says(await box.post(box.order_path, body), 400, "must be empty")
