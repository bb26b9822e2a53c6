from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from otscert_agent.wire import b64, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import Factory, check_seal_key, check_sign_key

SECRET = bytes(range(32))
TXID, DIGEST = bytes(range(16)), bytes(range(100, 132))
secrets = st.binary(min_size=32, max_size=32).filter(lambda secret: len(set(secret)) > 1)

# The eight points of small order that RFC 7748's arithmetic maps to zero, in canonical and other spellings.
SMALL_ORDER = [
    bytes(32),
    b"\x01" + bytes(31),
    bytes.fromhex("e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800"),
    bytes.fromhex("5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157"),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
]


def independent(secret: bytes, info: bytes, length: int = 32) -> bytes:
    return HKDF(algorithm=hashes.SHA256(), length=length, salt=None, info=info).derive(secret)


@given(secrets)
def test_the_keys_of_a_unit_are_derived_as_published(secret: bytes) -> None:
    sign = Ed25519PrivateKey.from_private_bytes(independent(secret, b"otscert/v1/factory\x00sign"))
    seal = X25519PrivateKey.from_private_bytes(independent(secret, b"otscert/v1/factory\x00seal"))
    factory = Factory.from_bytes(secret)
    assert factory.signer().public.raw == sign.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert factory.seal_public == seal.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    assert factory.public.thumbprint() == factory.signer().public.thumbprint()


def test_seeds_and_mixes_differ_for_each_count_and_are_as_published() -> None:
    factory = Factory(SECRET)
    assert factory.credit_seed(12) == independent(SECRET, b"otscert/v1/factory\x00seed\x0012")
    assert factory.mix(12) == independent(SECRET, b"otscert/v1/factory\x00mix\x0012")
    assert len({make(count) for make in (factory.credit_seed, factory.mix) for count in range(20)}) == 40
    with pytest.raises(WireError, match="not negative"):
        factory.credit_seed(-1)


def test_the_bytes_of_one_unit_never_change() -> None:
    # Written down once: a box in the field keeps its secret for ever, so no release may derive anything else.
    factory = Factory(SECRET)
    assert factory.text() == "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
    assert b64.encode(factory.signer().public.raw) == "9ifwee353kMk4_9HM_9ABSjfHxIG_1pprw12KQU9UFk"
    assert b64.encode(factory.seal_public) == "u0wC8ECoaq0JnLkCxT24VjNgrZi-P_IA5BAJgxtsETg"
    assert factory.credit_seed(1).hex() == "a4bb4332886807a28742f4789221b89ca6fa512f1ce57916e297baacbce8cbfc"
    assert factory.mix(1).hex() == "186bae430c29d9312a2540944eaa91df7c971f5fa13c0417c36387e4f08e14fb"


@given(secrets, st.binary(min_size=32, max_size=32))
def test_what_hq_seals_opens_to_the_same_scalar(secret: bytes, ephemeral_seed: bytes) -> None:
    factory = Factory(secret)
    ephemeral = X25519PrivateKey.from_private_bytes(ephemeral_seed)
    sent = ephemeral.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(factory.seal_public))
    info = b"otscert/v1/r\x00" + TXID + DIGEST + sent + factory.seal_public
    r = factory.open(sent, txid=TXID, hello_digest=DIGEST)
    assert r == point.scalar_from_bytes(independent(shared, info, 48))
    assert 1 <= r < point.N


def test_a_contribution_belongs_to_one_unit_one_transaction_and_one_hello() -> None:
    sent = X25519PrivateKey.from_private_bytes(b"e" * 32).public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
    opened = {
        Factory(SECRET).open(sent, txid=TXID, hello_digest=DIGEST),
        Factory(SECRET[::-1]).open(sent, txid=TXID, hello_digest=DIGEST),
        Factory(SECRET).open(sent, txid=TXID[::-1], hello_digest=DIGEST),
        Factory(SECRET).open(sent, txid=TXID, hello_digest=DIGEST[::-1]),
        Factory(SECRET).open(Factory(SECRET).seal_public, txid=TXID, hello_digest=DIGEST),
    }
    assert len(opened) == 5


@pytest.mark.parametrize("ephemeral", SMALL_ORDER)
def test_an_exchange_that_gives_zero_is_an_error(ephemeral: bytes) -> None:
    with pytest.raises(WireError, match="small order"):
        Factory(SECRET).open(ephemeral, txid=TXID, hello_digest=DIGEST)
    with pytest.raises(WireError, match=r"small order|canonical"):
        check_seal_key(ephemeral)


def test_a_seal_key_has_one_spelling() -> None:
    assert check_seal_key(Factory(SECRET).seal_public) == Factory(SECRET).seal_public
    with pytest.raises(WireError, match="canonical"):
        check_seal_key((2**255 - 19 + 9).to_bytes(32, "little"))
    with pytest.raises(WireError, match="canonical"):
        check_seal_key((2**255 + 9).to_bytes(32, "little"))
    with pytest.raises(WireError, match="31 bytes"):
        check_seal_key(bytes(31))


@given(secrets)
def test_a_sign_key_is_a_point(secret: bytes) -> None:
    raw = Factory(secret).public.sign.raw
    assert check_sign_key(raw).raw == raw
    assert check_sign_key(raw[:31] + bytes([raw[31] ^ 0x80])).raw != raw  # the other x is a point, too


@pytest.mark.parametrize("y", [2, 7, 8, 12])
def test_32_bytes_that_are_no_point_are_no_sign_key(y: int) -> None:
    with pytest.raises(WireError, match="not a point"):
        check_sign_key(y.to_bytes(32, "little"))


def test_the_base_point_is_a_point() -> None:
    base = (4 * pow(5, -1, 2**255 - 19) % (2**255 - 19)).to_bytes(32, "little")  # RFC 8032, section 5.1: B
    assert check_sign_key(base).raw == base


@pytest.mark.parametrize(
    ("ephemeral", "txid", "digest", "what"),
    [(31, 16, 32, "X25519"), (32, 15, 32, "txid"), (32, 16, 31, "hello")],
)
def test_parts_of_another_length_are_refused(ephemeral: int, txid: int, digest: int, what: str) -> None:
    with pytest.raises(WireError, match=what):
        Factory(SECRET).open(b"\x09" * ephemeral, txid=bytes(txid), hello_digest=bytes(digest))


@given(secrets)
def test_a_secret_comes_back_from_its_line(secret: bytes) -> None:
    text = Factory(secret).text()
    assert len(text) == 43
    assert Factory.from_text(text + "\n") == Factory(secret)
    assert len({Factory(secret), Factory.from_text(text)}) == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 bytes"),
        ("A" * 42, "bytes long"),
        ("A" * 44, "33 bytes"),
        ("A" * 42 + "B", "canonical"),
        ("A" * 42 + "=", "base64url"),
        ("é" * 43, "base64url"),
        (b64.encode(bytes(32)), "never written"),
        (b64.encode(b"\xff" * 32), "never written"),
    ],
)
def test_a_text_that_is_no_secret_is_refused_without_being_repeated(text: str, why: str) -> None:
    with pytest.raises(WireError, match=why) as caught:
        Factory.from_text(text)
    assert not text or text not in str(caught.value)


def test_a_secret_does_not_show_itself() -> None:
    factory = Factory(SECRET)
    assert factory.text() not in f"{factory!r} {factory} {factory.public!r}"
    assert factory.public.thumbprint() in repr(factory)
    assert factory != Factory(SECRET[::-1])
    assert factory != SECRET
