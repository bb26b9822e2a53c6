"""Signed requests out, verified answers in: protocol v1's envelope from the box's side.

Knows headers, who may have signed an answer, and that an answer belongs to exactly one request. Nothing leaves here
unverified, except the wish of an unsigned problem to be left alone for a while. Does not know the order of messages.
"""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any, Callable, Union

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent import trust
from otscert_agent.errors import ProblemError, UnreachableError, UntrustedError
from otscert_agent.state import Store
from otscert_agent.transport import Reply, Transport
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import ES256, PublicKey, Signer

_MAX_CHAIN = 4
_MAX_UNSIGNED_WAIT_S = 3600

Answer = Union[
    messages.Challenge,
    messages.Granted,
    messages.Pending,
    messages.Refused,
    messages.OrderState,
    messages.CheckInAnswer,
]


def request(signer: Signer, *, typ: str, url: str, seq: int, introduce: bool, payload: bytes) -> bytes:
    """The body of a request; `introduce` sends the key itself (`jwk`) instead of its thumbprint (`kid`)."""
    key: dict[str, Any] = {"jwk": signer.public.jwk()} if introduce else {"kid": signer.public.thumbprint()}
    return jws.sign(signer, {"typ": typ, **key, "url": url, "seq": seq}, payload)


class Exchange:
    """Conversation with one HQ. Remembers what it learns about HQ's certificates in `store`."""

    def __init__(
        self,
        transport: Transport,
        pins: trust.Pins,
        store: Store,
        build_epoch: int,
        heard: Callable[[int, int], None] | None = None,
    ) -> None:
        """`heard` is told each accepted time of HQ's, and the floor."""
        self._transport = transport
        self._heard = heard
        # HQ answers a message of an earlier run as it did then; that time may be long ago.
        self._left_over = store.state.sent.body if store.state.sent else None
        self._pins = pins
        self._store = store
        self._build_epoch = build_epoch

    def check_tls_leaf(self, der: bytes) -> None:
        """Judge the leaf of a new connection (handed to the transport); raise `UntrustedError`."""
        leaf = _certificate(der)
        self._store.learn(trust.check_tls_leaf(leaf, self._store.state.hq, self._build_epoch))

    def connect(self) -> None:
        """Open the connection now; raise `UnreachableError` or `UntrustedError`."""
        self._transport.connect()

    def send(self, url: str, body: bytes, audience: str, expected: tuple[type, ...]) -> Answer:
        """Send a request and return its verified answer, one of `expected`.

        Raises `ProblemError` for a signed problem, `UnreachableError` when no signed answer came, `UntrustedError`
        when something else than this maker's HQ answered. `audience` is the thumbprint of the key that signed `body`.
        """
        reply = self._transport.post(url, body)
        if reply.content_type != jws.CONTENT_TYPE:
            raise UnreachableError(_unsigned_reason(reply), _unsigned_wait_s(reply))
        try:
            answer = jws.parse(reply.body)
            time = self._verify(answer, audience, jws.parse(body).digest())
            if self._heard is not None and body != self._left_over:
                self._heard(time, trust.floor(self._store.state.hq, self._build_epoch))
            return _message(answer, expected)
        except WireError as error:
            raise UntrustedError(f"HQ's answer breaks the protocol: {error}") from None

    def close(self) -> None:
        self._transport.close()

    def _verify(self, answer: jws.Jws, audience: str, request_digest: bytes) -> int:
        """Check everything about an answer but its payload; returns HQ's time."""
        header = answer.header
        if header.get("aud") != audience:
            raise UntrustedError("the answer is for another box")
        if header.get("req") != b64.encode(request_digest):
            raise UntrustedError("the answer belongs to another request")
        time = header.get("time")
        if not isinstance(time, int) or isinstance(time, bool):
            raise UntrustedError("the answer carries no time")
        chain = _chain(header.get("x5c"))
        memory = trust.check_answer_chain(
            chain, self._pins, time=time, memory=self._store.state.hq, build_epoch=self._build_epoch
        )
        answer.verify(_answer_key(chain[0]))
        self._store.learn(memory)  # only after the signature: anybody can send a chain
        return time


def _message(answer: jws.Jws, expected: tuple[type, ...]) -> Answer:
    payload = jws.json_object(answer.payload, what="payload")
    typ = answer.header["typ"]
    if typ == messages.Problem.TYP:
        raise ProblemError(messages.from_object(messages.Problem, payload))
    for kind in expected:
        if typ == kind.TYP:  # type: ignore[attr-defined]  # every message has it
            message: Answer = messages.from_object(kind, payload)
            return message
    raise UntrustedError(f"HQ answered with {typ!r}, which is no answer to this request")


def _chain(x5c: Any) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= _MAX_CHAIN:
        raise UntrustedError("the answer's x5c is not a list of one to four certificates")
    try:
        return [_certificate(base64.b64decode(text, validate=True)) for text in x5c]
    except (TypeError, binascii.Error, ValueError):
        raise UntrustedError("the answer's x5c is not base64") from None


def _certificate(der: bytes) -> x509.Certificate:
    with trust.readable():
        return x509.load_der_x509_certificate(der)


def _answer_key(leaf: x509.Certificate) -> PublicKey:
    with trust.readable():
        key = leaf.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise UntrustedError("HQ's answer key is not on P-256")
    return PublicKey.from_raw(ES256, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint))


def _unsigned_reason(reply: Reply) -> str:
    return f"HQ gave no signed answer (HTTP {reply.status})"


def _unsigned_wait_s(reply: Reply) -> int | None:
    # RFC 9457 without a signature: anybody on the path could have written it. It may make us wait a while, no more.
    if reply.content_type != "application/problem+json":
        return None
    try:
        wait_s = json.loads(reply.body).get("retry_after_s")
    except (ValueError, AttributeError, RecursionError):
        return None
    return min(wait_s, _MAX_UNSIGNED_WAIT_S) if isinstance(wait_s, int) and wait_s >= 0 else None
