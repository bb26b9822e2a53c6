"""Says hello to HQ in the name of a stamped unit, from the maker's line, and verifies the answer under HQ's root.

A hello spends no certificate, and the name that it reserves is free again after ten minutes. It says that it comes
from the line, so HQ never enrols it, nor takes the line's machine for the unit's board. Does not judge the answer.
"""

from __future__ import annotations

import base64
import hashlib
import http.client
import secrets
import ssl
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.factory.errors import FactoryError
from otscert_agent.wire import b64, jws, messages, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import BENCH, Factory
from otscert_agent.wire.keys import ES256, PublicKey
from otscert_agent.wire.pki import EKU_ANSWER

_TIMEOUT_S = 15.0
_MOST_CERTIFICATES = 4
_FIRST_SEQ = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Trusted:
    """An HQ: where it is, and the roots that its certificates must lead to."""

    url: str
    roots_pem: str

    @classmethod
    def at(cls, url: str, roots: Path) -> Trusted:
        """Read the roots' file; raise `FactoryError`."""
        parts = urlsplit(url)
        if parts.scheme != "https" or not parts.hostname:
            raise FactoryError(f"HQ's URL is {url!r}, but must look like https://hq.example.com:8443")
        try:
            pem = roots.read_text(encoding="ascii")
            x509.load_pem_x509_certificates(pem.encode("ascii"))
        except OSError as error:
            raise FactoryError(f"HQ's root {roots} cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise FactoryError(f"HQ's root {roots} holds no PEM certificate") from error
        return cls(url=url.rstrip("/"), roots_pem=pem)


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """HQ's signed answer to the unit's hello: a challenge, or a problem. `hello_digest` is H(hello)."""

    message: messages.Challenge | messages.Problem
    hello_digest: bytes


def say_hello(hq: Trusted, factory: Factory, *, model: str, serial: str) -> Answered:
    """Say hello for this unit; raise `FactoryError` when no answer came that this HQ has signed."""
    answered = _say(hq, factory, model=model, serial=serial, seq=_FIRST_SEQ)
    problem = answered.message
    if isinstance(problem, messages.Problem) and problem.last_seq is not None:
        # The unit has called before, here or from its own board. It, too, raises its number when HQ says so.
        answered = _say(hq, factory, model=model, serial=serial, seq=problem.last_seq + 1)
    return answered


def opened(factory: Factory, challenge: messages.Challenge, hello_digest: bytes) -> int:
    """HQ's sealed contribution, opened with the unit's secret; raise `FactoryError` when there is none."""
    try:
        ephemeral = b64.decode(challenge.contribution.sealed or "", what="the sealed contribution")
        txid = b64.decode(challenge.txid, what="txid")
        return factory.open(ephemeral, txid=txid, hello_digest=hello_digest)
    except WireError as error:
        raise FactoryError(f"HQ's answer cannot be opened: {error}") from None


def _say(hq: Trusted, factory: Factory, *, model: str, serial: str, seq: int) -> Answered:
    signer, url = factory.signer(), hq.url + messages.PATH_HELLO
    hello = messages.Hello(
        model=model,
        firmware=BENCH,
        hardware_fingerprint=BENCH,
        nonce=b64.encode(secrets.token_bytes(messages.NONCE_BYTES)),
        d0=b64.encode(point.public_point(point.scalar_from_bytes(secrets.token_bytes(48)))),
        build_epoch=0,
        # What the box itself has will be seen when it calls; the line must not fail for it.
        report=messages.SourceReport(source="secure-element", crng="ready", kernel="", used=["kernel", "factory"]),
        canary=hashlib.sha256(secrets.token_bytes(16)).hexdigest(),
        serial=serial,
    )
    header = {"typ": hello.TYP, "jwk": signer.public.jwk(), "url": url, "seq": seq}
    body = jws.sign(signer, header, messages.to_json(hello))
    digest = jws.parse(body).digest()
    answer = _post(hq, url, body)
    try:
        return Answered(message=_verified(hq, answer, factory, digest), hello_digest=digest)
    except WireError as error:
        raise FactoryError(f"what answers at {hq.url} is not this HQ: {error}") from None


def _post(hq: Trusted, url: str, body: bytes) -> bytes:
    parts = urlsplit(url)
    context = ssl.create_default_context(cadata=hq.roots_pem)
    connection = http.client.HTTPSConnection(
        str(parts.hostname), parts.port or 443, timeout=_TIMEOUT_S, context=context
    )
    try:
        connection.request("POST", parts.path, body, {"Content-Type": jws.CONTENT_TYPE, "Accept": jws.CONTENT_TYPE})
        response = connection.getresponse()
        data, kind = response.read(jws.MAX_BYTES + 1), response.headers.get_content_type()
    except ssl.SSLCertVerificationError as error:
        raise FactoryError(f"what answers at {hq.url} is not this HQ: {error.verify_message}") from error
    except (OSError, http.client.HTTPException) as error:
        raise FactoryError(f"HQ cannot be reached at {hq.url}: {error}") from error
    finally:
        connection.close()
    if kind != jws.CONTENT_TYPE:
        raise FactoryError(f"HQ at {hq.url} gave no signed answer (HTTP {response.status}); look at its log")
    return data


def _verified(hq: Trusted, body: bytes, factory: Factory, digest: bytes) -> messages.Challenge | messages.Problem:
    answer = jws.parse(body)
    header = answer.header
    if header.get("aud") != factory.public.thumbprint() or header.get("req") != b64.encode(digest):
        raise WireError("the answer belongs to another request")
    chain = _chain(header.get("x5c"))
    _check_chain(chain, x509.load_pem_x509_certificates(hq.roots_pem.encode("ascii")))
    key = chain[0].public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise WireError("the answer key is not on P-256")
    answer.verify(PublicKey.from_raw(ES256, key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)))
    payload = jws.json_object(answer.payload, what="the answer")
    if header["typ"] == messages.Challenge.TYP:
        return messages.from_object(messages.Challenge, payload)
    if header["typ"] == messages.Problem.TYP:
        return messages.from_object(messages.Problem, payload)
    raise WireError(f"the answer is a {header['typ']!r}")


def _chain(x5c: Any) -> list[x509.Certificate]:
    if not isinstance(x5c, list) or not 1 <= len(x5c) <= _MOST_CERTIFICATES:
        raise WireError("x5c is not a list of one to four certificates")
    try:
        return [x509.load_der_x509_certificate(base64.b64decode(text, validate=True)) for text in x5c]
    except (TypeError, ValueError):
        raise WireError("x5c is not a list of certificates") from None


def _check_chain(chain: Sequence[x509.Certificate], roots: Sequence[x509.Certificate]) -> None:
    """Every certificate in its time and issued by the next, the last by a root, the first for answers alone."""
    now_s = time.time()  # unlike a box, the line's computer has a clock
    for certificate in chain:
        if not certificate.not_valid_before_utc.timestamp() <= now_s <= certificate.not_valid_after_utc.timestamp():
            raise WireError("a certificate of the answer is not valid at this machine's time")
    issued = all(_issued(certificate, issuer) for certificate, issuer in pairwise(chain))
    if not issued or not any(_issued(chain[-1], root) for root in roots):
        raise WireError("the answer's certificates do not lead to HQ's root")
    try:
        purposes = chain[0].extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
        cas = [each.extensions.get_extension_for_class(x509.BasicConstraints).value.ca for each in chain[1:]]
    except x509.ExtensionNotFound as error:
        raise WireError("a certificate of the answer lacks an extension") from error
    if list(purposes) != [x509.ObjectIdentifier(EKU_ANSWER)] or not all(cas):
        raise WireError("a certificate of the answer is for another purpose")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True
