"""What is to be done about an error of the CA: every error is sorted into a class exactly once, here.

It knows the error types of RFC 8555 section 6.7, RFC 9773 section 7.4 and the profiles draft, and HTTP's status
codes. It does not know who retries, how often, or what a device is told.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum

from otscert.acme import members, retry_after
from otscert.acme.problem import Problem

MAX_REASON_CHARS = 600
_MAX_LINK_CHARS = 4000
"""Let's Encrypt's link to end a pause holds a token of about a thousand."""
_URL = re.compile(r"https://[^\s<>\"']+")


class Remedy(Enum):
    """What the one who asked has to do. Later members weigh more when a problem has several parts."""

    RETRY_NOW = "retry now"  # with the nonce of the answer
    POLL = "poll"  # the order is not where we thought: look at it again
    BACK_OFF = "back off"  # the same request later
    PARK = "park"  # the CA's limit for a whole bucket is spent: nothing of it before retry_after_s
    PAUSED = "paused"  # the CA takes no order for these names until a person has gone to `Fault.link`
    WITHOUT_REPLACES = "without replaces"  # once more, without the member
    DNS = "dns"  # the CA could not validate: costs from its failure budget
    ACCOUNT = "account"  # nothing on this account works until a person acts
    PERMANENT = "permanent"  # the same request will never be granted


class Whose(Enum):
    """What an error says something about."""

    ISSUER = "the issuer"  # it cannot be reached, or what it says is no answer of a CA
    ACCOUNT = "the account"
    ORDER = "the order"  # or the limits, or the box: the issuer itself works
    OURS = "HQ"


class Asked(Enum):
    """What the refused request was for, where that changes what a refusal means."""

    ACCOUNT = "newAccount"
    REPLACING_ORDER = "newOrder with replaces"
    FINALIZE = "finalize"
    OTHER = "anything else"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error of the CA with its remedy; `reason` is one line for people, `retry_after_s` what the CA asked for.

    `link` is where the CA sends a person; it may let its reader act for the account, so it is no part of `reason`.
    `about` is what the error says something about, where the remedy does not tell.
    """

    remedy: Remedy
    reason: str
    retry_after_s: float | None = None
    problem: Problem | None = None
    link: str | None = field(default=None, repr=False)
    about: Whose | None = None

    def __post_init__(self) -> None:
        # Whoever makes one has it from a CA, or from a library that tells what the CA sent.
        object.__setattr__(self, "reason", _line(self.reason))
        object.__setattr__(self, "link", members.web_page(self.link, most_chars=_MAX_LINK_CHARS))

    @property
    def whose(self) -> Whose:
        return self.about or _WHOSE.get(self.remedy, Whose.ORDER)

    @property
    def account_problem(self) -> str:
        """What a person has to see to: lost, paused, terms or refused; empty: nothing."""
        if self.remedy is Remedy.PAUSED:
            return "paused"
        if self.whose is not Whose.ACCOUNT:
            return ""
        return _ACCOUNT_PROBLEMS.get(self.problem.name or "" if self.problem else "", "refused")


_WHOSE = {Remedy.RETRY_NOW: Whose.ISSUER, Remedy.BACK_OFF: Whose.ISSUER, Remedy.ACCOUNT: Whose.ACCOUNT}
_ACCOUNT_PROBLEMS = {"accountDoesNotExist": "lost", "userActionRequired": "terms"}


BY_NAME: Mapping[str, Remedy] = {
    # RFC 8555 section 6.7
    "accountDoesNotExist": Remedy.ACCOUNT,
    "alreadyRevoked": Remedy.PERMANENT,
    "badCSR": Remedy.PERMANENT,
    "badNonce": Remedy.RETRY_NOW,
    "badPublicKey": Remedy.PERMANENT,
    "badRevocationReason": Remedy.PERMANENT,
    "badSignatureAlgorithm": Remedy.PERMANENT,
    "caa": Remedy.PERMANENT,
    "connection": Remedy.DNS,
    "dns": Remedy.DNS,
    "externalAccountRequired": Remedy.ACCOUNT,
    "incorrectResponse": Remedy.DNS,
    "invalidContact": Remedy.ACCOUNT,
    "malformed": Remedy.PERMANENT,
    "orderNotReady": Remedy.POLL,
    "rateLimited": Remedy.PARK,
    "rejectedIdentifier": Remedy.PERMANENT,
    "serverInternal": Remedy.BACK_OFF,
    "tls": Remedy.DNS,
    "unauthorized": Remedy.DNS,
    "unsupportedContact": Remedy.ACCOUNT,
    "unsupportedIdentifier": Remedy.PERMANENT,
    "userActionRequired": Remedy.ACCOUNT,
    # RFC 9773 section 7.4
    "alreadyReplaced": Remedy.WITHOUT_REPLACES,
    # draft-ietf-acme-profiles
    "invalidProfile": Remedy.PERMANENT,
}
_WEIGHT = {remedy: weight for weight, remedy in enumerate(Remedy)}
# What CAs call a `replaces` that they cannot read, do not know, or that belongs to another account.
_REFUSES_REPLACES = frozenset({"malformed", "unauthorized", "conflict"})


def classify(
    status: int, problem: Problem | None, headers: Mapping[str, str], now: datetime, *, asked: Asked = Asked.OTHER
) -> Fault:
    """Sort an HTTP answer of 300 or above into its class; `headers` must look names up without case.

    An answer without a problem document does not come from the CA's ACME server but from something in front of it
    (a load balancer, a proxy, a maintenance page), so it never decides the fate of an order.
    """
    wait_s = retry_after.parse(headers.get("Retry-After"), now)
    if problem is None:
        remedy = Remedy.PARK if status == 429 else Remedy.BACK_OFF
        return Fault(remedy=remedy, reason=f"HTTP {status} without a problem document", retry_after_s=wait_s)
    remedy = _for_what_was_asked(asked, problem, remedy_of(problem, status))
    link = problem.instance if remedy in {Remedy.ACCOUNT, Remedy.PAUSED} else None
    about = Whose.ACCOUNT if remedy is Remedy.PAUSED and asked is Asked.ACCOUNT else None
    if remedy is Remedy.PAUSED:
        link = link or next(iter(_URL.findall(problem.detail)), None)
    return Fault(
        remedy=remedy, reason=_one_line(problem), retry_after_s=wait_s, problem=problem, link=link, about=about
    )


def _for_what_was_asked(asked: Asked, problem: Problem, remedy: Remedy) -> Remedy:
    """Correct what one error type means: CAs say `unauthorized` for whatever they do not allow."""
    if asked is Asked.REPLACING_ORDER and problem.name in _REFUSES_REPLACES and remedy is not Remedy.ACCOUNT:
        # An order with a `replaces` that the CA cannot follow is rejected as a whole (RFC 9773 section 5).
        return Remedy.WITHOUT_REPLACES
    if asked is Asked.ACCOUNT and remedy in {Remedy.DNS, Remedy.PERMANENT}:
        return Remedy.ACCOUNT  # a wrong EAB key, a refused account key: no order will pass before somebody acts
    if asked is Asked.FINALIZE and problem.name == "unauthorized" and remedy is Remedy.DNS:
        return Remedy.PERMANENT  # the CSR and the order's names differ; validation is over by then
    return remedy


def of_outcome(problem: Problem | None) -> Fault:
    """Sort the `error` of an order, authorization or challenge that became invalid (RFC 8555 sections 7.1.3, 8)."""
    if problem is None:
        return Fault(remedy=Remedy.DNS, reason="the CA made it invalid and gives no reason")
    remedy = remedy_of(problem, problem.status or 403)
    if problem.name == "unauthorized":
        # Of a validation, whose words quote what was found in DNS: they must not close the account for all boxes.
        remedy = Remedy.DNS
    return Fault(remedy=remedy, reason=_one_line(problem), problem=problem)


def remedy_of(problem: Problem, status: int) -> Remedy:
    """Return the class of one problem document that came with (or holds) HTTP `status`."""
    if problem.name == "compound":
        # RFC 8555 section 6.7 has "specific error conditions" of a compound one indicated by its subproblems.
        parts = [remedy_of(part, status) for part in problem.subproblems if part.name != "compound"]
        return max(parts, key=_WEIGHT.__getitem__, default=_by_status(status))
    if problem.name in {"rateLimited", "unauthorized"} and _is_paused(problem):
        return Remedy.PAUSED
    if problem.name == "unauthorized" and _is_about_the_account(problem):
        return Remedy.ACCOUNT
    return BY_NAME.get(problem.name or "", _by_status(status))


def _is_about_the_account(problem: Problem) -> bool:
    """Tell a closed account from a failed validation: ACME has one type, `unauthorized`, for both (7.3.6)."""
    detail = problem.detail.lower()
    return "account" in detail and any(word in detail for word in ("deactivated", "revoked", "not valid"))


def _is_paused(problem: Problem) -> bool:
    """Tell an account that was paused for some names from a limit: Let's Encrypt calls both `rateLimited`.

    Its text (Boulder, wfe2): "Your account is temporarily prevented from requesting certificates for ... and possibly
    others. Please visit: https://.../sfe/v1/unpause?jwt=..."
    """
    detail = problem.detail.lower()
    return "unpause" in detail or "temporarily prevented" in detail or ("account" in detail and "paused" in detail)


def _by_status(status: int) -> Remedy:
    if status == 429:
        return Remedy.PARK
    if status in {408, 425} or status >= 500 or status < 400:
        return Remedy.BACK_OFF
    return Remedy.PERMANENT


def _line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _without_query(url: re.Match[str]) -> str:
    """A link to act for the account ends in a token; boxes and logs are shown reasons, the token they are not."""
    before, mark, _ = url[0].partition("?")
    return f"{before}{mark}..." if mark else before


def _one_line(problem: Problem) -> str:
    text = _URL.sub(_without_query, str(problem))
    line = _line(text)
    return line if len(line) <= MAX_REASON_CHARS else line[: MAX_REASON_CHARS - 3] + "..."
