"""What HQ learns of an issuer from how orders end there, inside the transaction that writes the end down.

The rules are `domain.breaker`'s; what an error is about is `acme.fault`'s. Who asks what was learned is `choosing`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from otscert.acme.fault import Fault, Whose
from otscert.domain.breaker import WELL, BreakerState, answered, failed, needs_person
from otscert.store.issuers import AccountProblem, Issuer
from otscert.store.transaction import Transaction

PAUSED = "paused"
_NOTED_S = 60
"""How exactly the moment of the last certificate is kept: not a write for each of a wave."""


def learn_fault(transaction: Transaction, name: str, fault: Fault, *, names: Iterable[str], now_s: int) -> None:
    """Take down what a fault says of the issuer `name`; `names` are those that the refused request was for, if any."""
    known = transaction.issuers.get(name)
    if fault.account_problem:
        _learn_account(transaction, known, fault, names=names, now_s=now_s)
    elif known.problem is not None and known.breaker.open_until_s:
        return  # what else goes wrong while the account needs a person says nothing new
    elif fault.whose is Whose.ISSUER:
        after = replace(known, breaker=failed(known.breaker, reason=fault.reason, now_s=now_s))
        transaction.issuers.save(after)
        if known.breaker.state(now_s) is BreakerState.CLOSED and after.breaker.state(now_s) is BreakerState.OPEN:
            data = {"issuer": name, "failures": after.breaker.failures, "reason": fault.reason}
            transaction.events.append("issuer.down", now_s=now_s, data=data)
    elif fault.whose is Whose.ORDER and known.breaker.open_until_s:
        transaction.issuers.save(replace(known, breaker=answered(known.breaker, now_s=now_s)))


def learn_success(transaction: Transaction, name: str, *, names: Iterable[str], now_s: int) -> None:
    """The issuer gave a certificate for `names`: it is well, and so is its account."""
    known = transaction.issuers.get(name)
    was_open = bool(known.breaker.open_until_s)
    solved = known.problem is not None and (was_open or _is_for(known.problem.reason, names))
    recent = known.last_success_s is not None and 0 <= now_s - known.last_success_s < _NOTED_S
    if recent and not known.breaker.failures and not solved:
        return
    problem = None if solved else known.problem
    transaction.issuers.save(replace(known, breaker=WELL, last_success_s=now_s, problem=problem))
    if was_open or solved:
        transaction.events.append("issuer.well", now_s=now_s, data={"issuer": name})


def forget_problem(transaction: Transaction, name: str) -> None:
    """A person has seen to the account: the issuer may be asked at once."""
    known = transaction.issuers.get(name)
    transaction.issuers.save(replace(known, breaker=WELL, problem=None))


def _learn_account(transaction: Transaction, known: Issuer, fault: Fault, *, names: Iterable[str], now_s: int) -> None:
    kind = fault.account_problem
    new = known.problem is None or known.problem.kind != kind
    since_s = now_s if known.problem is None or new else known.problem.since_s
    problem = AccountProblem(kind=kind, reason=fault.reason, link=fault.link or "", since_s=since_s)
    # Let's Encrypt pauses an account for single names that never validated: the orders of all others go on.
    whole = kind != PAUSED or not _is_for(fault.reason, names)
    again = known.problem is not None and not new
    breaker = known.breaker
    if whole:
        breaker = needs_person(breaker, reason=fault.reason, now_s=now_s, again=again)
    if not whole and known.problem is not None and known.breaker.open_until_s:
        return
    transaction.issuers.save(replace(known, breaker=breaker, problem=problem))
    if new:
        data = {"issuer": known.name, "problem": kind, "reason": fault.reason, "all_orders": whole}
        transaction.events.append("issuer.account", now_s=now_s, data=data)


def _is_for(reason: str, names: Iterable[str]) -> bool:
    words = {word.strip(".,;:()\"'`").removeprefix("*.") for word in reason.split()}
    return not words.isdisjoint(name.removeprefix("*.") for name in names)
