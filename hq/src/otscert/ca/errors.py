"""What this package raises: an error of the CA, or of the way to it, with what is to be done about it."""

from __future__ import annotations

from otscert.acme.fault import Fault, Remedy


class CaError(Exception):
    """The CA did not do what was asked; `fault` says what to do and holds its problem document, if it sent one."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.reason)
        self.fault = fault


class CaUnreachableError(CaError):
    """No answer came: not resolved, refused, TLS failed, cut off or too slow. Whether the CA acted is not known."""

    def __init__(self, reason: str) -> None:
        super().__init__(Fault(remedy=Remedy.BACK_OFF, reason=reason))


class ConnectionLostError(CaUnreachableError):
    """The connection ended before the first byte of an answer, as an idle one does that the CA has just closed."""


class CaAnswerError(CaError):
    """An answer came that no ACME server gives: HTML, a redirect, too large, a URL that is not https."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(Fault(remedy=Remedy.BACK_OFF, reason=reason, retry_after_s=retry_after_s))
