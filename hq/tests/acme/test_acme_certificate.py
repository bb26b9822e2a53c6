from __future__ import annotations

import base64
import datetime as dt
import hashlib

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from otscert.acme.certificate import Chain, ari_id, revocation_payload
from otscert.acme.errors import ChainError
from tests.scripted_ca.pki import Issuance

NAMES = ("a.boxes.example", "*.a.boxes.example")
KEY = ec.generate_private_key(ec.SECP256R1())
CA = Issuance(alternates=1)
LEAF = CA.issue(KEY.public_key(), NAMES, start=dt.datetime.now(dt.UTC), life_s=45 * 86400)
CHAIN = CA.chain(LEAF, 0).encode()
PRIVATE = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def _certificate(serial: int, *extensions: x509.ExtensionType) -> x509.Certificate:
    now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
    builder = x509.CertificateBuilder(x509.Name([]), x509.Name([]), KEY.public_key(), serial, now, now)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(KEY, SHA256())


def test_a_chain_states_its_leafs_facts() -> None:
    chain = Chain.parse(CHAIN)
    spki = KEY.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert chain.leaf.serial == LEAF.serial_number
    assert chain.leaf.names == set(NAMES)
    assert chain.leaf.spki_sha256 == hashlib.sha256(spki).digest()
    assert chain.leaf.sha256 == hashlib.sha256(LEAF.public_bytes(Encoding.DER)).digest()
    assert (chain.leaf.not_before, chain.leaf.not_after) == (LEAF.not_valid_before_utc, LEAF.not_valid_after_utc)
    assert chain.root == "Scripted Root"
    assert chain.ders[0] == LEAF.public_bytes(Encoding.DER)
    assert chain.pem.encode() == CHAIN


def test_the_ari_id_of_rfc_9773s_example_is_reproduced() -> None:
    """RFC 9773 section 4.1, with the serial 00:87:65:43:21."""
    key_id = bytes.fromhex("69885B6B87464041E1B37B847BA0AE2CDE01C8D4")
    certificate = _certificate(0x87654321, x509.AuthorityKeyIdentifier(key_id, None, None))
    assert ari_id(certificate) == "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE"


@pytest.mark.parametrize("serial", [1, 127, 128, 255, 256, 2**159 - 1])
def test_the_serial_in_an_ari_id_is_the_content_of_a_der_integer(serial: int) -> None:
    identifier = ari_id(_certificate(serial, x509.AuthorityKeyIdentifier(b"k", None, None)))
    assert identifier is not None
    encoded = identifier.partition(".")[2]
    content = base64.urlsafe_b64decode(encoded + "==")
    assert int.from_bytes(content, "big", signed=True) == serial
    assert len(content) == 1 or content[0] or content[1] & 0x80, "DER allows no spare zero byte"


def test_a_certificate_without_an_authority_key_id_has_no_ari_id() -> None:
    assert ari_id(_certificate(1)) is None
    issuer = [x509.DirectoryName(x509.Name([]))]
    assert ari_id(_certificate(1, x509.AuthorityKeyIdentifier(None, issuer, 1))) is None


@pytest.mark.parametrize(
    "pem",
    [
        b"",
        b"<html>",
        CHAIN + PRIVATE,
        PRIVATE + CHAIN,
        CHAIN * 6,
        CHAIN[: len(CHAIN) // 2],
        b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        CA.chain(LEAF, 0).split("-----END CERTIFICATE-----\n", 1)[1].encode() + CHAIN,  # issuer first
    ],
)
def test_what_is_not_a_chain_in_order_is_refused(pem: bytes) -> None:
    with pytest.raises(ChainError):
        Chain.parse(pem)


def test_a_revocation_names_certificate_and_reason() -> None:
    assert revocation_payload(b"\xff\xfe", 4) == {"certificate": "__4", "reason": 4}
