"""Keys that are as good as the same stand at one place of the index; different keys never do."""

from __future__ import annotations

import hashlib

from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.domain.key_index import AnyPublicKey, index_of, index_of_device_key
from otscert_agent.wire import point
from otscert_agent.wire.keys import Signer


def spki(key: AnyPublicKey) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_an_identity_and_a_certificate_with_one_p256_key_have_one_index() -> None:
    key = ec.derive_private_key(12345, ec.SECP256R1())
    found = index_of_device_key(Signer(key).public)
    assert found == index_of(key.public_key())
    assert found.spki_sha256 == hashlib.sha256(spki(key.public_key())).digest()
    assert found.x_coordinate == point.public_point(12345)[1:33]


def test_a_negated_p256_key_shares_the_x_coordinate_and_not_the_spki() -> None:
    key, negated = (index_of(ec.derive_private_key(d, ec.SECP256R1()).public_key()) for d in (12345, point.N - 12345))
    assert key.x_coordinate == negated.x_coordinate
    assert key.spki_sha256 != negated.spki_sha256


def test_an_ed25519_identity_is_named_by_its_spki_and_by_its_point_without_sign() -> None:
    key = ed25519.Ed25519PrivateKey.from_private_bytes(bytes(range(32))).public_key()
    raw = key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    negated = ed25519.Ed25519PublicKey.from_public_bytes(raw[:31] + bytes([raw[31] ^ 0x80]))
    found = index_of_device_key(Signer.from_seed(bytes(range(32))).public)
    assert found == index_of(key)
    assert found.spki_sha256 == hashlib.sha256(spki(key)).digest()
    assert found.x_coordinate == index_of(negated).x_coordinate
    assert found.spki_sha256 != index_of(negated).spki_sha256


def test_an_rsa_key_is_named_by_its_modulus_whatever_its_exponent() -> None:
    numbers = rsa.generate_private_key(65537, 2048).public_key().public_numbers()
    other = rsa.RSAPublicNumbers(3, numbers.n).public_key()
    assert index_of(numbers.public_key()).x_coordinate == index_of(other).x_coordinate
    assert index_of(numbers.public_key()).spki_sha256 == hashlib.sha256(spki(numbers.public_key())).digest()


def test_different_keys_share_nothing() -> None:
    keys: list[AnyPublicKey] = [
        *(ec.generate_private_key(ec.SECP256R1()).public_key() for _ in range(20)),
        *(ed25519.Ed25519PrivateKey.generate().public_key() for _ in range(20)),
        *(rsa.generate_private_key(65537, 2048).public_key() for _ in range(3)),
    ]
    found = [index_of(key) for key in keys]
    assert len({index.spki_sha256 for index in found}) == len({index.x_coordinate for index in found}) == len(keys)
