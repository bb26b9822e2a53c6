"""Who may speak for HQ: chains to the pinned root, purposes, generations, and time without a clock.

Pure: certificates and remembered facts in, new facts or `UntrustedError` out. The system clock does not occur here
(protocol.md, "Clock"). Does not know messages or connections.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.x509.oid import ExtendedKeyUsageOID, ExtensionOID

from otscert_agent.errors import ConfigError, UntrustedError
from otscert_agent.state import HqMemory
from otscert_agent.wire import pki

# After seven days without one acceptable answer the floor falls back to the build epoch: one wrong date from HQ
# must not brick a fleet (protocol.md, "Clock").
DEAF_LIMIT_S = 7 * 86400

_EKU_ANSWER = x509.ObjectIdentifier(pki.EKU_ANSWER)
_EXT_GENERATION = x509.ObjectIdentifier(pki.EXT_GENERATION)
_UNDERSTOOD = {
    ExtensionOID.BASIC_CONSTRAINTS,
    ExtensionOID.KEY_USAGE,
    ExtensionOID.EXTENDED_KEY_USAGE,
    ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
    ExtensionOID.NAME_CONSTRAINTS,
    _EXT_GENERATION,
}


# Extensions, dates and keys are parsed when they are asked for, not when a certificate is loaded; and these are what
# cryptography raises then, not all of them below ValueError.
_UNREADABLE = (
    ValueError,
    TypeError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


@contextlib.contextmanager
def readable() -> Iterator[None]:
    """Raise `UntrustedError` when a certificate turns out to be unreadable, at whatever is asked of it."""
    try:
        yield
    except _UNREADABLE as error:
        raise UntrustedError(f"a certificate from HQ cannot be read: {error}") from None


@dataclass(frozen=True)
class Pins:
    """The maker's roots as the firmware pins them: the current one, and perhaps the next."""

    roots: Sequence[x509.Certificate]
    pem: str

    @classmethod
    def parse(cls, pem: bytes) -> Pins:
        """Read one or two root certificates; raise `ConfigError` when that is not what `pem` holds."""
        try:
            roots = x509.load_pem_x509_certificates(pem)
        except ValueError:
            raise ConfigError("hq_roots holds no PEM certificate") from None
        if len(roots) > 2:
            raise ConfigError(f"hq_roots holds {len(roots)} certificates; one or two pins are allowed")
        return cls(roots, pem.decode("ascii", "strict"))


def floor(memory: HqMemory, build_epoch: int) -> int:
    """The earliest time that HQ may claim, Unix seconds."""
    return build_epoch if memory.deaf_s >= DEAF_LIMIT_S else max(build_epoch, memory.floor)


@readable()
def check_tls_leaf(leaf: x509.Certificate, memory: HqMemory, build_epoch: int) -> HqMemory:
    """Check HQ's TLS leaf, whose chain and host name the TLS stack has verified. Returns the new memory."""
    _check_purpose(leaf, ExtendedKeyUsageOID.SERVER_AUTH, critical=False)
    generation = _generation(leaf)
    if generation < memory.tls_generation:
        raise UntrustedError(f"HQ's TLS certificate is of generation {generation}, {memory.tls_generation} was seen")
    lowest = floor(memory, build_epoch)
    _check_not_after(leaf, lowest)
    newest = max(lowest, int(leaf.not_valid_before_utc.timestamp()))
    return dataclasses.replace(memory, tls_generation=generation, floor=newest)


@readable()
def check_answer_chain(
    chain: Sequence[x509.Certificate], pins: Pins, *, time: int, memory: HqMemory, build_epoch: int
) -> HqMemory:
    """Check the chain of HQ's answer certificate and the `time` that it signed. Returns the new memory."""
    path = _path_to_pin(chain, pins)
    leaf = path[0]
    _check_purpose(leaf, _EKU_ANSWER, critical=True)
    generation = _generation(leaf)
    if generation < memory.answer_generation:
        raise UntrustedError(f"the answer key is of generation {generation}, {memory.answer_generation} was seen")
    lowest = floor(memory, build_epoch)
    for certificate in path:
        _check_not_after(certificate, lowest)
    _check_time(time, leaf, lowest)
    newest = max(int(certificate.not_valid_before_utc.timestamp()) for certificate in path)
    return dataclasses.replace(memory, floor=max(lowest, newest), answer_generation=generation, deaf_s=0)


def _check_time(time: int, leaf: x509.Certificate, lowest: int) -> None:
    if not leaf.not_valid_before_utc.timestamp() <= time <= leaf.not_valid_after_utc.timestamp():
        raise UntrustedError("HQ's time lies outside the validity of its answer certificate")
    if time < lowest:
        raise UntrustedError("HQ's time is before the floor (the firmware's build, or a newer certificate)")


def _path_to_pin(chain: Sequence[x509.Certificate], pins: Pins) -> Sequence[x509.Certificate]:
    """The shortest beginning of `chain` that leads to a pin. What follows it is for boxes that pin another root."""
    if not chain:
        raise UntrustedError("the answer carries no certificate")
    refused: UntrustedError | None = None
    for depth, certificate in enumerate(chain):
        _check_critical(certificate)
        if depth:
            _check_ca(certificate, below=depth - 1)
            if not _issued(chain[depth - 1], certificate):
                raise UntrustedError("the answer's certificates do not link up")
        for root in pins.roots:
            if _issued(certificate, root):
                try:
                    _check_ca(root, below=depth)
                except UntrustedError as error:
                    refused = error  # another pin, or a longer path, may still do
                else:
                    return chain[: depth + 1]
    raise refused or UntrustedError("the answer's certificate does not lead to a pinned root")


def _issued(certificate: x509.Certificate, issuer: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, UnsupportedAlgorithm, InvalidSignature):
        return False
    return True


def _check_critical(certificate: x509.Certificate) -> None:
    # RFC 5280, section 4.2: reject a certificate with a critical extension that is not recognized.
    unknown = [ext.oid.dotted_string for ext in certificate.extensions if ext.critical and ext.oid not in _UNDERSTOOD]
    if unknown:
        raise UntrustedError(f"HQ's certificate has unknown critical extensions: {', '.join(unknown)}")


def _check_ca(certificate: x509.Certificate, *, below: int) -> None:
    try:
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        raise UntrustedError("a certificate above HQ's has no basic constraints") from None
    if not constraints.ca or (constraints.path_length is not None and constraints.path_length < below):
        raise UntrustedError("a certificate above HQ's may not issue it")
    try:
        usage = certificate.extensions.get_extension_for_class(x509.KeyUsage).value
    except x509.ExtensionNotFound:
        return  # RFC 5280, section 4.2.1.3: without the extension there is no restriction
    if not usage.key_cert_sign:
        raise UntrustedError("a certificate above HQ's may not sign certificates")


def _check_purpose(leaf: x509.Certificate, purpose: x509.ObjectIdentifier, *, critical: bool) -> None:
    try:
        extension = leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage)
    except x509.ExtensionNotFound:
        raise UntrustedError("HQ's certificate has no extended key usage") from None
    if list(extension.value) != [purpose] or (critical and not extension.critical):
        raise UntrustedError("HQ's certificate is for another purpose")


def _generation(leaf: x509.Certificate) -> int:
    try:
        extension = leaf.extensions.get_extension_for_oid(_EXT_GENERATION).value
    except x509.ExtensionNotFound:
        raise UntrustedError("HQ's certificate has no generation") from None
    try:
        return pki.decode_generation(extension.public_bytes())
    except ValueError as error:
        raise UntrustedError(f"HQ's certificate: {error}") from None


def _check_not_after(certificate: x509.Certificate, lowest: int) -> None:
    if certificate.not_valid_after_utc.timestamp() < lowest:
        raise UntrustedError("HQ's certificate had expired before the floor (this firmware, or a newer certificate)")
