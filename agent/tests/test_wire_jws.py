from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from otscert_agent.wire import b64, jws
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import Signer

SIGNER = Signer.from_seed(bytes(range(32)))


def envelope(head: dict[str, Any] | bytes, payload: bytes = b"{}", **members: Any) -> bytes:
    protected = head if isinstance(head, bytes) else json.dumps(head).encode()
    parts = {"protected": b64.encode(protected), "payload": b64.encode(payload), "signature": "AA", **members}
    return json.dumps({name: value for name, value in parts.items() if value is not None}).encode()


@settings(max_examples=30)
@given(st.binary(max_size=200), st.integers(0, 2**53))
def test_what_is_signed_is_read_back(payload: bytes, seq: int) -> None:
    body = jws.sign(SIGNER, {"typ": "t", "seq": seq}, payload)
    message = jws.parse(body)
    message.verify(SIGNER.public)
    assert message.payload == payload
    assert message.header == {"typ": "t", "seq": seq, "alg": "Ed25519"}


def test_the_digest_is_of_the_bytes_that_are_signed() -> None:
    body = json.loads(jws.sign(SIGNER, {"typ": "t"}, b"x"))
    expected = hashlib.sha256(f"{body['protected']}.{body['payload']}".encode()).digest()
    assert jws.from_object(body).digest() == expected


@pytest.mark.parametrize("alg", ["none", "HS256", "ES256", "EdDSA", ""])
def test_an_algorithm_that_is_not_the_keys_own_is_refused(alg: str) -> None:
    message = jws.parse(envelope({"typ": "t", "alg": alg}))
    with pytest.raises(WireError, match="alg is"):
        message.verify(SIGNER.public)


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (envelope({"typ": "t", "alg": "a"}, header={"kid": "x"}), "exactly the members"),
        (envelope({"typ": "t", "alg": "a"}, signature=None), "exactly the members"),
        (envelope({"typ": "t", "alg": "a"}, signature=5), "must be strings"),
        (envelope({"typ": "t", "alg": "a", "crit": ["b64"], "b64": False}), "crit"),
        (envelope({"alg": "a"}), "no typ"),
        (envelope({"typ": "t"}), "no alg"),
        (envelope({"typ": "t", "alg": None}), "no alg"),
        (envelope(b"[]"), "not a JSON object"),
        (envelope(b'{"typ":"t","typ":"u","alg":"a"}'), "twice"),
        (envelope(b'{"typ":"t","alg":"a","x":NaN}'), "NaN"),
        (envelope(b'{"typ":"t","alg":"a","seq":' + b"9" * 21 + b"}"), "20 digits"),
        (envelope(b"\xff"), "not JSON"),
        (b'{"payload":' + b"[" * 60000, "not JSON"),
        (b"{" * 70000, "longer than"),
        (b"", "not JSON"),
        (b"null", "not a JSON object"),
        (envelope({"typ": "t", "alg": "a"}).replace(b"e30", b"e30="), "payload is not base64url"),
    ],
)
def test_an_envelope_that_is_not_exactly_v1s_is_refused(body: bytes, why: str) -> None:
    with pytest.raises(WireError, match=why):
        jws.parse(body)


@given(st.binary(max_size=300))
def test_junk_is_refused_and_nothing_else_happens(body: bytes) -> None:
    with pytest.raises(WireError):
        jws.parse(body)


def test_a_changed_payload_is_noticed() -> None:
    body = json.loads(jws.sign(SIGNER, {"typ": "t"}, b"one"))
    message = jws.from_object({**body, "payload": b64.encode(b"two")})
    with pytest.raises(WireError, match="does not fit"):
        message.verify(SIGNER.public)
