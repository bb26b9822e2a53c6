"""A person decides about a waiting box: finds it by what the box shows or its label says, then says yes or no.

Knows the two codes and how often they may be tried (docs/protocol.md, "Admission"); what is no guess costs no try.
Does not know who the person is: a command line or a dashboard says so. The box learns of the decision when it asks
again (`admitting`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from ipaddress import ip_address, ip_network

from otscert.domain import pairing_code
from otscert.domain.admission import Answer
from otscert.domain.callers import buckets
from otscert.domain.quota import Quota
from otscert.domain.unit import Unit
from otscert.service.notes import note
from otscert.service.waiting import CODE_LIFE_S, hash_code
from otscert.store.requests import AdmissionRequest
from otscert.store.transaction import Transaction

TRIES = Quota(count=5, period_s=CODE_LIFE_S)
"""Wrong codes of one account, and of one address; right ones cost nothing."""
PAIRING = "approve"
"""The counter of wrong pairing codes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmer:
    """Who decides; `address` is where that person's browser is, None where nobody knows."""

    account: str
    address: str | None
    now_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Missed:
    """No box was found or decided about. `retry_after_s` is 0 unless waiting is what helps."""

    reason: str
    retry_after_s: int = 0


class Place(StrEnum):
    """Whether the person is where the box is, as far as public addresses tell."""

    SAME = "same"
    OTHER = "other"
    UNKNOWN = "unknown"


def place(request: AdmissionRequest, confirmer: Confirmer) -> Place:
    """Compare public addresses; a box's is kept as its IPv6 /64 (see `domain.callers`)."""
    if confirmer.address is None:
        return Place.UNKNOWN
    try:
        address, network = ip_address(confirmer.address), ip_network(request.address)
    except ValueError:
        return Place.UNKNOWN
    if address.version != network.version:
        return Place.UNKNOWN
    return Place.SAME if address in network else Place.OTHER


def setup_counter(unit: Unit | None) -> str:
    """The counter of wrong setup codes: each serial number has its own, so that none of them locks another's transfer.

    Units of two models may have one serial number: whoever guesses at both has the tries of one.
    """
    return f"setup:{unit.serial if unit is not None else ''}"


def may_try(transaction: Transaction, confirmer: Confirmer, *, counter: str = PAIRING) -> Missed | None:
    """None while the account and the address have tries left; reads only, so a flood of tries costs next to nothing."""
    for bucket, quota in _buckets(confirmer, counter):
        decision = transaction.quotas.ask(bucket, quota, now_ms=confirmer.now_s * 1000)
        if not decision.allowed:
            return Missed(
                reason=f"too many wrong codes: {TRIES.count} in {TRIES.period_s // 60} min are allowed;"
                f" the next try is possible in {decision.retry_after_s} s",
                retry_after_s=decision.retry_after_s,
            )
    return None


def find_by_pairing_code(
    transaction: Transaction, text: str, confirmer: Confirmer, *, secret: bytes
) -> AdmissionRequest | Missed:
    """The waiting box that shows this code; one that no box has or had lately costs a try."""
    missed = may_try(transaction, confirmer)
    if missed is not None:
        return missed
    code = pairing_code.parse(text)
    if code is None:
        return Missed(
            reason=f"this is no pairing code: one has {pairing_code.LENGTH} characters, letters A-Z and digits 2-7;"
            " look at the box's page"
        )
    code_hash = hash_code(secret, code)
    found = transaction.requests.by_code(code_hash) or transaction.requests.by_last_code(code_hash)
    if found is None:
        return wrong_code(
            transaction,
            confirmer,
            f"no waiting box shows this code: codes are used once and change every {CODE_LIFE_S // 60} min;"
            " look at the box's page again",
        )
    if found.approval is Answer.WAITING and found.code_hash == code_hash and confirmer.now_s < found.code_expires_at_s:
        return found
    return Missed(reason=_too_late(found, now_s=confirmer.now_s))


def find_by_setup_code(
    transaction: Transaction, unit: Unit | None, confirmer: Confirmer, *, right: bool
) -> AdmissionRequest | Missed:
    """The waiting box of a stamped unit, for somebody who has its label; `right` says whether the code was.

    Hashing the code takes milliseconds and is done before, outside of the transaction: but nobody without tries left
    learns here what came of it.
    """
    counter = setup_counter(unit)
    missed = may_try(transaction, confirmer, counter=counter)
    if missed is not None:
        return missed
    if unit is None or not right:
        reason = "the setup code is not the one on the label of such a unit"
        return wrong_code(transaction, confirmer, reason, counter=counter)
    found = transaction.requests.of_unit(unit.model, unit.serial, unit=unit.thumbprint)
    if found is None or found.approval is not Answer.WAITING:
        return Missed(reason=f"the code is right, but unit {unit.serial} is not waiting for approval: switch it on")
    return found


def decide(
    transaction: Transaction, seen: AdmissionRequest, answer: Answer, confirmer: Confirmer
) -> AdmissionRequest | Missed:
    """Write down yes or no about the box as the person saw it; its code is used up."""
    current = transaction.requests.get(seen.txid)
    if current is None or current.approval is not Answer.WAITING:
        said = {Answer.YES: "approved", Answer.NO: "refused"}.get(current.approval, "") if current else ""
        reason = f"the box was {said} by {current.decided_by} meanwhile" if current and said else "the box is gone"
        return Missed(reason=reason)
    decided = replace(
        current,
        approval=answer,
        decided_by=confirmer.account,
        code_hash=None,
        code_sealed=None,
        code_expires_at_s=confirmer.now_s,
        last_code_hash=current.code_hash,
    )
    transaction.requests.put(decided)
    transaction.events.append(
        "admission.approved" if answer is Answer.YES else "admission.refused",
        now_s=confirmer.now_s,
        data={
            "by": confirmer.account,
            "from": confirmer.address or "",
            "place": place(decided, confirmer),
            "model": decided.model,
            "serial": decided.serial or "",
            "label": decided.label,
            "address": decided.address,
            "fingerprint": decided.fingerprint,
        },
    )
    return decided


def wrong_code(transaction: Transaction, confirmer: Confirmer, reason: str, *, counter: str = PAIRING) -> Missed:
    """Count a wrong code against whoever tried it."""
    for bucket, quota in _buckets(confirmer, counter):
        transaction.quotas.spend(bucket, quota, now_ms=confirmer.now_s * 1000)
    data = {"by": confirmer.account, "from": confirmer.address or ""}
    note(transaction, "admission.wrong_code", now_s=confirmer.now_s, device_id=None, data=data)
    return Missed(reason=reason)


def _too_late(found: AdmissionRequest, *, now_s: int) -> str:
    """Why a code that a box has shown decides nothing any more; nobody can guess with such codes."""
    said = {Answer.YES: "approved", Answer.NO: "refused"}.get(found.approval)
    if said is None:
        return "that code has ended; the box shows another one by now: look at its page again"
    ago_s = max(0, now_s - found.code_expires_at_s)
    ago = f"{ago_s} s" if ago_s < 60 else f"{ago_s // 60} min" if ago_s < 3600 else f"{ago_s // 3600} h"
    more = ": it is let in when it asks again" if found.approval is Answer.YES else ""
    return f"the box that showed this code was {said} already, {ago} ago, by {found.decided_by}{more}"


def _buckets(confirmer: Confirmer, counter: str) -> Iterator[tuple[str, Quota]]:
    yield f"{counter}:account:{confirmer.account}", TRIES
    for bucket, share in buckets(_bucket_of(confirmer.address)) if confirmer.address else ():
        yield f"{counter}:address:{bucket}", replace(TRIES, count=TRIES.count * share)


def _bucket_of(address: str) -> str:
    """An IPv6 address counts as its /64: a single host has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
