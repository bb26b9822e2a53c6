from __future__ import annotations

import hashlib
import json

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from otscert_agent.wire import b64, keys
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import PublicKey, Signer

# RFC 8037, appendix A.1 to A.4.
SEED = b64.decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
X = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"
THUMBPRINT = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"
SIGNING_INPUT = b"eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc"
SIGNATURE = "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg"

# RFC 7515, appendix A.3: ES256.
ES256_X = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU"
ES256_Y = "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"
ES256_INPUT = (
    b"eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFt"
    b"cGxlLmNvbS9pc19yb290Ijp0cnVlfQ"
)
ES256_SIGNATURE = "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"


def test_the_keys_of_rfc_8037_have_its_thumbprint_and_signature() -> None:
    signer = Signer.from_seed(SEED)
    assert signer.public.jwk() == {"crv": "Ed25519", "kty": "OKP", "x": X}
    assert signer.public.thumbprint() == THUMBPRINT
    assert b64.encode(signer.sign(SIGNING_INPUT)) == SIGNATURE
    PublicKey.from_jwk({"kty": "OKP", "crv": "Ed25519", "x": X}).verify(b64.decode(SIGNATURE), SIGNING_INPUT)


def test_the_es256_signature_of_rfc_7515_verifies() -> None:
    key = PublicKey.from_jwk({"kty": "EC", "crv": "P-256", "x": ES256_X, "y": ES256_Y})
    key.verify(b64.decode(ES256_SIGNATURE), ES256_INPUT)
    with pytest.raises(WireError, match="does not fit"):
        key.verify(b64.decode(ES256_SIGNATURE), ES256_INPUT + b"x")


def test_a_thumbprint_is_the_hash_of_the_required_members_in_order() -> None:
    jwk = {"crv": "P-256", "kty": "EC", "x": ES256_X, "y": ES256_Y}
    canonical = json.dumps(jwk, separators=(",", ":"), sort_keys=True).encode()  # RFC 7638, section 3.3
    extra = {**jwk, "use": "sig", "kid": "me"}
    assert PublicKey.from_jwk(extra).thumbprint() == b64.encode(hashlib.sha256(canonical).digest())


def test_es256_signatures_of_a_signer_are_the_same_each_time_and_verify_elsewhere() -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    signer = Signer(private)
    signature = signer.sign(b"message")
    assert signature == signer.sign(b"message")
    r, s = int.from_bytes(signature[:32], "big"), int.from_bytes(signature[32:], "big")
    private.public_key().verify(encode_dss_signature(r, s), b"message", ec.ECDSA(hashes.SHA256()))


@pytest.mark.parametrize("y", sorted(keys._ED25519_SMALL_ORDER_Y))
@pytest.mark.parametrize("sign", [0, 1 << 255])
def test_ed25519_points_of_small_order_are_refused(y: int, sign: int) -> None:
    raw = (y | sign).to_bytes(32, "little")
    with pytest.raises(WireError, match="small order"):
        PublicKey.from_raw(keys.ED25519, raw)


def test_an_ed25519_key_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(WireError, match="canonical"):
        PublicKey.from_raw(keys.ED25519, (2**255 - 19 + 3).to_bytes(32, "little"))


@pytest.mark.parametrize(
    ("jwk", "why"),
    [
        ({"kty": "RSA", "n": "AQAB", "e": "AQAB"}, "neither"),
        ({"kty": "oct", "k": "c2VjcmV0"}, "neither"),
        ({"kty": "OKP", "crv": "X25519", "x": X}, "neither"),
        ({"kty": "OKP", "crv": "Ed25519", "x": X, "d": X}, "private"),
        ({"kty": "OKP", "crv": "Ed25519", "x": X[:-2]}, "jwk x"),
        ({"kty": "EC", "crv": "P-256", "x": ES256_X, "y": ES256_X}, "not a point"),
        ({"kty": "EC", "crv": "P-256", "x": ES256_X, "y": 5}, "object of strings"),
        ("jwk", "object of strings"),
    ],
)
def test_a_jwk_that_is_no_usable_public_key_is_refused(jwk: object, why: str) -> None:
    with pytest.raises(WireError, match=why):
        PublicKey.from_jwk(jwk)


@settings(max_examples=30)
@given(st.binary(min_size=32, max_size=32), st.binary(max_size=80), st.integers(0, 511))
def test_one_flipped_bit_of_a_signature_is_noticed(seed: bytes, message: bytes, bit: int) -> None:
    signer = Signer.from_seed(seed)
    signature = bytearray(signer.sign(message))
    signature[bit // 8] ^= 1 << bit % 8
    with pytest.raises(WireError):
        signer.public.verify(bytes(signature), message)


def test_a_signer_and_cryptography_agree_on_the_public_key() -> None:
    private = ed25519.Ed25519PrivateKey.from_private_bytes(SEED)
    assert Signer(private).public.raw == private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


@pytest.mark.parametrize("length", [0, 63, 65])
def test_an_es256_signature_of_another_length_is_refused(length: int) -> None:
    key = Signer(ec.derive_private_key(7, ec.SECP256R1())).public
    with pytest.raises(WireError, match="does not fit"):
        key.verify(bytes(length), b"message")
