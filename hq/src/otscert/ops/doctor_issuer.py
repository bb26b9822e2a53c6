"""Can HQ order from its CA? Each step up to the account is asked for and judged; nothing is ordered.

Registers an account only when told to. Does not know where the account key is kept.
"""

from __future__ import annotations

import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from otscert.acme.directory import Directory, Meta
from otscert.acme.fault import Remedy
from otscert.acme.jws import AccountKey
from otscert.ca.account import find
from otscert.ca.answer import Answer
from otscert.ca.client import AcmeClient
from otscert.ca.connect import IssuerSettings, open_issuer
from otscert.ca.errors import CaAnswerError, CaError
from otscert.ca.http import CaHttp, HttpSettings, https_url
from otscert.config import IssuerConfig
from otscert.ops.doctor_finding import Finding, failed, ok, unknown, warning
from otscert.ops.doctor_reach import Resolved, resolves

ACCOUNT = "account"
"""The last part of the name of the finding about the account; its `value` is the account's URL."""
CA_S = 6.0
_TOLERATED_S = 30.0
_WHY = "without it no box gets a certificate"
_MENDS = {
    Remedy.ACCOUNT: "the account needs a person: look at contact, terms_agreed and the EAB settings of this issuer",
    Remedy.PARK: "the CA limits this account or address: wait as long as it says",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Reached:
    """The directory as it came, with the answer that brought it."""

    directory: Directory
    answer: Answer
    elapsed_ms: float


async def reach(issuer: IssuerConfig) -> Reached:
    """Fetch the directory without an account; raises `CaError`."""
    http = CaHttp(_http(issuer), lambda: datetime.now(UTC))
    begin_s = time.monotonic()
    try:
        answer = await http.get(issuer.directory_url)
    finally:
        await http.aclose()
    if answer.status >= 300:
        raise CaError(answer.fault())
    directory = Directory.parse(answer.document())
    if isinstance(directory, tuple):
        raise CaAnswerError(f"the directory lacks {', '.join(directory)}")
    return Reached(directory=directory, answer=answer, elapsed_ms=(time.monotonic() - begin_s) * 1000)


async def check_reachable(issuer: IssuerConfig) -> AsyncIterator[Finding]:
    """The directory, and the clock against the CA's."""
    reached = await _reached(issuer)
    if isinstance(reached, Finding):
        yield reached
        return
    yield ok(f"issuer.{issuer.name}.directory", f"{issuer.directory_url} answers in {reached.elapsed_ms:.0f} ms")
    yield judge_clock(reached.answer)


async def check_issuer(
    issuer: IssuerConfig, key_pem: bytes | None, register: IssuerSettings | None
) -> AsyncIterator[Finding]:
    """Every step up to the account.

    Args:
        issuer: as configured.
        key_pem: the account key, None when HQ has none yet.
        register: when given, the account is registered with these settings unless it exists.
    """
    reached = await _reached(issuer)
    if isinstance(reached, Finding):
        yield reached
        return
    yield ok(f"issuer.{issuer.name}.directory", f"{issuer.directory_url} answers in {reached.elapsed_ms:.0f} ms")
    yield judge_clock(reached.answer)
    for finding in judge_meta(issuer, reached.directory.meta):
        yield finding
    yield await _nonce(issuer, reached.directory)
    yield await _account(issuer, key_pem, register)


def judge_meta(issuer: IssuerConfig, meta: Meta) -> list[Finding]:
    """Terms, profile, CAA identities and external account binding, against the configuration."""
    name = f"issuer.{issuer.name}"
    return [
        _terms(name, issuer, meta),
        _profile(name, issuer, meta),
        _caa(name, issuer, meta),
        _eab(name, issuer, meta),
    ]


def _terms(name: str, issuer: IssuerConfig, meta: Meta) -> Finding:
    if not meta.terms_of_service:
        return ok(f"{name}.terms", "the CA has no terms of service")
    if issuer.terms_agreed:
        return ok(f"{name}.terms", f"terms of service agreed to: {meta.terms_of_service}")
    mend = f"read {meta.terms_of_service}, then set {name}.terms_agreed = true"
    return failed(f"{name}.terms", "the CA's terms of service are not agreed to", why=_WHY, mend=mend)


def _profile(name: str, issuer: IssuerConfig, meta: Meta) -> Finding:
    if not meta.profiles:
        return ok(f"{name}.profile", "the CA has no profiles; it decides on the certificate's kind")
    offered = ", ".join(meta.profiles)
    if issuer.profile is None or issuer.profile in meta.profiles:
        return ok(f"{name}.profile", f"profile {issuer.profile or 'left to the CA'}; it offers {offered}")
    return warning(
        f"{name}.profile",
        f"the CA does not offer the profile {issuer.profile}, but {offered}",
        why="it will use its default",
        mend=f"set {name}.profile to one of them",
    )


def _caa(name: str, issuer: IssuerConfig, meta: Meta) -> Finding:
    identities = (issuer.caa_identity,) if issuer.caa_identity else meta.caa_identities
    if identities:
        return ok(f"{name}.caa", f"the zone's CAA record will name {', '.join(identities)}")
    return warning(
        f"{name}.caa",
        "the CA does not say what it is called in CAA records",
        why="without a CAA record any CA may issue for the zone",
        mend=f"set {name}.caa_identity to the domain that the CA's documentation names",
    )


def _eab(name: str, issuer: IssuerConfig, meta: Meta) -> Finding:
    if not meta.external_account_required:
        return ok(f"{name}.eab", "no external account is needed")
    if issuer.eab_kid:
        return ok(f"{name}.eab", f"an external account is needed, and eab_kid {issuer.eab_kid} is set")
    return failed(
        f"{name}.eab",
        "the CA wants an external account binding",
        why=_WHY,
        mend=f"get a key id and an HMAC key from the CA, set {name}.eab_kid and {name}.eab_hmac_key_file",
    )


async def _nonce(issuer: IssuerConfig, directory: Directory) -> Finding:
    check = f"issuer.{issuer.name}.nonce"
    http = CaHttp(_http(issuer), lambda: datetime.now(UTC))
    try:
        answer = await http.head(directory.new_nonce)
    except CaError as error:
        return failed(check, f"no nonce: {error}", why=_WHY, mend="try again; else ask the CA")
    finally:
        await http.aclose()
    if answer.status >= 300 or not answer.nonce:
        what = f"newNonce answers HTTP {answer.status} {'with' if answer.nonce else 'without'} a nonce"
        return failed(check, what, why=_WHY, mend="try again; else ask the CA")
    return ok(check, "newNonce gives nonces")


async def _account(issuer: IssuerConfig, key_pem: bytes | None, register: IssuerSettings | None) -> Finding:
    check = f"issuer.{issuer.name}.{ACCOUNT}"
    again = "otscert serve registers it, or: otscert issuer test --register"
    if key_pem is None:
        return unknown(check, "HQ has no account at this CA yet", mend=again)
    try:
        if register is not None:
            async with open_issuer(register, key_pem) as opened:
                url = (await opened.account()).url
                return ok(check, f"the account is {url}", value=url)
        client = AcmeClient(issuer.directory_url, AccountKey.from_pem(key_pem), _http(issuer))
        try:
            known = await find(client)
        finally:
            await client.aclose()
    except CaError as error:
        mend = _MENDS.get(error.fault.remedy, "try again; else ask the CA")
        return failed(check, f"no account: {error}", why=_WHY, mend=mend)
    if known is None:
        return unknown(check, "HQ has a key for an account that is not registered yet", mend=again)
    return ok(check, f"the account is {known.url}", value=known.url)


def judge_clock(answer: Answer) -> Finding:
    """Compare the Date header with the clock at the answer's arrival."""
    try:
        there = parsedate_to_datetime(answer.headers.get("Date", ""))
    except (TypeError, ValueError):
        return unknown("clock.ca", "the CA's answer has no date to compare the clock with")
    if there.tzinfo is None:  # RFC 5322 section 3.3: "-0000" is UTC without a place
        there = there.replace(tzinfo=UTC)
    ahead_s = (answer.received - there).total_seconds()
    if abs(ahead_s) <= _TOLERATED_S:
        return ok("clock.ca", f"the clock agrees with the CA's to {max(1, round(abs(ahead_s)))} s")
    return failed(
        "clock.ca",
        f"the clock is {abs(ahead_s):.0f} s {'ahead of' if ahead_s > 0 else 'behind'} the CA's",
        why="boxes take their time from HQ, and certificates are judged by it",
        mend="run an NTP client",
    )


async def _reached(issuer: IssuerConfig) -> Reached | Finding:
    try:
        host = https_url(issuer.directory_url).host or ""
        found = await resolves(host)
        if found is Resolved.YES:
            return await reach(issuer)
    except CaError as error:
        return _no_directory(issuer, error)
    reason = "has no address in DNS" if found is Resolved.NO else "cannot be looked up, no resolver answers"
    return failed(
        f"issuer.{issuer.name}.directory",
        f"the CA's host {host} {reason}",
        why=_WHY,
        mend=f"look at the network and at issuer.{issuer.name}.directory_url",
    )


def _no_directory(issuer: IssuerConfig, error: CaError) -> Finding:
    name = f"issuer.{issuer.name}"
    distrust = _distrust(error)
    if distrust:
        return failed(
            f"{name}.directory",
            f"the certificate of the CA at {issuer.directory_url} is not trusted: {distrust}",
            why=_WHY,
            mend=f"set {name}.trust_file for a private CA; else look at the clock and at the system's certificates",
        )
    not_acme = isinstance(error, CaAnswerError)
    return failed(
        f"{name}.directory",
        f"no ACME directory at {issuer.directory_url}: {error}",
        why=_WHY,
        mend=f"something answers that is not an ACME server: correct {name}.directory_url"
        if not_acme
        else f"is the CA up, may this machine call it, is {name}.directory_url right (trust_file for a private CA)?",
    )


def _distrust(error: BaseException) -> str:
    """Why the CA's TLS certificate was not believed; empty when something else went wrong."""
    cause: BaseException | None = error
    while cause is not None:
        # aiohttp's own error is a kind of this one, too, but does not have the message.
        if isinstance(cause, ssl.SSLCertVerificationError) and hasattr(cause, "verify_message"):
            return cause.verify_message
        cause = cause.__cause__
    return ""


def _http(issuer: IssuerConfig) -> HttpSettings:
    return HttpSettings(trust_file=issuer.trust_file, connect_timeout_s=CA_S / 2, request_timeout_s=CA_S)
