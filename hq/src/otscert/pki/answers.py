"""HQ's signature under every answer to a box (docs/protocol.md, "Envelope")."""

from __future__ import annotations

import base64
from dataclasses import dataclass

from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.certificates import KeyPair
from otscert_agent.wire import b64, jws
from otscert_agent.wire.keys import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signing:
    signer: Signer
    x5c: list[str]


class AnswerSigner:
    """Signs payloads with the answer key; the answer certificate, and what is above it, travel in `x5c`."""

    def __init__(self, pair: KeyPair) -> None:
        self.replace(pair)

    def replace(self, pair: KeyPair) -> None:
        """Sign with another pair from now on; key and certificates change together."""
        # RFC 7515, section 4.1.6: standard base64, not base64url. The root is pinned, so it is left out.
        ders = [each.public_bytes(Encoding.DER) for each in (pair.certificate, *pair.chain)]
        x5c = [base64.b64encode(der).decode("ascii") for der in ders]
        self._signing = _Signing(signer=Signer(pair.key), x5c=x5c)

    def sign(self, payload: bytes, *, typ: str, audience: str, request_digest: bytes, now_s: int) -> bytes:
        """Sign `payload` for the key with thumbprint `audience`, as the answer to exactly one request."""
        signing = self._signing
        header = {
            "typ": typ,
            "x5c": signing.x5c,
            "aud": audience,
            "req": b64.encode(request_digest),
            "time": now_s,
        }
        return jws.sign(signing.signer, header, payload)
