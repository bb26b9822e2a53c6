"""docs/protocol-vectors.json, case by case, against the wire format and the agent; some also against the RFCs."""

from __future__ import annotations

import hashlib
import hmac
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from otscert.domain.assurance import Contribution
from otscert.domain.csr import RsaPermission, check_csr
from otscert.pki import certificates as hq_pki
from otscert_agent import entropy, exchange, keys, trust
from otscert_agent.errors import ProblemError, UnreachableError, UntrustedError, ZeroKeyError
from otscert_agent.state import HqMemory
from otscert_agent.wire import b64, jws, kdf, messages, pki, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import ED25519, PublicKey, Signer
from tests.protocol_vectors import certificates, files
from tests.protocol_vectors.answers import recorded
from tests.protocol_vectors.box import EXPECTED, Recorded, judge

V: dict[str, Any] = json.loads(files.VECTORS.read_text(encoding="utf-8"))
BOOT = V["first_boot"]
SENT = {message["name"]: message for message in BOOT["messages"]}


def each(cases: list[Any], name: str = "name") -> pytest.MarkDecorator:
    def label(case: Any) -> str:
        return str(case[name]) if isinstance(case, dict) and name in case else str(case)[:40]

    return pytest.mark.parametrize("case", cases, ids=label)


def signer(alg: str, private_hex: str) -> Signer:
    private = bytes.fromhex(private_hex)
    if alg == ED25519:
        return Signer.from_seed(private)
    return Signer(ec.derive_private_key(int.from_bytes(private, "big"), ec.SECP256R1()))


def test_the_file_is_what_the_program_makes() -> None:
    assert files.VECTORS.read_text(encoding="utf-8") == files.as_text(files.vectors()), (
        "the protocol changed: look at the difference, then python -m tests.protocol_vectors"
    )


# ---- base64url, signatures, envelopes


@each(V["base64url"]["valid"], "text")
def test_base64url_goes_both_ways(case: dict[str, str]) -> None:
    assert b64.encode(bytes.fromhex(case["hex"])) == case["text"]
    assert b64.decode(case["text"]).hex() == case["hex"]


@each(V["base64url"]["invalid"], "text")
def test_base64url_has_one_spelling(case: dict[str, str]) -> None:
    with pytest.raises(WireError):
        b64.decode(case["text"])


@each(V["signatures"]["raw"], "signature_hex")
def test_signatures_are_deterministic(case: dict[str, str]) -> None:
    made = signer(case["alg"], case["private_hex"]).sign(bytes.fromhex(case["message_hex"]))
    assert made.hex() == case["signature_hex"]


# RFC 8032, section 7.1, TEST 1; RFC 6979, appendix A.2.5, "sample" and "test" with SHA-256.
RFC_SIGNATURES = """
e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b
efd48b2aacb6a8fd1140dd9cd45e81d69d2c877b56aaf991c34d0ea84eaf3716f7cb1c942d657c41d436c7a1b6e29f65f3e900dbb9aff4064dc4ab2f843acda8
f1abb023518351cd71d881567b1ea663ed3efcf6c5132b354f28d3b0b7d38367019f4113742a2b14bd25926b49c649155f267e60d3814b4c0cc84250e46f0083
"""


def test_the_raw_signatures_are_those_of_rfc_8032_and_rfc_6979() -> None:
    assert [case["signature_hex"] for case in V["signatures"]["raw"]] == RFC_SIGNATURES.split()


@each(V["signatures"]["signed"], "body")
def test_an_envelope_is_signed_read_and_named(case: dict[str, Any]) -> None:
    private = signer(case["alg"], case["private_hex"])
    header = json.loads(case["protected"])
    header.pop("alg")
    assert jws.sign(private, header, bytes.fromhex(case["payload_hex"])).decode() == case["body"]
    message = jws.parse(case["body"].encode())
    message.verify(PublicKey.from_jwk(case["jwk"]))
    body = json.loads(case["body"])
    assert hashlib.sha256(f"{body['protected']}.{body['payload']}".encode()).hexdigest() == case["digest_hex"]
    assert message.digest().hex() == case["digest_hex"]


def test_the_thumbprint_of_the_ed25519_key_is_that_of_rfc_8037() -> None:
    # RFC 8037, appendix A.3, is about the key of RFC 8032's first test.
    assert V["signatures"]["signed"][0]["thumbprint"] == "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k"


@each(V["signatures"]["not_verified"])
def test_an_envelope_that_is_not_this_keys_is_refused(case: dict[str, Any]) -> None:
    message = jws.parse(case["body"].encode())
    with pytest.raises(WireError) as refused:
        message.verify(PublicKey.from_jwk(case["jwk"]))
    assert str(refused.value) == case["rule"]


@each(V["bad_envelopes"])
def test_a_bad_envelope_is_refused_for_the_rule_it_breaks(case: dict[str, Any]) -> None:
    repeat = case.get("repeat")
    body = repeat["text"] * repeat["times"] if repeat else case["body"]
    with pytest.raises(WireError) as refused:
        jws.parse(body.encode())
    assert str(refused.value) == case["rule"]


# ---- keys


@each(V["keys"]["valid"], "alg")
def test_a_key_has_one_name(case: dict[str, Any]) -> None:
    key = PublicKey.from_jwk(case["jwk"])
    assert (key.alg, key.thumbprint(), key.jwk()) == (case["alg"], case["thumbprint"], case["jwk"])
    canonical = json.dumps(case["jwk"], sort_keys=True, separators=(",", ":")).encode()
    assert b64.encode(hashlib.sha256(canonical).digest()) == case["thumbprint"]


@each(V["keys"]["invalid"])
def test_what_must_not_be_a_key_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(WireError) as refused:
        PublicKey.from_jwk(case["jwk"])
    assert str(refused.value) == case["rule"]


def test_all_small_order_points_are_among_the_refused() -> None:
    # Eight points, two of them also written with a sign bit that their x = 0 does not have.
    small = [case for case in V["keys"]["invalid"] if case["rule"].endswith("small order")]
    assert len({case["jwk"]["x"] for case in small}) == 10


# ---- the curve and the contribution


@each(V["curve"]["additions"])
def test_points_are_added(case: dict[str, str]) -> None:
    first, second = bytes.fromhex(case["first_hex"]), bytes.fromhex(case["second_hex"])
    assert point.add(first, second).hex() == case["sum_hex"] == point.add(second, first).hex()


def test_a_sum_at_infinity_is_refused() -> None:
    case = V["curve"]["infinity"]
    with pytest.raises(WireError, match="infinity"):
        point.add(bytes.fromhex(case["first_hex"]), bytes.fromhex(case["second_hex"]))


@each(V["curve"]["invalid_points"])
def test_a_point_that_is_none_is_refused(case: dict[str, str]) -> None:
    with pytest.raises(WireError):
        point.coordinates(bytes.fromhex(case["hex"]))


@each(V["curve"]["scalars_from_48_bytes"], "scalar_hex")
def test_48_bytes_make_a_scalar(case: dict[str, str]) -> None:
    number = int(case["hex"], 16) % (int(V["curve"]["n_hex"], 16) - 1) + 1
    assert point.scalar_from_bytes(bytes.fromhex(case["hex"])) == number == int(case["scalar_hex"], 16)


def test_a_scalar_lies_between_1_and_n_minus_1() -> None:
    for text in V["curve"]["valid_scalars_hex"]:
        assert point.encode_scalar(point.parse_scalar(bytes.fromhex(text))).hex() == text
    for case in V["curve"]["invalid_scalars"]:
        with pytest.raises(WireError):
            point.parse_scalar(bytes.fromhex(case["hex"]))


@each(V["curve"]["contributions"])
def test_box_and_hq_agree_on_the_key(case: dict[str, str]) -> None:
    d0, r, n = (int(text, 16) for text in (case["d0_hex"], case["r_hex"], V["curve"]["n_hex"]))
    assert keys.combine(d0, r) == (d0 + r) % n == int(case["d_hex"], 16)
    assert point.public_point(d0).hex() == case["d0_point_hex"]
    at_hq = point.contributed(bytes.fromhex(case["d0_point_hex"]), r)
    assert at_hq.hex() == case["point_hex"] == point.public_point(int(case["d_hex"], 16)).hex()


def test_a_contribution_that_cancels_the_key_is_noticed_on_both_sides() -> None:
    d0, r = (int(V["curve"]["zero_key"][name], 16) for name in ("d0_hex", "r_hex"))
    with pytest.raises(ZeroKeyError):
        keys.combine(d0, r)
    with pytest.raises(WireError, match="infinity"):
        point.contributed(point.public_point(d0), r)


# ---- derivations


@each(V["derivations"]["hkdf"], "okm_hex")
def test_hkdf_derives(case: dict[str, Any]) -> None:
    ikm, info = bytes.fromhex(case["ikm_hex"]), bytes.fromhex(case["info_hex"])
    assert kdf.hkdf_extract(b"", ikm).hex() == case["prk_hex"]
    assert kdf.hkdf(ikm, info, case["length"]).hex() == case["okm_hex"]


def test_hkdf_is_rfc_5869() -> None:
    # Appendix A.1 and A.3 (no salt, no info).
    prk = kdf.hkdf_extract(bytes(range(13)), b"\x0b" * 22)
    okm = "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    assert kdf.hkdf_expand(prk, bytes(range(0xF0, 0xFA)), 42).hex() == okm
    okm = "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"
    assert kdf.hkdf(b"\x0b" * 22, b"", 42).hex() == okm


def test_the_identity_comes_from_box_and_hq() -> None:
    case = V["derivations"]["identity"]
    id_seed, r, txid = (bytes.fromhex(case[name]) for name in ("id_seed_hex", "r_hex", "txid_hex"))
    assert case["info_hex"] == (b"otscert/v1/id" + txid).hex()
    seed = kdf.identity_seed(id_seed, r, txid)
    assert seed.hex() == case["ed25519_seed_hex"] == kdf.hkdf(id_seed + r, bytes.fromhex(case["info_hex"])).hex()
    assert Signer.from_seed(seed).public.thumbprint() == case["thumbprint"]


def test_the_token_is_proved_and_not_sent() -> None:
    case = V["derivations"]["token_proof"]
    message = b"otscert/v1/token" + bytes.fromhex(case["txid_hex"]) + case["thumbprint"].encode()
    assert message.hex() == case["message_hex"]
    proof = hmac.new(case["token"].encode(), message, hashlib.sha256).digest()
    assert b64.encode(proof) == case["proof"]
    assert kdf.token_proof(case["token"].encode(), bytes.fromhex(case["txid_hex"]), case["thumbprint"]) == proof


@each(V["extractor"])
def test_the_extractor_makes_d0_from_the_sources(case: dict[str, Any]) -> None:
    sources = entropy.Sources(**{name: bytes.fromhex(value) for name, value in case["sources_hex"].items()})
    prk = entropy.extract(sources)
    mix = entropy.Mix(prk=prk, crng="ready", hwrng=False, used=sources.used())
    d0_bytes = mix.d0_bytes(purpose=b"tls", attempt=case["attempt"], seq=case["seq"])
    d0 = point.scalar_from_bytes(d0_bytes)
    assert prk.hex() == case["prk_hex"]
    assert d0_bytes.hex() == case["d0_48_bytes_hex"]
    assert point.encode_scalar(d0).hex() == case["d0_hex"]
    assert b64.encode(point.public_point(d0)) == case["d0_point"]
    assert mix.hello_seed().hex() == case["hello_key_seed_hex"]
    assert mix.id_seed().hex() == case["id_seed_hex"]
    assert mix.nonce(16).hex() == case["nonce_hex"]
    assert mix.next_pool().hex() == case["next_pool_hex"]
    assert (
        entropy.refreshed_pool(mix.next_pool(), bytes.fromhex(case["hq_seed_hex"])).hex() == case["pool_after_seed_hex"]
    )


def test_no_two_extractions_give_the_same_d0() -> None:
    assert len({case["d0_point"] for case in V["extractor"]}) == len(V["extractor"]) == 5


# ---- HQ's certificates and answers


@each(V["generations"]["valid"], "generation")
def test_a_generation_is_a_der_integer(case: dict[str, Any]) -> None:
    assert pki.encode_generation(case["generation"]).hex() == case["der_hex"]
    assert pki.decode_generation(bytes.fromhex(case["der_hex"])) == case["generation"]


@each(V["generations"]["invalid"], "der_hex")
def test_a_generation_in_another_form_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="generation"):
        pki.decode_generation(bytes.fromhex(case["der_hex"]))


@each(V["answers"]["cases"])
def test_a_box_judges_an_answer(case: dict[str, Any]) -> None:
    given = recorded(case, V["answers"]["request"], V["answers"]["root_pem"])
    if case["accepted"]:
        _, memory = judge(given)
        assert memory == HqMemory(**case["memory_after"])
        return
    with pytest.raises((UntrustedError, UnreachableError)) as refused:
        judge(given)
    assert str(refused.value) == case["rule"]


@each(V["answers"]["tls_leaves"])
def test_a_box_judges_hqs_tls_leaf(case: dict[str, Any]) -> None:
    leaf = x509.load_pem_x509_certificate(case["certificate"].encode())
    memory, build_epoch = HqMemory(**case["memory"]), case["build_epoch"]
    if case["accepted"]:
        assert trust.check_tls_leaf(leaf, memory, build_epoch) == HqMemory(**case["memory_after"])
        return
    with pytest.raises(UntrustedError) as refused:
        trust.check_tls_leaf(leaf, memory, build_epoch)
    assert str(refused.value) == case["rule"]


@pytest.mark.parametrize("group", ["cases", "tls_leaves"])
def test_each_case_of_trust_has_a_name_of_its_own(group: str) -> None:
    names = [case["name"] for case in V["answers"][group]]
    assert len(names) == len(set(names))
    assert {case["accepted"] for case in V["answers"][group]} == {True, False}


def profile(certificate: x509.Certificate) -> list[tuple[str, bool]]:
    return sorted((extension.oid.dotted_string, extension.critical) for extension in certificate.extensions)


def test_the_fixed_certificates_have_the_profile_of_hqs_own() -> None:
    now = datetime(2026, 12, 1, tzinfo=UTC)
    root, fixed_root = hq_pki.make_root("boxes.example.com", now=now), certificates.root()
    made = [
        root,
        hq_pki.make_answer_leaf(root, generation=3, now=now),
        hq_pki.make_tls_leaf(root, hosts=("hq.example.com",), generation=3, now=now),
    ]
    fixed = [fixed_root, certificates.answer_leaf(fixed_root), certificates.tls_leaf(fixed_root)]
    assert [profile(pair.certificate) for pair in made] == [profile(pair.certificate) for pair in fixed]


# ---- the recorded first boot


def test_the_box_of_the_first_boot_derives_what_is_recorded() -> None:
    box = BOOT["box"]
    r, txid = b64.decode(box["r"]), b64.decode(box["txid"])
    d0 = int(box["d0_hex"], 16)
    d = keys.combine(d0, point.parse_scalar(r))
    assert SENT["hello"]["request_payload"]["d0"] == b64.encode(point.public_point(d0))
    assert point.encode_scalar(d).hex() == box["d_hex"]
    assert kdf.identity_seed(bytes.fromhex(box["id_seed_hex"]), r, txid).hex() == box["identity_seed_hex"]
    assert keys.csr(d, box["names"]).hex() == box["csr_hex"]
    expected = point.contributed(point.public_point(d0), point.parse_scalar(r))
    check_csr(
        bytes.fromhex(box["csr_hex"]),
        names=tuple(box["names"]),
        expected_point=expected,
        contribution=Contribution.OPEN,
        rsa_allowed=RsaPermission(allowed=False, reason="the example is on P-256"),
    )


@each(BOOT["messages"])
def test_a_request_of_the_first_boot_is_signed_by_its_key(case: dict[str, Any]) -> None:
    seed = BOOT["box"]["hello_key_seed_hex" if case["name"].startswith("hello") else "identity_seed_hex"]
    sender = Signer.from_seed(bytes.fromhex(seed))
    message = jws.parse(case["request"].encode())
    message.verify(sender.public)
    assert message.digest().hex() == case["request_digest_hex"]
    header = case["request_header"]
    assert header.get("kid", sender.public.thumbprint()) == sender.public.thumbprint()
    assert header.get("jwk", sender.public.jwk()) == sender.public.jwk()
    again = exchange.request(
        sender,
        typ=header["typ"],
        url=header["url"],
        seq=header["seq"],
        introduce="jwk" in header,
        payload=message.payload,
    )
    assert again.decode() == case["request"]


@each(BOOT["messages"])
def test_an_answer_of_the_first_boot_is_accepted_by_a_box(case: dict[str, Any]) -> None:
    given = Recorded(
        url=case["url"],
        request=case["request"],
        audience=case["answer_header"]["aud"],
        status=case["status"],
        content_type=jws.CONTENT_TYPE,
        answer=case["answer"],
        roots=[BOOT["root_pem"]],
        memory={},
        build_epoch=BOOT["build_epoch"],
    )
    if case["status"] == 409:
        with pytest.raises(ProblemError) as problem:
            judge(given)
        assert problem.value.problem == messages.Problem(**case["answer_payload"])
        return
    message, memory = judge(given)
    assert json.loads(messages.to_json(message)) == case["answer_payload"]
    assert isinstance(message, EXPECTED)
    assert memory.answer_generation == 3


def test_the_same_bytes_get_the_same_answer() -> None:
    first, again = SENT["hello"], SENT["hello again, byte for byte"]
    assert (first["request"], first["answer"]) == (again["request"], again["answer"])


def test_the_certificate_of_the_first_boot_is_for_the_agreed_key() -> None:
    box = BOOT["box"]
    facts = keys.check_chain(SENT["order"]["answer_payload"]["chain"], int(box["d_hex"], 16), box["names"])
    assert facts.leaf_sha256 == SENT["check-in"]["request_payload"]["served_sha256"]
