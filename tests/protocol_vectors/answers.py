"""Vectors of trust: answers that a box accepts, and answers that differ from those by exactly one thing."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.certificates import KeyPair
from otscert_agent import exchange, trust
from otscert_agent.errors import AgentError
from otscert_agent.state import HqMemory
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.keys import Signer
from tests.protocol_vectors import certificates as pki
from tests.protocol_vectors import fixed
from tests.protocol_vectors.box import Recorded, judge

URL = "https://hq.example.com/device/v1/checkin"
BUILD_EPOCH = pki.NOW_S - 90 * 86400
MEMORY: dict[str, Any] = {"floor": 0, "tls_generation": 0, "answer_generation": 3, "deaf_s": 0}
SOUND = pki.Leaf(label="hq answer")
DAY = dt.timedelta(days=1)
_LATER_S = 400 * 86400


def answers() -> dict[str, Any]:
    """All cases; each says what the box remembered, and whether it must accept."""
    root = pki.root()
    request = _request()
    accepted: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("a sound answer", {}, {}),
        ("a higher generation than was seen", {"memory": {**MEMORY, "answer_generation": 2}}, {}),
        ("time equal to notBefore", {}, {"time": pki.NOW_S - 3600}),
        ("time equal to notAfter", {}, {"time": int((pki.NOW + pki.YEAR).timestamp())}),
        ("unknown header members are ignored", {}, {"kid": "x", "new": [1]}),
        ("after 7 deaf days the floor is the build epoch", _floor_ahead(deaf_s=trust.DEAF_LIMIT_S), {}),
    ]
    refused: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
        ("aud is another box", {}, {"aud": fixed.ed25519("another box").public.thumbprint()}),
        ("req is another request", {}, {"req": b64.encode(fixed.octets("another request", 32))}),
        ("no time", {}, {"time": None}),
        ("time is a string", {}, {"time": str(pki.NOW_S)}),
        ("time before notBefore", {}, {"time": pki.NOW_S - 3601}),
        ("time after notAfter", {}, {"time": int((pki.NOW + pki.YEAR).timestamp()) + 1}),
        ("time before the build epoch", {"build_epoch": pki.NOW_S + 1}, {}),
        ("time before the floor, not yet deaf for 7 days", _floor_ahead(deaf_s=trust.DEAF_LIMIT_S - 1), {}),
        ("a certificate that ended before the build epoch", {"build_epoch": pki.NOW_S + _LATER_S}, {}),
        ("a lower generation than was seen", {"memory": {**MEMORY, "answer_generation": 4}}, {}),
        ("no x5c", {}, {"x5c": None}),
        ("x5c in base64url", {}, {"x5c": [b64.encode(_der(pki.answer_leaf(root)))]}),
        ("an empty x5c", {}, {"x5c": []}),
        ("a typ that is no answer to this", {}, {"typ": "otscert-v1-hello"}),
    ]
    cases = [
        _case(name, _answer(pki.answer_leaf(root), request, **head), request, ok, **about)
        for ok, group in ((True, accepted), (False, refused))
        for name, about, head in group
    ]
    leaves = [
        _case(name, _answer(pki.leaf(issuer, leaf), request), request, ok) for name, ok, issuer, leaf in _leaves(root)
    ]
    return {
        "url": URL,
        "box_seed_hex": fixed.octets("device", 32).hex(),
        "audience": fixed.ed25519("device").public.thumbprint(),
        "request": request.decode(),
        "root_pem": pki.pem(root.certificate),
        "cases": [*cases, *leaves, _changed_signature(root, request), _unsigned(request)],
        "tls_leaves": _tls_leaves(root),
    }  # fmt: skip


def _floor_ahead(*, deaf_s: int) -> dict[str, Any]:
    return {"memory": {**MEMORY, "floor": pki.NOW_S + 1, "deaf_s": deaf_s}}


def _leaves(root: KeyPair) -> list[tuple[str, bool, KeyPair, pki.Leaf]]:
    unknown = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.25.1"), b"\x05\x00")
    both = replace(SOUND, usages=(pki.EKU_ANSWER, pki.SERVER_AUTH))
    return [
        ("a root of the same name with another key", False, pki.root("another root"), SOUND),
        ("the EKU of the TLS leaf", False, root, replace(SOUND, usages=(pki.SERVER_AUTH,))),
        ("a second EKU", False, root, both),
        ("no EKU", False, root, replace(SOUND, usages=())),
        ("an EKU that is not critical", False, root, replace(SOUND, critical=False)),
        ("no generation", False, root, replace(SOUND, generation=None)),
        ("an unknown critical extension", False, root, replace(SOUND, extra=unknown)),
        ("issued by a leaf", False, pki.answer_leaf(root), SOUND),
    ]


def _request() -> bytes:
    # What stands in it does not matter to the answer: only its digest does.
    return exchange.request(
        fixed.ed25519("device"), typ=messages.CheckIn.TYP, url=URL, seq=42, introduce=False, payload=b"{}"
    )


def _answer(signer: KeyPair, request: bytes, **changes: Any) -> bytes:
    head = {
        "typ": messages.CheckInAnswer.TYP,
        "x5c": [base64.b64encode(_der(signer)).decode()],
        "aud": fixed.ed25519("device").public.thumbprint(),
        "req": b64.encode(jws.parse(request).digest()),
        "time": pki.NOW_S,
        **changes,
    }
    message = messages.CheckInAnswer(
        epoch_token=b64.encode(fixed.octets("epoch token", 32)),
        next_checkin_s=21600,
        seed=b64.encode(fixed.octets("seed", 32)),
        cmd_seq=0,
    )
    present = {name: member for name, member in head.items() if member is not None}
    return jws.sign(Signer(signer.key), present, messages.to_json(message))


def _der(pair: KeyPair) -> bytes:
    return pair.certificate.public_bytes(Encoding.DER)


def _changed_signature(root: KeyPair, request: bytes) -> dict[str, Any]:
    body = json.loads(_answer(pki.answer_leaf(root), request))
    body["signature"] = b64.encode(Signer(fixed.p256("another key")).sign(b"x"))
    return _case("a signature by another key", json.dumps(body, separators=(",", ":")).encode(), request, ok=False)


def _unsigned(request: bytes) -> dict[str, Any]:
    problem = messages.Problem(type="urn:otscert:v1:start-over", title="No.", status=409)
    body = messages.to_json(problem)
    return _case("an unsigned problem", body, request, ok=False, content_type="application/problem+json")


def _case(name: str, answer: bytes, request: bytes, ok: bool, **about: Any) -> dict[str, Any]:  # noqa: FBT001 - one column of the tables above
    case = {
        "name": name,
        "build_epoch": about.get("build_epoch", BUILD_EPOCH),
        "memory": about.get("memory", MEMORY),
        "content_type": about.get("content_type", jws.CONTENT_TYPE),
        "answer": answer.decode(),
    }
    outcome = _outcome(lambda: judge(recorded(case, request.decode(), pki.pem(pki.root().certificate)))[1])
    assert outcome["accepted"] is ok, f"{name}: {outcome}"
    return case | outcome


def _outcome(check: Callable[[], HqMemory]) -> dict[str, Any]:
    try:
        after = check()
    except AgentError as error:
        return {"accepted": False, "rule": str(error)}
    return {"accepted": True, "memory_after": asdict(after)}


def recorded(case: dict[str, Any], request: str, root_pem: str) -> Recorded:
    return Recorded(
        url=URL,
        request=request,
        audience=fixed.ed25519("device").public.thumbprint(),
        status=200,
        content_type=case["content_type"],
        answer=case["answer"],
        roots=[root_pem],
        memory=case["memory"],
        build_epoch=case["build_epoch"],
    )


def _tls_leaves(root: KeyPair) -> list[dict[str, Any]]:
    """What a box checks on HQ's TLS leaf beyond chain and host name."""
    sound = pki.Leaf(label="hq tls", usages=(pki.SERVER_AUTH,), critical=False, host="hq.example.com")
    tomorrow = replace(sound, not_before=pki.NOW + DAY)
    cases: list[tuple[str, bool, pki.Leaf, dict[str, Any]]] = [
        ("a sound TLS leaf", True, sound, {}),
        ("dates that begin tomorrow: no clock is asked", True, tomorrow, {}),
        ("the answer certificate", False, SOUND, {}),
        ("a lower generation than was seen", False, sound, {"memory": {**MEMORY, "tls_generation": 4}}),
        ("no generation", False, replace(sound, generation=None), {}),
        ("ended before the build epoch", False, sound, {"build_epoch": pki.NOW_S + _LATER_S}),
    ]
    return [_tls_case(name, pki.leaf(root, leaf).certificate, ok, about) for name, ok, leaf, about in cases]


def _tls_case(name: str, leaf: x509.Certificate, ok: bool, about: dict[str, Any]) -> dict[str, Any]:  # noqa: FBT001 - as above
    memory, build_epoch = about.get("memory", MEMORY), about.get("build_epoch", BUILD_EPOCH)
    case = {"name": name, "certificate": pki.pem(leaf), "build_epoch": build_epoch, "memory": memory}
    outcome = _outcome(lambda: trust.check_tls_leaf(leaf, HqMemory(**memory), build_epoch))
    assert outcome["accepted"] is ok, f"{name}: {outcome}"
    return case | outcome
