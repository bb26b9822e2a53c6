"""A person decides about a waiting box: finds it by what the box shows or its label says, then says yes or no.

Knows the two codes and how often they may be tried (docs/protocol.md, "Admission"). Does not know who the person is:
a command line or a dashboard says so. The box learns of the decision when it asks again (`admitting`).
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


def may_try(transaction: Transaction, confirmer: Confirmer) -> Missed | None:
    """None while the account and the address have tries left; reads only, so a flood of tries costs next to nothing."""
    for bucket, quota in _buckets(confirmer):
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
    """The waiting box that shows this code; a wrong code costs one try."""
    missed = may_try(transaction, confirmer)
    if missed is not None:
        return missed
    code = pairing_code.parse(text)
    found = transaction.requests.by_code(hash_code(secret, code)) if code else None
    if found is not None and confirmer.now_s < found.code_expires_at_s and found.approval is Answer.WAITING:
        return found
    form = "" if code else f" (a code has {pairing_code.LENGTH} letters A-Z and digits 2-7)"
    return wrong_code(
        transaction,
        confirmer,
        f"no waiting box shows this code{form}: codes are used once and change every {CODE_LIFE_S // 60} min;"
        " look at the box's page again",
    )


def find_by_setup_code(
    transaction: Transaction, unit: Unit | None, confirmer: Confirmer, *, right: bool
) -> AdmissionRequest | Missed:
    """The waiting box of a stamped unit, for somebody who has its label; `right` says whether the code was.

    Hashing the code takes milliseconds and is done before, outside of the transaction: but nobody without tries left
    learns here what came of it.
    """
    missed = may_try(transaction, confirmer)
    if missed is not None:
        return missed
    if unit is None or not right:
        return wrong_code(transaction, confirmer, "the setup code is not the one on the label of such a unit")
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
        current, approval=answer, decided_by=confirmer.account, code_hash=None, code_sealed=None, code_expires_at_s=0
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


def wrong_code(transaction: Transaction, confirmer: Confirmer, reason: str) -> Missed:
    """Count a wrong code against whoever tried it."""
    for bucket, quota in _buckets(confirmer):
        transaction.quotas.spend(bucket, quota, now_ms=confirmer.now_s * 1000)
    data = {"by": confirmer.account, "from": confirmer.address or ""}
    note(transaction, "admission.wrong_code", now_s=confirmer.now_s, device_id=None, data=data)
    return Missed(reason=reason)


def _buckets(confirmer: Confirmer) -> Iterator[tuple[str, Quota]]:
    yield f"approve:account:{confirmer.account}", TRIES
    for bucket, share in buckets(_bucket_of(confirmer.address)) if confirmer.address else ():
        yield f"approve:address:{bucket}", replace(TRIES, count=TRIES.count * share)


def _bucket_of(address: str) -> str:
    """An IPv6 address counts as its /64: a single host has all of it."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return address
    return str(ip_network((parsed, 64), strict=False)) if parsed.version == 6 else address
