from __future__ import annotations

import hashlib

import pytest
from agent.tests.harness import certificates as pki
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key

from otscert_agent import keys
from otscert_agent.errors import UntrustedError, ZeroKeyError
from otscert_agent.wire import point

NAMES = ["abc.boxes.example.com", "*.abc.boxes.example.com"]
CA = pki.make_root("Public CA")


def test_a_csr_has_exactly_the_names_in_order_an_empty_subject_and_always_the_same_bytes() -> None:
    der = keys.csr(77, NAMES)
    request = x509.load_der_x509_csr(der)
    assert request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value.get_values_for_type(
        x509.DNSName
    ) == list(NAMES)
    assert len(request.subject) == 0
    assert len(request.extensions) == 1
    assert request.is_signature_valid
    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    assert public == ec.derive_private_key(77, ec.SECP256R1()).public_key()
    assert der == keys.csr(77, NAMES)


def test_two_halves_that_cancel_are_no_key() -> None:
    with pytest.raises(ZeroKeyError):
        keys.combine(5, point.N - 5)
    assert keys.combine(5, point.N - 4) == 1


def test_a_chain_for_this_key_and_these_names_is_accepted_with_its_facts() -> None:
    chain = pki.issue(CA, keys.csr(77, NAMES))
    facts = keys.check_chain(chain, 77, NAMES)
    leaf = x509.load_pem_x509_certificates(chain.encode())[0]
    assert facts.names == NAMES
    assert facts.not_after == int(leaf.not_valid_after_utc.timestamp())
    assert facts.leaf_sha256 == hashlib.sha256(leaf.public_bytes(Encoding.DER)).hexdigest()


def below(name: str) -> str:
    """Our leaf, with a certificate above it that did not issue it."""
    return pki.issue(CA, keys.csr(77, NAMES)).replace(CA.pem.decode(), pki.make_root(name).pem.decode())


@pytest.mark.parametrize(
    ("chain", "why"),
    [
        (pki.issue(CA, keys.csr(78, NAMES)), "another key"),
        (pki.issue(CA, keys.csr(77, [*NAMES, "evil.example.com"])), "other names"),
        (pki.issue(CA, keys.csr(77, NAMES[:1])), "other names"),
        (below("Public CA"), "link up"),
        (below("Other"), "link up"),
        ("", "not PEM"),
        ("<html>busy</html>", "not PEM"),
    ],
)
def test_any_other_chain_is_refused(chain: str, why: str) -> None:
    with pytest.raises(UntrustedError, match=why):
        keys.check_chain(chain, 77, NAMES)


def test_a_chain_with_letters_that_are_not_ascii_is_refused() -> None:
    with pytest.raises(UntrustedError, match="not PEM"):
        keys.check_chain("Ä", 77, NAMES)


def test_the_key_file_is_the_key() -> None:
    loaded = load_pem_private_key(keys.key_pem(77), None)
    assert isinstance(loaded, ec.EllipticCurvePrivateKey)
    assert loaded.private_numbers().private_value == 77
