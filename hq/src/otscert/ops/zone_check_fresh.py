"""Does a value that HQ is told now reach every name server? Put into the store as a challenge is, seen, taken out.

What is put there is persisted first and carries its time: whoever is killed in between leaves something behind that
`service.housekeeping` sweeps. The label is one that no box can have.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial

import dns.message
import dns.rcode
import dns.rdatatype

from otscert.domain import zone_checks
from otscert.ops.delegated_zone import DelegatedZone
from otscert.ops.doctor_ask import NoAnswer, Server, ask
from otscert.ops.doctor_finding import Finding, failed, ok, unknown
from otscert.ops.zone_check_server import named
from otscert.service.ports import Store
from otscert.store.transaction import Transaction
from otscert.zones.check import ServerCheck, wait_until_alias, wait_until_served

SEEN_S = 10.0
"""A secondary that was told by NOTIFY has it after one second."""


async def check_fresh(
    store: Store, places: Sequence[tuple[DelegatedZone, Mapping[Server, str]]], *, limit_s: float = SEEN_S
) -> AsyncIterator[Finding]:
    """Put a random value into the zone, wait until all servers have it, and take it out again.

    Args:
        store: HQ's.
        places: the boxes' zone and its servers, with what each is called; and the zone of challenges, if it is another
            one: the servers of the first have to show an alias then. As the worker waits for them.
        limit_s: how long a server may take.
    """
    for zone, servers in places:
        if not servers:
            yield unknown("zone.fresh", f"no name server of {zone.origin} is known, so no fresh challenge was tried")
            return
    name, target = (f"_acme-challenge.{zone_checks.LABEL}.{zone.origin}" for zone, _ in (places[0], places[-1]))
    now_s, value = int(time.time()), secrets.token_urlsafe(32)
    row_id = zone_checks.check_id(now_s=now_s, randomness=secrets.token_hex(8))
    waits = [wait_until_served(list(places[-1][1]), target, [value], limit_s)]
    if name != target:
        waits.insert(0, wait_until_alias(list(places[0][1]), name, target, limit_s))
    try:
        await store.write(partial(_put, row_id=row_id, value=value, now_s=now_s))
        results = await asyncio.gather(*waits)
        shown = [
            (check.server, zone, servers[check.server])
            for (zone, servers), result in zip(places, results, strict=True)
            for check in result.servers
            if check.served
        ]
        answers = await asyncio.gather(*(_ask_above(server, _above(zone)) for server, zone, _ in shown))
    finally:
        # Also when the command is being ended; else the sweep takes it out.
        await store.write(lambda transaction: transaction.challenges.drop(row_id))
    for number, ((zone, servers), result) in enumerate(zip(places, results, strict=True)):
        alias = number == 0 and name != target
        late = [_late(check, zone, servers, limit_s, alias=alias) for check in result.servers if not check.served]
        for finding in zone.named(late):
            yield finding
    for (server, zone, host), said in zip(shown, answers, strict=True):
        for finding in zone.named(judge_above(said, name=named(host, server), above=_above(zone))):
            yield finding
    if all(result.served for result in results):
        slowest_s = max(check.elapsed_s for result in results for check in result.servers)
        yield ok("zone.fresh", f"{_seen(places)} after {slowest_s:.1f} s")


def _seen(places: Sequence[tuple[DelegatedZone, Mapping[Server, str]]]) -> str:
    counts = [len(servers) for _, servers in places]
    if len(places) == 1:
        return f"a fresh challenge is seen at every name server ({counts[0]})"
    return (
        f"a fresh challenge is seen at every name server of {places[1][0].origin} ({counts[1]}), and its alias at every"
        f" one of {places[0][0].origin} ({counts[0]})"
    )


def _above(zone: DelegatedZone) -> str:
    return f"{zone_checks.LABEL}.{zone.origin}"


async def _ask_above(server: Server, above: str) -> dns.message.Message | NoAnswer:
    try:
        return await ask(server, above, dns.rdatatype.A)
    except NoAnswer as error:
        return error  # the server's own checks say that it is silent


def judge_above(said: dns.message.Message | NoAnswer, *, name: str, above: str) -> Iterator[Finding]:
    """Whether a server denies a name that has only the challenge below it (RFC 8020: NXDOMAIN denies that as well)."""
    if isinstance(said, dns.message.Message) and said.rcode() == dns.rcode.NXDOMAIN:
        yield failed(
            f"zone.above:{name}",
            f"{name} says that {above} does not exist (NXDOMAIN), although a challenge stands below it",
            why="resolvers that ask label by label, as Let's Encrypt's do, stop there and never see the challenge;"
            " those that ask for the whole name do see it",
            mend="use a name server that answers NOERROR for such empty names (RFC 8020); is there a proxy before it?",
        )


def _put(transaction: Transaction, *, row_id: str, value: str, now_s: int) -> None:
    transaction.challenges.sweep_checks(now_s=now_s)
    transaction.challenges.put(row_id, zone_checks.LABEL, [value])


def _late(
    check: ServerCheck, zone: DelegatedZone, servers: Mapping[Server, str], limit_s: float, *, alias: bool
) -> Finding:
    name = named(servers[check.server], check.server)
    return failed(
        f"zone.{'alias' if alias else 'fresh'}:{name}",
        f"{name} does not show {'the alias of ' if alias else ''}a fresh challenge within {limit_s:.0f} s:"
        f" {check.reason}",
        why="HQ waits for all servers before it tells the CA, so no order ends; what boxes have goes on working",
        mend=f"if it answers at all, {zone.catch_up}",
    )
