"""Our JWS, thumbprints and bindings, judged by josepy and acme (Certbot's), which share no code with ours."""

from __future__ import annotations

import hashlib
import json

import pytest
from acme import challenges, messages
from acme import jws as acme_jws
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption, PrivateFormat
from josepy.jwk import JWKEC, JWKOct
from josepy.jws import JWS

from otscert.acme.account import ExternalAccount
from otscert.acme.challenge import dns01_value
from otscert.acme.errors import AccountKeyError, ExternalAccountError
from otscert.acme.jws import AccountKey
from otscert_agent.wire import b64

URL, KID = "https://ca.example/new-order", "https://ca.example/acct/1"


@pytest.fixture
def private() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _judge(private: ec.EllipticCurvePrivateKey) -> JWKEC:
    return JWKEC(key=private).public_key()


@pytest.mark.parametrize("kid", [KID, None])
@pytest.mark.parametrize("payload", [{"a": "\u00e4"}, {}, None])
def test_josepy_verifies_our_requests(
    private: ec.EllipticCurvePrivateKey, kid: str | None, payload: dict[str, str] | None
) -> None:
    expected = "" if payload is None else json.dumps(payload, separators=(",", ":"), ensure_ascii=False)
    for number in range(5):
        nonce = b64.encode(f"nonce {number}".encode())
        body = AccountKey(private).sign(url=URL, nonce=nonce, payload=payload, kid=kid)
        read = acme_jws.JWS.json_loads(body.decode())
        header = read.signature.combined
        assert read.verify(_judge(private))
        assert (header.url, header.kid) == (URL, kid)
        assert b64.encode(header.nonce) == nonce
        assert (header.jwk is None) == (kid is not None)
        assert read.payload == expected.encode()


def test_signatures_are_64_bytes_also_when_a_number_is_short(private: ec.EllipticCurvePrivateKey) -> None:
    """One in 128 has a number with a leading zero byte; all of 2,000 escape that once in six million runs."""
    key = AccountKey(private)
    bodies = [json.loads(key.sign(url=URL, nonce="bm9uY2U", payload=None, kid=KID)) for _ in range(2000)]
    assert {len(b64.decode(body["signature"])) for body in bodies} == {64}


def test_josepy_does_not_verify_what_was_changed(private: ec.EllipticCurvePrivateKey) -> None:
    body = json.loads(AccountKey(private).sign(url=URL, nonce="bm9uY2U", payload={"a": 1}, kid=KID))
    body["payload"] = b64.encode(b'{"a":2}')
    assert not acme_jws.JWS.json_loads(json.dumps(body)).verify(_judge(private))


def test_thumbprints_are_josepys(private: ec.EllipticCurvePrivateKey) -> None:
    assert AccountKey(private).thumbprint == b64.encode(_judge(private).thumbprint(hash_function=SHA256))


def test_the_dns01_value_is_acmes(private: ec.EllipticCurvePrivateKey) -> None:
    challenge = challenges.DNS01(token=b"0123456789abcdef0123456789abcdef")
    theirs = challenge.validation(JWKEC(key=private))
    assert dns01_value(challenge.encode("token"), AccountKey(private).thumbprint) == theirs


@pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
def test_an_external_account_binding_is_acmes(private: ec.EllipticCurvePrivateKey, algorithm: str) -> None:
    secret = hashlib.sha512(b"a MAC key").digest()
    directory = messages.Directory({"newAccount": "https://ca.example/new-account"})
    theirs = messages.ExternalAccountBinding.from_data(
        _judge(private), "kid-1", b64.encode(secret), directory, hmac_alg=algorithm
    )
    external = ExternalAccount.of("kid-1", b64.encode(secret) + "==", algorithm)
    ours = external.binding(AccountKey(private).jwk, "https://ca.example/new-account")
    judged = JWS.from_json(ours)
    assert judged.verify(JWKOct(key=secret))
    assert json.loads(judged.payload) == json.loads(b64.decode(theirs["payload"]))
    assert json.loads(b64.decode(ours["protected"])) == json.loads(b64.decode(theirs["protected"]))


@pytest.mark.parametrize(("key", "algorithm"), [("not base64!", "HS256"), ("", "HS256"), ("YWJj", "HS1")])
def test_an_unusable_external_account_is_refused_without_showing_its_key(key: str, algorithm: str) -> None:
    with pytest.raises(ExternalAccountError) as caught:
        ExternalAccount.of("kid-1", key, algorithm)
    assert not key or key not in str(caught.value)


def test_no_secret_shows_in_a_repr(private: ec.EllipticCurvePrivateKey) -> None:
    assert "mac_key" not in repr(ExternalAccount(kid="kid-1", mac_key=b"secret"))
    assert repr(AccountKey(private)) == f"AccountKey(thumbprint={AccountKey(private).thumbprint!r})"


def _pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_a_key_survives_its_pem(private: ec.EllipticCurvePrivateKey) -> None:
    assert AccountKey.from_pem(_pem(private)).thumbprint == AccountKey(private).thumbprint


def test_keys_that_are_not_on_p256_are_refused(private: ec.EllipticCurvePrivateKey) -> None:
    encrypted = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(b"secret"))
    others = (
        _pem(ec.generate_private_key(ec.SECP384R1())),
        _pem(ed25519.Ed25519PrivateKey.generate()),
        _pem(rsa.generate_private_key(65537, 2048)),
        encrypted,
        b"junk",
        b"",
    )
    for pem in others:
        with pytest.raises(AccountKeyError):
            AccountKey.from_pem(pem)
