"""Flattened JWS (RFC 7515, section 7.2.2), as narrow as protocol v1 needs it.

Knows the envelope only: three members, one protected header, one signature. Which header members a message must have
and whose key it must be signed with is decided by the reader of the message.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import Any

from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.keys import PublicKey, Signer

MAX_BYTES = 64 * 1024  # a chain of four certificates in an answer is about 10 kB; nothing honest comes near
CONTENT_TYPE = "application/jose+json"  # RFC 7515, section 9.2.1


@dataclass(frozen=True)
class Jws:
    """A parsed envelope. `header` is the decoded protected header; nothing in it is verified yet."""

    header: dict[str, Any]
    payload: bytes
    signature: bytes
    signing_input: bytes

    def digest(self) -> bytes:
        """H(m) = SHA-256(ASCII(protected || "." || payload)): the message's name in `req` and for idempotency."""
        return hashlib.sha256(self.signing_input).digest()

    def verify(self, key: PublicKey) -> None:
        """Raise `WireError` unless the signature is `key`'s and `alg` names the algorithm of that key."""
        # RFC 8725, section 3.1: the algorithm is the key's, never the message's choice.
        if self.header["alg"] != key.alg:
            raise WireError(f"alg is {self.header['alg']!r}, but the key is for {key.alg}")
        key.verify(self.signature, self.signing_input)


def sign(signer: Signer, header: dict[str, Any], payload: bytes) -> bytes:
    """Sign `payload`; `alg` is added to `header`. Returns the JSON body to send."""
    protected = b64.encode(json.dumps({**header, "alg": signer.public.alg}, separators=(",", ":")).encode())
    body = b64.encode(payload)
    signature = b64.encode(signer.sign(f"{protected}.{body}".encode("ascii")))
    return f'{{"protected":"{protected}","payload":"{body}","signature":"{signature}"}}'.encode("ascii")


def parse(body: bytes) -> Jws:
    """Read an envelope; raise `WireError` for anything that is not exactly protocol v1's form."""
    if len(body) > MAX_BYTES:
        raise WireError(f"the message is longer than {MAX_BYTES} bytes")
    return from_object(json_object(body, what="the message"))


def from_object(envelope: dict[str, Any]) -> Jws:
    """Read an envelope that came as part of another message (the hello key's binding of a new identity)."""
    # An unprotected header is refused, and so is the general form: only what is signed is read.
    if set(envelope) != {"protected", "payload", "signature"}:
        raise WireError("the message must have exactly the members protected, payload, signature")
    if not all(isinstance(member, str) for member in envelope.values()):
        raise WireError("protected, payload and signature must be strings")
    protected, payload = envelope["protected"], envelope["payload"]
    header = json_object(b64.decode(protected, what="protected"), what="the protected header")
    _check_header(header)
    return Jws(
        header=header,
        payload=b64.decode(payload, what="payload"),
        signature=b64.decode(envelope["signature"], what="signature"),
        signing_input=f"{protected}.{payload}".encode("ascii"),
    )


def _check_header(header: dict[str, Any]) -> None:
    # RFC 7515, section 4.1.11: extensions in crit that are not understood make the JWS invalid; v1 has none.
    if "crit" in header:
        raise WireError("the protected header has crit; protocol v1 knows no critical extension")
    for name in ("alg", "typ"):
        if not isinstance(header.get(name), str):
            raise WireError(f"the protected header has no {name}")


def json_object(data: bytes, *, what: str) -> dict[str, Any]:
    """Parse strict JSON whose top is an object; duplicate members, NaN and bombs are `WireError`s."""
    try:
        value = _STRICT.decode(data.decode("utf-8"))
    except WireError:
        raise
    except (ValueError, RecursionError):
        raise WireError(f"{what} is not JSON") from None
    if not isinstance(value, dict):
        raise WireError(f"{what} is not a JSON object")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise WireError("a JSON object names a member twice")
    return value


def _no_constants(name: str) -> Any:
    raise WireError(f"{name} is not JSON")


def _bounded_int(text: str) -> int:
    if len(text) > 20:
        raise WireError("a JSON number has more than 20 digits")
    return int(text)


# Made once: json.loads builds a decoder for every call that has hooks.
_STRICT = json.JSONDecoder(object_pairs_hook=_no_duplicates, parse_constant=_no_constants, parse_int=_bounded_int)
