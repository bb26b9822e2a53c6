"""HQ's signature under every answer to a box (docs/protocol.md, "Envelope")."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.certificates import KeyPair
from otscert_agent.wire import b64, jws
from otscert_agent.wire.keys import Signer


class AnswerSigner:
    """Signs payloads with the answer key; the answer certificate travels in `x5c`."""

    def __init__(self, pair: KeyPair) -> None:
        self._signer = Signer(pair.key)
        # RFC 7515, section 4.1.6: standard base64, not base64url. The root is pinned, so it is left out.
        self._x5c = [base64.b64encode(pair.certificate.public_bytes(Encoding.DER)).decode("ascii")]

    def sign(self, payload: bytes, *, typ: str, audience: str, request_digest: bytes, now_s: int) -> bytes:
        """Sign `payload` for the key with thumbprint `audience`, as the answer to exactly one request."""
        header = {
            "typ": typ,
            "x5c": self._x5c,
            "aud": audience,
            "req": b64.encode(request_digest),
            "time": now_s,
        }
        return jws.sign(self._signer, header, payload)
