"""HQ's own keys: what is in the certificates, how they are kept, and when they are renewed."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from otscert.pki.answers import AnswerSigner
from otscert.pki.certificates import KeyPair, make_answer_leaf, make_root
from otscert.pki.certificates import utc_now_from as utc
from otscert.pki.files import PkiError, PkiFolder
from otscert.pki.seal import KEY_BYTES, Seal, SealBroken
from otscert_agent.errors import UntrustedError
from otscert_agent.state import HqMemory
from otscert_agent.trust import Pins, check_answer_chain, check_tls_leaf
from otscert_agent.wire import b64, jws
from otscert_agent.wire.pki import EKU_ANSWER

NOW_S = 1_795_000_000
DAY_S = 86_400
HOSTS = ("hq.example.com", "192.0.2.1", "2001:db8::1")


@pytest.fixture
def pki(tmp_path: Path) -> PkiFolder:
    folder = PkiFolder(folder=tmp_path / "pki")
    folder.create(zone="boxes.example.com", hosts=HOSTS, passphrase=None, now_s=NOW_S)
    return folder


def extension(pair: KeyPair, kind: type[x509.ExtendedKeyUsage]) -> x509.Extension[x509.ExtendedKeyUsage]:
    return pair.certificate.extensions.get_extension_for_class(kind)


def pins(pki: PkiFolder) -> Pins:
    return Pins.parse(pki.root_pem.read_bytes())


def test_an_agent_accepts_the_answer_certificate_for_answers_alone(pki: PkiFolder) -> None:
    answer = pki.answer().certificate
    memory = check_answer_chain([answer], pins(pki), time=NOW_S, memory=HqMemory(), build_epoch=NOW_S - DAY_S)
    assert memory.answer_generation == 1
    with pytest.raises(UntrustedError, match="for another purpose"):
        check_tls_leaf(answer, HqMemory(), NOW_S - DAY_S)
    usage = extension(pki.answer(), x509.ExtendedKeyUsage)
    assert usage.critical
    assert [each.dotted_string for each in usage.value] == [EKU_ANSWER]


def test_an_agent_accepts_the_tls_leaf_for_tls_alone(pki: PkiFolder) -> None:
    leaf = pki.tls().certificate
    assert check_tls_leaf(leaf, HqMemory(), NOW_S - DAY_S).tls_generation == 1
    with pytest.raises(UntrustedError, match="for another purpose"):
        check_answer_chain([leaf], pins(pki), time=NOW_S, memory=HqMemory(), build_epoch=NOW_S - DAY_S)


def test_the_tls_leaf_names_hosts_and_addresses(pki: PkiFolder) -> None:
    names = pki.tls().certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["hq.example.com"]
    assert [str(each) for each in names.get_values_for_type(x509.IPAddress)] == ["192.0.2.1", "2001:db8::1"]
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(pki.tls_pem)


def test_the_root_signs_leaves_and_cross_certificates(pki: PkiFolder) -> None:
    root = x509.load_pem_x509_certificate(pki.root_pem.read_bytes())
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 1)
    assert (root.not_valid_after_utc - root.not_valid_before_utc).days >= 25 * 365


def test_another_hqs_root_vouches_for_nothing_here(pki: PkiFolder) -> None:
    other = make_root("boxes.example.com", now=utc(NOW_S))
    stranger = make_answer_leaf(other, generation=9, now=utc(NOW_S))
    with pytest.raises(UntrustedError, match="pinned root"):
        check_answer_chain([stranger.certificate], pins(pki), time=NOW_S, memory=HqMemory(), build_epoch=0)


def test_everything_secret_is_private(pki: PkiFolder) -> None:
    assert pki.folder.stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in pki.folder.iterdir()}
    assert modes == dict.fromkeys(["root.pem", "root.key", "tls.pem", "answer.pem", "store.key"], 0o600)


def test_a_root_is_never_replaced(pki: PkiFolder) -> None:
    before = pki.root_pem.read_bytes()
    with pytest.raises(PkiError, match="pinned in firmware"):
        pki.create(zone="boxes.example.com", hosts=HOSTS, passphrase=None, now_s=NOW_S)
    assert pki.root_pem.read_bytes() == before


def test_a_creation_that_was_cut_off_can_be_repeated(pki: PkiFolder) -> None:
    pki.root_pem.unlink()
    pki.create(zone="boxes.example.com", hosts=HOSTS, passphrase=None, now_s=NOW_S)
    check_answer_chain([pki.answer().certificate], pins(pki), time=NOW_S, memory=HqMemory(), build_epoch=0)


def test_leaves_are_renewed_sixty_days_ahead_with_a_higher_generation(pki: PkiFolder) -> None:
    assert pki.renew_leaves(hosts=HOSTS, now_s=NOW_S) == []
    assert pki.renew_leaves(hosts=HOSTS, now_s=NOW_S + 305 * DAY_S) == []
    late_s = NOW_S + 307 * DAY_S
    assert pki.renew_leaves(hosts=HOSTS, now_s=late_s) == ["tls.pem", "answer.pem"]
    memory = HqMemory(answer_generation=2, tls_generation=2)
    check_answer_chain([pki.answer().certificate], pins(pki), time=late_s, memory=memory, build_epoch=NOW_S)
    check_tls_leaf(pki.tls().certificate, memory, NOW_S)
    with pytest.raises(UntrustedError, match="generation"):
        check_tls_leaf(pki.tls().certificate, HqMemory(tls_generation=3), NOW_S)
    assert pki.renew_leaves(hosts=HOSTS, now_s=late_s) == []


def test_a_new_host_renews_the_tls_leaf_alone(pki: PkiFolder) -> None:
    answer = pki.answer().certificate
    assert pki.renew_leaves(hosts=("other.example.com",), now_s=NOW_S) == ["tls.pem"]
    assert pki.answer().certificate == answer


@pytest.mark.parametrize("offline", [True, False], ids=["offline", "behind a passphrase"])
def test_without_the_root_key_nothing_is_renewed_and_nothing_breaks(tmp_path: Path, *, offline: bool) -> None:
    pki = PkiFolder(folder=tmp_path / "sealed")
    pki.create(zone="z.example", hosts=HOSTS, passphrase=None if offline else b"correct horse", now_s=NOW_S)
    key = pki.folder / "root.key"
    if offline:
        key.unlink()
    else:
        assert b"ENCRYPTED" in key.read_bytes()
        load_pem_private_key(key.read_bytes(), b"correct horse")
    assert pki.renew_leaves(hosts=HOSTS, now_s=NOW_S + 360 * DAY_S) == []
    pki.answer()


@pytest.mark.parametrize("name", ["answer.pem", "tls.pem", "store.key"])
def test_a_missing_file_is_named_with_what_to_do(pki: PkiFolder, name: str) -> None:
    (pki.folder / name).unlink()
    read = {"answer.pem": pki.answer, "tls.pem": pki.tls, "store.key": pki.store_key}[name]
    with pytest.raises(PkiError, match=f"{name} cannot be read .*run otscert init, or restore"):
        read()


def test_a_broken_file_is_named(pki: PkiFolder) -> None:
    (pki.folder / "answer.pem").write_bytes(b"hello")
    with pytest.raises(PkiError, match=r"answer\.pem is not a certificate with its key"):
        pki.answer()


def test_an_answer_says_whom_and_what_it_answers(pki: PkiFolder) -> None:
    signed = AnswerSigner(pki.answer()).sign(b"{}", typ="t", audience="box", request_digest=b"digest", now_s=NOW_S)
    header = jws.parse(signed).header
    assert {name: header[name] for name in ("typ", "alg", "aud", "req", "time")} == {
        "typ": "t",
        "alg": "ES256",
        "aud": "box",
        "req": b64.encode(b"digest"),
        "time": NOW_S,
    }
    assert len(header["x5c"]) == 1


def test_a_seal_opens_for_its_purpose_alone() -> None:
    seal = Seal(bytes(KEY_BYTES))
    closed = seal.close(b"value", purpose="answer")
    assert seal.open(closed, purpose="answer") == b"value"
    assert seal.close(b"value", purpose="answer") != closed
    changed = closed[:-1] + bytes([closed[-1] ^ 1])
    for sealed, purpose, key in (
        (closed, "account key", bytes(KEY_BYTES)),
        (changed, "answer", bytes(KEY_BYTES)),
        (closed, "answer", b"\1" * KEY_BYTES),
        (b"", "answer", bytes(KEY_BYTES)),
        (closed[:12], "answer", bytes(KEY_BYTES)),
    ):
        with pytest.raises(SealBroken, match=f"the sealed {purpose} does not open"):
            Seal(key).open(sealed, purpose=purpose)
    with pytest.raises(ValueError, match="32 bytes long"):
        Seal(b"short")
