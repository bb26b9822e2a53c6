"""Does a value that HQ is told now reach every name server? Put into the store as a challenge is, seen, taken out.

What is put there is persisted first and carries its time: whoever is killed in between leaves something behind that
`service.housekeeping` sweeps. The label is one that no box can have.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial

import dns.message
import dns.rcode
import dns.rdatatype

from otscert.domain import zone_checks
from otscert.ops.doctor_ask import NoAnswer, Server, ask
from otscert.ops.doctor_finding import Finding, failed, ok, unknown
from otscert.service.ports import Store
from otscert.store.transaction import Transaction
from otscert.zones.check import ServerCheck, wait_until_served

SEEN_S = 10.0
"""A secondary that was told by NOTIFY has it after one second."""


async def check_fresh(
    store: Store, origin: str, servers: Mapping[Server, str], *, limit_s: float = SEEN_S
) -> AsyncIterator[Finding]:
    """Put a random value into the zone, wait until all servers have it, and take it out again.

    Args:
        store: HQ's.
        origin: the zone.
        servers: where to ask, with what each is called.
        limit_s: how long a server may take.
    """
    if not servers:
        yield unknown("zone.fresh", "no name server is known, so nobody can be asked for a fresh challenge")
        return
    now_s, value = int(time.time()), secrets.token_urlsafe(32)
    row_id = zone_checks.check_id(now_s=now_s, randomness=secrets.token_hex(8))
    try:
        await store.write(partial(_put, row_id=row_id, value=value, now_s=now_s))
        name = f"_acme-challenge.{zone_checks.LABEL}.{origin}"
        result = await wait_until_served(list(servers), name, [value], limit_s)
        served = [check.server for check in result.servers if check.served]
        above = f"{zone_checks.LABEL}.{origin}"
        answers = await asyncio.gather(*(_ask_above(server, above) for server in served))
    finally:
        # Also when the command is being ended; else the sweep takes it out.
        await store.write(lambda transaction: transaction.challenges.drop(row_id))
    late = [check for check in result.servers if not check.served]
    for check in late:
        yield _late(check, servers[check.server], limit_s)
    for server, said in zip(served, answers, strict=True):
        for finding in judge_above(said, name=servers[server], above=above):
            yield finding
    if not late:
        slowest_s = max(check.elapsed_s for check in result.servers)
        yield ok(
            "zone.fresh", f"a fresh challenge is seen at every name server ({len(servers)}) after {slowest_s:.1f} s"
        )


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


def _late(check: ServerCheck, name: str, limit_s: float) -> Finding:
    return failed(
        f"zone.fresh:{name}",
        f"{name} does not show a fresh challenge within {limit_s:.0f} s: {check.reason}",
        why="HQ waits for all servers before it tells the CA, so no order ends; what boxes have goes on working",
        mend="see whether it gets NOTIFY and may transfer from HQ, or follows HQ's database (otscert processes)",
    )
