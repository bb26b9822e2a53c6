"""The zone as a CA sees it, from the parent down: delegation, every server, CAA, and a fresh challenge.

Knows the order of things and how long each may take; what answers mean is decided in the files beside it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass

import dns.asyncresolver

from otscert.config import Config
from otscert.domain.zone_checks import LABEL
from otscert.ops.delegated_zone import DelegatedZone, delegated_zones
from otscert.ops.doctor import OnSlow, run_checks
from otscert.ops.doctor_ask import DNS_PORT, Asked, NoAnswer, Place, Server, SoaAnswer, ask_soa
from otscert.ops.doctor_delegation import judge_referral, servers_of
from otscert.ops.doctor_finding import Finding, failed, unknown, warning
from otscert.ops.doctor_reach import shown
from otscert.ops.parent_zone import (
    CannotAsk,
    Referral,
    addresses_of,
    ask_referral,
    find_parent,
    has_ds,
    resolver_at,
    system_resolver,
)
from otscert.ops.zone_check_caa import climb, judge_caa
from otscert.ops.zone_check_fresh import check_fresh
from otscert.ops.zone_check_server import Report, ask_all, judge_server, judge_together, newest_of
from otscert.service.ports import Store
from otscert.zones.serials import is_ahead

CHECK_S = 15.0
_AGREE_S = 2.0
_LOOK = "look at the network, or name a resolver with --resolver, then run otscert zone check again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parents:
    """What the parent zone's servers said: a referral each, or why not; `problem` when there was nobody to ask."""

    parent: str = ""
    referrals: Mapping[Server, Referral | str]
    signed: bool = False
    problem: str = ""

    @property
    def glue(self) -> frozenset[tuple[str, str]]:
        found = [said.glue for said in self.referrals.values() if isinstance(said, Referral)]
        return frozenset().union(*found)

    @property
    def hosts(self) -> frozenset[str]:
        found = [said.servers for said in self.referrals.values() if isinstance(said, Referral)]
        return frozenset().union(*found)


@dataclass(frozen=True, slots=True, kw_only=True)
class _View:
    """A zone as it is found from above: its servers with what each is called, and those without an address."""

    zone: DelegatedZone
    parents: Parents
    servers: Mapping[Server, str]
    homeless: Sequence[Finding]


async def check_zone(
    config: Config,
    store: Store | None,
    *,
    wanted_caa: Mapping[str, Sequence[str]],
    resolver: Server | None = None,
    place: Place = DNS_PORT,
    on_slow: OnSlow = lambda _names: None,
) -> list[Finding]:
    """Check everything, within about `CHECK_S` twice.

    Args:
        config: the configuration.
        store: where a fresh challenge is put; None when no HQ runs that would show it.
        wanted_caa: as `judge_caa` has it.
        resolver: ask this one instead of the system's.
        place: where a name server's address is asked.
        on_slow: hears what is still being waited for.
    """
    chosen, problem = None, ""
    try:
        chosen = resolver_at(*resolver) if resolver else system_resolver()
    except CannotAsk as error:
        problem = str(error)
    views = await asyncio.gather(*(_view(zone, chosen, place, problem) for zone in delegated_zones(config)))
    fresh = [(view.zone, view.servers) for view in views]
    checks = {
        **{f"the servers of {view.zone.origin}": _check_servers(view) for view in views},
        "CAA": _check_caa(config.zone.origin, chosen, wanted_caa),
        "a fresh challenge": check_fresh(store, fresh) if store else _no_hq(),
    }
    found = await run_checks(checks, limit_s=CHECK_S, on_slow=on_slow)
    begin = [finding for view in views for finding in view.zone.named([*_judge_parents(view), *view.homeless])]
    return [*begin, *found]


async def _view(zone: DelegatedZone, resolver: dns.asyncresolver.Resolver | None, place: Place, problem: str) -> _View:
    parents = await _ask_parents(zone.origin, resolver, place) if resolver else Parents(referrals={}, problem=problem)
    servers, homeless = await _servers(zone, parents, resolver, place)
    return _View(zone=zone, parents=parents, servers=servers, homeless=homeless)


async def _ask_parents(origin: str, resolver: dns.asyncresolver.Resolver, place: Place) -> Parents:
    try:
        async with asyncio.timeout(CHECK_S):
            parent, hosts = await find_parent(origin, resolver)
            servers = await addresses_of(hosts, resolver, place)

            async def ask(server: Server) -> tuple[Referral | str, bool]:
                try:
                    return await ask_referral(server, parent, origin), await has_ds(server, origin)
                except NoAnswer as error:
                    return str(error), False

            said = await asyncio.gather(*map(ask, servers))
    except TimeoutError:
        return Parents(referrals={}, problem=f"the parent zone of {origin} was not found within {CHECK_S:.0f} s")
    except CannotAsk as error:
        return Parents(referrals={}, problem=str(error))
    referrals = {server: referral for server, (referral, _) in zip(servers, said, strict=True)}
    if not any(isinstance(each, Referral) for each in referrals.values()):
        reasons = "; ".join(f"{shown(*server)}: {reason}" for server, reason in referrals.items())
        return Parents(referrals={}, problem=f"no name server of {parent} answers ({reasons or 'none has an address'})")
    return Parents(parent=parent, referrals=referrals, signed=any(signed for _, signed in said))


def _judge_parents(view: _View) -> Iterator[Finding]:
    parents = view.parents
    if parents.problem:
        yield unknown(
            "dns.delegation", parents.problem, why="whether anybody finds the zone cannot be told", mend=_LOOK
        )
        return
    said = {each: server for server, each in parents.referrals.items() if isinstance(each, Referral)}
    for server, each in parents.referrals.items():
        if isinstance(each, str):
            yield warning(
                f"dns.parent:{shown(*server)}",
                f"the name server {shown(*server)} of {parents.parent} does not answer: {each}",
                why="resolvers that ask it first wait; its others do answer",
                mend=f"tell whoever runs {parents.parent}, if it stays so",
            )
    for referral, server in said.items():
        if len(said) > 1:
            yield warning(
                f"dns.parent:{shown(*server)}",
                f"the servers of {parents.parent} do not agree; what follows is said by {shown(*server)}",
                why="who asks another one is sent elsewhere",
                mend="wait until the change has reached all of them, then look again",
            )
        yield from judge_referral(view.zone, referral)


async def _servers(
    zone: DelegatedZone, parents: Parents, resolver: dns.asyncresolver.Resolver | None, place: Place
) -> tuple[dict[Server, str], list[Finding]]:
    """Where the zone is asked, with the servers' names; and those that have no address."""
    servers, homeless = dict[Server, str](), list[Finding]()
    for host in sorted(parents.hosts | set(zone.name_servers)):
        known = resolver or dns.asyncresolver.Resolver(configure=False)
        places = await servers_of(zone, host, parents.glue, known, place)
        servers |= dict.fromkeys(places, host)
        if not places:
            homeless.append(
                failed(
                    f"zone.address:{host}",
                    f"the name server {host} has no address",
                    why="nobody can ask it; the other name servers are not affected",
                    mend=f"publish an A or AAAA record for {host}, as glue in the parent zone when it is inside ours",
                )
            )
    for server in zone.more_servers:
        servers.setdefault(server, zone.setting)
    return servers or dict.fromkeys(zone.own, "HQ itself"), homeless


async def _check_servers(view: _View) -> AsyncIterator[Finding]:
    zone, parents = view.zone, view.parents
    reports = await asyncio.gather(*(ask_all(host, server, zone.origin) for server, host in view.servers.items()))
    for finding in zone.named(finding for report in reports for finding in judge_server(report)):
        yield finding
    if parents.signed and not any(report.is_signed for report in reports):
        forged = failed(
            "dns.ds",
            f"{parents.parent} has a DS record for {zone.origin}, which is not signed",
            why="every resolver that validates, and so every CA, takes all answers of the zone for forged",
            mend=f"have the DS record taken out of {parents.parent}",
        )
        for finding in zone.named([forged]):
            yield finding
    alive = [
        (report, server) for report, server in zip(reports, view.servers, strict=True) if report.serial is not None
    ]
    together = [report for report, _ in alive]
    serials = await _serials(together, [server for _, server in alive], zone.origin)
    compared = judge_together(
        together,
        name_servers=zone.name_servers or parents.hosts,
        source="zone.name_servers" if zone.name_servers else parents.parent,
        serials=serials,
        catch_up=zone.catch_up,
    )
    for finding in zone.named(compared):
        yield finding


async def _serials(reports: Sequence[Report], servers: Sequence[Server], origin: str) -> list[int]:
    """The serials; where they differ, after those that are behind have had time to fetch the newest."""
    serials = [report.serial or 0 for report in reports]
    if len(set(serials)) < 2:
        return serials
    await asyncio.sleep(_AGREE_S)
    # Judged against what the others had before: the zone may have moved on meanwhile.
    return caught_up(serials, await asyncio.gather(*(ask_soa(server, origin, tcp=False) for server in servers)))


def caught_up(serials: Sequence[int], answers: Sequence[SoaAnswer]) -> list[int]:
    """The serials, where a server that has by now what was the newest counts as having it."""
    newest = newest_of(serials)
    return [
        newest if answer.asked is Asked.AUTHORITATIVE and not is_ahead(newest, answer.serial) else serial
        for answer, serial in zip(answers, serials, strict=True)
    ]


async def _check_caa(
    origin: str, resolver: dns.asyncresolver.Resolver | None, wanted: Mapping[str, Sequence[str]]
) -> AsyncIterator[Finding]:
    if resolver is None:
        yield unknown("zone.caa", "this machine has no resolver, so CAA records were not looked up", mend=_LOOK)
        return
    for finding in judge_caa(await climb(f"{LABEL}.{origin}", resolver), origin=origin, wanted=wanted):
        yield finding


async def _no_hq() -> AsyncIterator[Finding]:
    yield unknown(
        "zone.fresh",
        "no HQ runs here, so whether a fresh challenge reaches all servers was not tried",
        mend="start it (otscert serve), then run otscert zone check again",
    )
