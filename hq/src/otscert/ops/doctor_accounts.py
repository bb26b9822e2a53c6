"""What HQ has learned of its issuers, and whether CAA records allow all of them: from the store, not from the CAs."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence

from otscert.config import Config
from otscert.domain.breaker import BreakerState
from otscert.ops.doctor_finding import Finding, failed, ok, warning
from otscert.store.errors import StoreError
from otscert.store.issuers import Issuer
from otscert.store.opening import open_store
from otscert.store.transaction import Transaction


async def check_accounts(config: Config) -> AsyncIterator[Finding]:
    """What orders have shown of each issuer; nothing while there is no database, whose own check says so."""
    if not config.database_url and not os.access(config.database, os.F_OK):
        return
    names = [issuer.name for issuer in config.issuers]

    def look(transaction: Transaction) -> tuple[list[Issuer], dict[str, list[str]]]:
        known = [transaction.issuers.get(name) for name in names]
        accounts = {name for name in names if (account := transaction.accounts.get(name)) is not None and account.url}
        return known, {name: transaction.caa.values_of(name) for name in accounts}

    try:
        store = open_store(config)
        try:
            known, caa = await store.read(look)
        finally:
            await store.close()
    except StoreError:
        return
    for finding in judge_issuers(known, preference=config.preference, now_s=int(time.time())):
        yield finding
    if caa:
        yield judge_caa(caa)


def judge_issuers(known: Sequence[Issuer], *, preference: Sequence[str], now_s: int) -> Iterator[Finding]:
    """The breaker and the account of each; a trouble is a failure when no other issuer is left for new orders."""
    well = [each.name for each in known if each.name in preference and each.breaker.state(now_s) is BreakerState.CLOSED]
    for each in known:
        check, show = f"issuer.{each.name}.state", f"otscert issuer show {each.name} says what to do"
        bad = warning if any(name != each.name for name in well) else failed
        why = "orders go to another issuer meanwhile" if bad is warning else "without it no box gets a certificate"
        if each.problem is not None:
            what = f"the account at {each.name} needs a person ({each.problem.kind}): {each.problem.reason}"
            yield bad(check, what, why=why, mend=show)
        elif each.breaker.state(now_s) is not BreakerState.CLOSED:
            minutes = each.breaker.failing_for_s(now_s) // 60
            what = f"{each.name} has failed for {minutes} min, {each.breaker.failures} times: {each.breaker.reason}"
            yield bad(check, what, why=why, mend=f"look at the CA's status page; otscert issuer test {each.name}")
        elif each.last_success_s is not None:
            yield ok(check, f"{each.name} gives certificates")


def judge_caa(values: Mapping[str, Sequence[str]]) -> Finding:
    """Whether the records that the zone has name every account that HQ has; the values are by issuer."""
    nameless = sorted(name for name, each in values.items() if "" in each or not each)
    if nameless:
        return warning(
            "zone.caa",
            f"the zone has no CAA records, because {', '.join(nameless)} does not say what it is called in them",
            why="any CA may issue for the zone, to anybody who can answer for it",
            mend=f"set issuer.{nameless[0]}.caa_identity to the domain that the CA's documentation names",
        )
    return ok("zone.caa", f"the zone's CAA records allow the accounts at {', '.join(sorted(values))} and nobody else")
