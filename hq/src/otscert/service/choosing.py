"""Which issuer an order goes to: gathers what `domain.choice` decides by, inside a transaction."""

from __future__ import annotations

from dataclasses import replace

from otscert.acme.fault import Fault, Remedy, Whose
from otscert.domain.choice import Candidate, Case, Choice, Trouble, choose_issuer
from otscert.domain.order import Order
from otscert.service.budget import would_wait_s
from otscert.service.context import Hq
from otscert.store.transaction import Transaction

# Another CA may see these otherwise. A CSR that one finds bad is bad, and what DNS answers is ours to mend.
_OTHERS_MAY_GRANT = frozenset({"caa", "invalidProfile", "rejectedIdentifier", "unsupportedIdentifier"})


def choose(hq: Hq, transaction: Transaction, order: Order, *, trouble: Trouble = Trouble.NONE) -> Choice:
    """Choose among the issuers of the order's model that are in the configuration."""
    device = transaction.devices.get(order.device_id)
    model = hq.models.get(device.model) if device is not None else None
    names = [name for name in hq.issuers_of(model) if name in hq.known_issuers]
    now_s = hq.now_s()
    alone = len(names) < 2
    newest = None if alone else transaction.certificates.newest(order.device_id)
    case = Case(
        state=order.state,
        issuer=order.issuer,
        failing_since_s=order.failing_since_s,
        trouble=trouble,
        left_s=None if newest is None else newest.not_after_s - now_s,
    )
    candidates = [_candidate(hq, transaction, order, name, limits=not alone) for name in names]
    return choose_issuer(case, candidates, now_s=now_s)


def _candidate(hq: Hq, transaction: Transaction, order: Order, name: str, *, limits: bool) -> Candidate:
    known = transaction.issuers.get(name)
    wait_s = would_wait_s(hq, transaction, replace(order, issuer=name), issuer=name) if limits else 0
    problem = known.problem.kind if known.problem is not None else ""
    return Candidate(name=name, breaker=known.breaker, account_problem=problem, wait_s=wait_s)


def trouble_of(fault: Fault) -> Trouble:
    """What a fault means for the question which issuer the order goes to."""
    if fault.whose is Whose.OURS:
        return Trouble.ORDER
    if fault.remedy is Remedy.PERMANENT:
        name = fault.problem.name if fault.problem is not None else None
        return Trouble.REFUSED if fault.problem is None or name in _OTHERS_MAY_GRANT else Trouble.ORDER
    if fault.remedy is Remedy.PAUSED:
        return Trouble.PAUSED
    if fault.whose is Whose.ACCOUNT:
        return Trouble.ACCOUNT
    if fault.whose is Whose.ISSUER or fault.remedy is Remedy.POLL:
        return Trouble.ISSUER
    return Trouble.LIMIT if fault.remedy is Remedy.PARK else Trouble.ORDER
