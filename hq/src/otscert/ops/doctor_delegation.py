"""Does the world find HQ's name servers? Asked of the parent zone's own servers, as every resolver does.

The system's resolver is used only to find those servers. No answer is "cannot tell", never "ok".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Collection, Iterable, Iterator

import dns.asyncresolver

from otscert.ops.delegated_zone import DelegatedZone
from otscert.ops.doctor_ask import DNS_PORT, Asked, NoAnswer, Place, Server, ask_soa
from otscert.ops.doctor_finding import Finding, failed, ok, unknown, warning
from otscert.ops.doctor_reach import shown
from otscert.ops.parent_zone import (
    CannotAsk,
    Referral,
    addresses_of,
    ask_referral,
    find_parent,
    resolver_at,
    system_resolver,
)

_PARENTS_ASKED = 3
_WHY = "without it nobody finds a box by its name, and the CA cannot see the proof that it asks for"


async def check_delegation(
    zone: DelegatedZone, resolver: tuple[str, int] | None = None, *, place: Place = DNS_PORT
) -> AsyncIterator[Finding]:
    """Compare the parent's NS and glue with the configuration, then ask each name server from here."""
    try:
        chosen = resolver_at(*resolver) if resolver else system_resolver()
        referral = await _referral(zone.origin, chosen, place)
    except CannotAsk as error:
        nobody = unknown(
            "dns.delegation", f"{error}", why=_WHY, mend="look at the network, then run otscert doctor again"
        )
        for finding in zone.named([nobody]):
            yield finding
        return
    for finding in zone.named(judge_referral(zone, referral)):
        yield finding
    if referral.servers:
        answers = await asyncio.gather(
            *(_answers(zone, referral, host, chosen, place) for host in sorted(referral.servers))
        )
        for finding in zone.named(answers):
            yield finding


async def _referral(origin: str, resolver: dns.asyncresolver.Resolver, place: Place) -> Referral:
    parent, hosts = await find_parent(origin, resolver)
    reasons = []
    for server in await addresses_of(hosts[:_PARENTS_ASKED], resolver, place):
        try:
            return await ask_referral(server, parent, origin)
        except NoAnswer as error:
            reasons.append(f"{shown(*server)}: {error}")
    raise CannotAsk(f"no name server of {parent} answers ({'; '.join(reasons) or 'none has an address'})")


def judge_referral(zone: DelegatedZone, referral: Referral) -> Iterator[Finding]:
    """Compare what the parent says with the configuration; where others hold the zone there is none to compare."""
    wanted, found = frozenset(zone.name_servers), referral.servers
    if not found:
        records = "  ".join(f"{zone.origin}. NS {server}." for server in zone.name_servers)
        records = records or f"an NS record of {zone.origin} for each of its name servers"
        yield failed(
            "dns.delegation",
            f"{referral.parent} does not delegate {zone.origin}",
            why=_WHY,
            mend=f"in the zone {referral.parent}, add: {records}{_glue_records(zone)}",
        )
        return
    if wanted and found != wanted:
        yield failed(
            "dns.delegation",
            f"{referral.parent} delegates {zone.origin} to {_listed(found)}, but zone.name_servers has"
            f" {_listed(wanted)}",
            why=_why_of_servers(missing=wanted - found, others=found - wanted) if wanted & found else _WHY,
            mend="make both lists the same",
        )
    else:
        yield ok("dns.delegation", f"{referral.parent} delegates {zone.origin} to {_listed(found)}")
    yield from _judge_glue(zone, referral)


def _why_of_servers(*, missing: frozenset[str], others: frozenset[str]) -> str:
    said = []
    if missing:
        said.append(f"nobody is sent to {_listed(missing)}, so there is less to fall back on than it seems")
    if others:
        said.append(f"who is sent to {_listed(others)} may get an error or nothing there")
    return "; ".join(said) + "; the name servers in both lists are found"


def _judge_glue(zone: DelegatedZone, referral: Referral) -> Iterator[Finding]:
    """The addresses of those name servers inside the zone that are meant; of others the delegation says enough."""
    meant = referral.servers & frozenset(zone.name_servers or referral.servers)
    hosts = {host for host in meant if host.endswith(f".{zone.origin}")}
    found = {(host, address) for host, address in referral.glue if host in hosts}
    wanted = {(host, str(address)) for host in hosts for address in zone.server_addresses.get(host, ())}
    if zone.name_servers and found != wanted:
        yield failed(
            "dns.glue",
            f"the addresses (glue) in {referral.parent} are {_pairs(found)}, but zone.server_addresses has"
            f" {_pairs(wanted)}",
            why="who is sent to a wrong address waits, and one that is missing helps nobody; the other name servers"
            " and addresses are found"
            if found & wanted or meant - hosts
            else _WHY,
            mend="make both the same",
        )
    homeless = hosts - {host for host, _ in found}
    if not zone.name_servers and homeless:
        yield failed(
            "dns.glue",
            f"{referral.parent} has no address (glue) for {_listed(homeless)}, inside {zone.origin}",
            why="nobody can look it up, because the zone itself would have to be asked; others are not affected",
            mend=f"in the zone {referral.parent}, add an A or AAAA record for each of them",
        )


async def _answers(
    zone: DelegatedZone, referral: Referral, host: str, resolver: dns.asyncresolver.Resolver, place: Place
) -> Finding:
    servers = await servers_of(zone, host, referral.glue, resolver, place)
    check = f"dns.server:{host}"
    if not servers:
        mend = f"publish an A or AAAA record for {host}"
        return failed(check, f"the name server {host} has no address", why="nobody can ask it", mend=mend)
    for server in servers:
        answer = await ask_soa(server, zone.origin, tcp=False)
        if answer.asked is not Asked.AUTHORITATIVE:
            return warning(
                check,
                f"{host} does not answer for {zone.origin} at {shown(*server)}: {answer.reason}",
                why="resolvers ask there (some routers hide their public address from inside: ask from outside, too)",
                mend=f"is {'it' if zone.elsewhere else 'HQ'} running, and is UDP and TCP port 53 open to the world?",
            )
    return ok(check, f"{host} answers for {zone.origin} at {', '.join(address for address, _ in servers)}")


async def servers_of(
    zone: DelegatedZone,
    host: str,
    glue: Collection[tuple[str, str]],
    resolver: dns.asyncresolver.Resolver,
    place: Place,
) -> list[Server]:
    """Where a name server is asked: as the parent says, else as the configuration does, else as the resolver does."""
    addresses = [address for name, address in sorted(glue) if name == host]
    addresses = addresses or [str(address) for address in zone.server_addresses.get(host, ())]
    return [place(address) for address in addresses] or await addresses_of([host], resolver, place)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{host} {address}" for host, address in sorted(pairs)) or "none"


def _glue_records(zone: DelegatedZone) -> str:
    return "".join(
        f"  {host}. {'A' if address.version == 4 else 'AAAA'} {address}"
        for host, addresses in zone.server_addresses.items()
        for address in addresses
    )
