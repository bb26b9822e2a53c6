"""Boxes with RSA keys: let in where their model allows it, and kept out with weak keys and with keys of others."""

from __future__ import annotations

import asyncio
import hashlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hq.tests.api.conftest import StartScene
from hq.tests.store.rows import unit

from otscert.domain.assurance import Contribution
from otscert_agent.wire import b64
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import Box, Reply
from tests.harness.hq import default_models, make_model
from tests.harness.rsa_keys import prime, prime_after, rsa_csr, rsa_key
from tests.harness.scene import Scene, assert_says

RSA_MODEL = make_model("rsa", allow_rsa=True, min_contribution=Contribution.NONE)


@pytest.fixture
async def scene(start: StartScene) -> Scene:
    return await start(models={**default_models(), "rsa": RSA_MODEL})


def spki_sha256(key: rsa.RSAPrivateKey) -> bytes:
    return hashlib.sha256(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).digest()


def good_key() -> rsa.RSAPrivateKey:
    return rsa_key(prime(), prime())


async def challenged(scene: Scene, model: str = "rsa") -> Box:
    box = scene.box(model=model)
    assert (await box.hello()).typ == "otscert-v1-challenge"
    return box


async def enroll(box: Box, key: rsa.RSAPrivateKey, **changes: Any) -> Reply:
    return await box.enroll(csr=b64.encode(rsa_csr(key, box.names)), **changes)


async def event(scene: Scene, kind: str) -> tuple[str | None, dict[str, Any]]:
    """The only event of this kind: its device and what it says."""
    ((device_id, data),) = await scene.hq.rows("SELECT device_id, data FROM event WHERE kind = ?", kind)
    return device_id, json.loads(data)


async def test_a_box_with_an_rsa_key_is_admitted_and_has_no_contribution(scene: Scene) -> None:
    box, key = await challenged(scene), good_key()
    device_id = (await enroll(box, key)).granted()["device_id"]
    assert await scene.hq.rows("SELECT contribution FROM device") == [("none",)]
    keys = await scene.hq.rows("SELECT spki_sha256, device_id, contribution FROM verified_key WHERE kind='certificate'")
    assert keys == [(spki_sha256(key), device_id, "none")]
    modulus = key.public_key().public_numbers().n.to_bytes(256, "big")
    assert await scene.hq.rows("SELECT modulus, spki_sha256 FROM rsa_modulus") == [(modulus, spki_sha256(key))]


async def test_a_lost_answer_is_given_again_to_an_rsa_box(scene: Scene) -> None:
    box, key = await challenged(scene), good_key()
    first = (await enroll(box, key)).granted()
    assert (await enroll(box, key)).granted()["order"] == first["order"]
    assert await scene.hq.count("rsa_modulus") == 1


async def test_a_renewal_may_change_to_p256_and_back(scene: Scene) -> None:
    box = await challenged(scene)
    (await enroll(box, good_key())).granted()
    (await box.renew()).granted()
    assert await scene.hq.rows("SELECT contribution FROM device") == [("open",)]
    assert (await box.hello(signer=box.identity, epoch_token=box.epoch_token)).typ == "otscert-v1-challenge"
    renewal = {"binding": None, "epoch_token": box.epoch_token}
    (await enroll(box, good_key(), **renewal)).granted()
    assert await scene.hq.rows("SELECT contribution FROM device") == [("none",)]
    assert await scene.hq.count("rsa_modulus") == 2


async def test_another_model_refuses_rsa_and_says_what_is_missing(scene: Scene) -> None:
    box, before = await challenged(scene, "box"), await scene.rows()
    reply = await enroll(box, good_key())
    assert_says(reply, 400, "RSA", "make a P-256 key", "model.box.allow_rsa = true", 'min_contribution = "none"')
    assert reply.problem is ProblemType.BAD_CSR
    assert await scene.rows() == before
    assert await scene.hq.count("rsa_modulus") == 0
    (await box.enroll()).granted()


def neighbours() -> rsa.RSAPrivateKey:
    p = prime()
    return rsa_key(p, prime_after(p + (1 << 300)))


async def test_a_weak_key_is_refused_and_noted_and_a_good_one_is_taken(scene: Scene) -> None:
    box = await challenged(scene)
    reply = await enroll(box, neighbours())
    assert_says(reply, 400, "RSA key is weak", "too close together", "Make a new key")
    assert reply.problem is ProblemType.BAD_CSR
    device_id, data = await event(scene, "key.weak")
    assert (device_id, data["check"], data["model"], data["label"]) == (None, "fermat", "rsa", box.label)
    assert await scene.hq.count("rsa_modulus") == 0
    (await enroll(box, good_key())).granted()


async def test_a_shared_prime_is_refused_and_both_boxes_are_named(scene: Scene) -> None:
    p, first, second = prime(), await challenged(scene), await challenged(scene)
    broken = rsa_key(p, prime())
    device_id = (await enroll(first, broken)).granted()["device_id"]
    reply = await enroll(second, rsa_key(p, prime()))
    assert_says(reply, 400, "a prime in common", "P-256")
    holder, data = await event(scene, "key.shared_factor")
    assert (holder, data["devices"]) == (device_id, [device_id])
    assert data["compromised"] == [spki_sha256(broken).hex()]
    assert (data["label"], data["new_device"]) == (second.label, None)
    assert await scene.hq.count("rsa_modulus") == 1
    (await second.enroll()).granted()  # a P-256 key is welcome


async def test_a_shared_prime_is_found_by_an_hq_that_was_started_again(start: StartScene) -> None:
    models = {**default_models(), "rsa": RSA_MODEL}
    p, scene = prime(), await start(models=models)
    (await enroll(await challenged(scene), rsa_key(p, prime()))).granted()
    scene = await start(models=models)
    assert_says(await enroll(await challenged(scene), rsa_key(p, prime())), 400, "a prime in common")


async def test_of_two_boxes_that_share_a_prime_and_come_together_one_is_admitted(scene: Scene) -> None:
    p, boxes = prime(), [await challenged(scene) for _ in range(4)]
    replies = await asyncio.gather(*(enroll(box, rsa_key(p, prime())) for box in boxes))
    assert sorted(reply.status for reply in replies) == [200, 400, 400, 400]
    assert await scene.hq.count("rsa_modulus") == 1


async def test_the_key_of_another_box_is_refused(scene: Scene) -> None:
    key, first, second = good_key(), await challenged(scene), await challenged(scene)
    device_id = (await enroll(first, key)).granted()["device_id"]
    reply = await enroll(second, key)
    assert_says(reply, 400, "this key was used before")
    assert (await event(scene, "key.duplicate"))[0] == device_id


async def test_no_rsa_key_is_checked_for_a_csr_that_is_wrong_anyway(scene: Scene) -> None:
    box = await challenged(scene)
    csr = rsa_csr(neighbours(), [*box.names, "www.example.com"])
    assert_says(await box.enroll(csr=b64.encode(csr)), 400, "www.example.com")
    assert "key.weak" not in await scene.hq.event_kinds()


async def test_identities_are_indexed_by_their_spki(scene: Scene) -> None:
    box = scene.box()
    await box.admit()
    # RFC 8410, section 4: this and the 32 octets of the key are an Ed25519 SubjectPublicKeyInfo.
    spki = bytes.fromhex("302a300506032b6570032100") + box.identity.public.raw
    rows = await scene.hq.rows("SELECT spki_sha256 FROM verified_key WHERE kind = 'identity'")
    assert rows == [(hashlib.sha256(spki).digest(),)]


async def test_a_box_cannot_have_its_certificate_for_a_key_that_is_an_identity(scene: Scene) -> None:
    """Only where HQ's randomness is in neither: an ES256 identity cannot be D0 + r*G, so the row is written by hand."""
    box, other = scene.box(), await challenged(scene)
    await box.admit()
    key = good_key()
    await scene.hq.store.write(
        lambda transaction: transaction._connection.execute(
            "UPDATE verified_key SET spki_sha256 = ? WHERE kind = 'identity'", (spki_sha256(key),)
        )
    )
    assert_says(await enroll(other, key), 400, "this key was used before")


async def test_a_units_factory_key_is_no_identity(scene: Scene) -> None:
    box = await challenged(scene, "box")
    stamped = unit(thumbprint=box.identity.public.thumbprint(), sign_key=box.identity.public.raw)
    await scene.hq.store.write(lambda transaction: transaction.units.add_many([stamped], now_s=1))
    assert_says(await box.enroll(), 401, "a unit's factory key")
