"""Does the world find HQ's name servers? Asked of the parent zone's own servers, as every resolver does.

The system's resolver is used only to find those servers. No answer is "cannot tell", never "ok".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.resolver

from otscert.config import ZoneConfig
from otscert.ops.doctor_ask import Asked, NoAnswer, Server, ask, ask_soa
from otscert.ops.doctor_finding import Finding, failed, ok, unknown, warning
from otscert.ops.doctor_reach import shown

RESOLVE_S = 4.0
_DNS_PORT = 53
_PARENTS_ASKED = 3
_WHY = "without it nobody finds a box by its name, and the CA cannot see the proof that it asks for"


class CannotAsk(Exception):
    """No resolver, or none of the servers, answered; the text says which."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Referral:
    """What the parent zone says: its own name, the name servers of ours (none: not delegated) and their glue."""

    parent: str
    servers: frozenset[str]
    glue: frozenset[tuple[str, str]]


def system_resolver() -> dns.asyncresolver.Resolver:
    """The resolver of /etc/resolv.conf; raises `CannotAsk` when the machine has none."""
    try:
        return _limited(dns.asyncresolver.Resolver())
    except (dns.exception.DNSException, OSError) as error:
        raise CannotAsk(f"this machine has no resolver: {error}") from error


def resolver_at(host: str, port: int) -> dns.asyncresolver.Resolver:
    """One resolver by its address."""
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers = [host]
    resolver.port = port
    return _limited(resolver)


def _limited(resolver: dns.asyncresolver.Resolver) -> dns.asyncresolver.Resolver:
    resolver.lifetime = RESOLVE_S
    resolver.timeout = RESOLVE_S / 2
    return resolver


async def check_delegation(
    zone: ZoneConfig, resolver: tuple[str, int] | None = None, *, port: int = _DNS_PORT
) -> AsyncIterator[Finding]:
    """Compare the parent's NS and glue with the configuration, then ask each name server from here."""
    try:
        chosen = resolver_at(*resolver) if resolver else system_resolver()
        referral = await _referral(zone.origin, chosen, port)
    except CannotAsk as error:
        yield unknown("dns.delegation", f"{error}", why=_WHY, mend="look at the network, then run otscert doctor again")
        return
    for finding in _judge(zone, referral):
        yield finding
    if referral.servers:
        for finding in await asyncio.gather(
            *(_answers(zone, referral, host, chosen, port) for host in sorted(referral.servers))
        ):
            yield finding


async def _referral(origin: str, resolver: dns.asyncresolver.Resolver, port: int) -> Referral:
    parent, hosts = await _parent(origin, resolver)
    servers = await _addresses(hosts[:_PARENTS_ASKED], resolver, port)
    reasons = []
    for server in servers:
        try:
            response = await ask(server, origin, dns.rdatatype.NS)
        except NoAnswer as error:
            reasons.append(f"{shown(*server)}: {error}")
            continue
        if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
            return _read(parent, origin, response)
        reasons.append(f"{shown(*server)}: {dns.rcode.to_text(response.rcode())}")
    raise CannotAsk(f"no name server of {parent} answers ({'; '.join(reasons) or 'none has an address'})")


async def _parent(origin: str, resolver: dns.asyncresolver.Resolver) -> tuple[str, list[str]]:
    """The closest zone above `origin` and its name servers."""
    name = dns.name.from_text(origin)
    while name != dns.name.root:
        name = name.parent()
        try:
            answer = await resolver.resolve(name, dns.rdatatype.NS, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            continue
        except dns.exception.Timeout as error:
            raise CannotAsk(f"no resolver answers when asked who serves {_plain(name)}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise CannotAsk(f"the resolver does not say who serves {_plain(name)}: {error}") from error
        if answer.rrset:
            return name.to_text(omit_final_dot=True) or ".", [str(rdata.target) for rdata in answer.rrset]
    raise CannotAsk("there is no DNS from here: the resolver knows no zone at all")


async def _addresses(hosts: Iterable[str], resolver: dns.asyncresolver.Resolver, port: int) -> list[Server]:
    async def of(host: str) -> list[Server]:
        try:
            answers = await resolver.resolve_name(host)
        except (dns.exception.DNSException, OSError):
            return []  # the others may have one; when none has, the caller says so
        return [(address, port) for address in answers.addresses()]

    return [server for servers in await asyncio.gather(*map(of, hosts)) for server in servers]


def _read(parent: str, origin: str, response: dns.message.Message) -> Referral:
    name, servers, glue = dns.name.from_text(origin), set(), set()
    for rrset in (*response.answer, *response.authority):
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == name:
            servers |= {_plain(rdata.target) for rdata in rrset}
    for rrset in response.additional:
        if rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            glue |= {(_plain(rrset.name), rdata.address) for rdata in rrset}
    return Referral(parent=parent, servers=frozenset(servers), glue=frozenset(glue))


def _judge(zone: ZoneConfig, referral: Referral) -> Iterable[Finding]:
    wanted = frozenset(zone.name_servers)
    if not referral.servers:
        records = "  ".join(f"{zone.origin}. NS {server}." for server in zone.name_servers)
        yield failed(
            "dns.delegation",
            f"{referral.parent} does not delegate {zone.origin}",
            why=_WHY,
            mend=f"in the zone {referral.parent}, add: {records}{_glue_records(zone)}",
        )
        return
    if referral.servers != wanted:
        yield failed(
            "dns.delegation",
            f"{referral.parent} delegates {zone.origin} to {_listed(referral.servers)}, but zone.name_servers has"
            f" {_listed(wanted)}",
            why=_WHY,
            mend="make both lists the same",
        )
        return
    yield ok("dns.delegation", f"{referral.parent} delegates {zone.origin} to {_listed(wanted)}")
    configured = {(host, str(address)) for host, addresses in zone.server_addresses.items() for address in addresses}
    inside = {(host, address) for host, address in referral.glue if host.endswith(f".{zone.origin}")}
    if inside != {(host, address) for host, address in configured if host in wanted}:
        yield failed(
            "dns.glue",
            f"the addresses (glue) in {referral.parent} are {_pairs(inside)}, but zone.server_addresses has"
            f" {_pairs(configured)}",
            why=_WHY,
            mend="make both the same",
        )


async def _answers(
    zone: ZoneConfig, referral: Referral, host: str, resolver: dns.asyncresolver.Resolver, port: int
) -> Finding:
    addresses = [address for name, address in sorted(referral.glue) if name == host]
    addresses = addresses or [str(address) for address in zone.server_addresses.get(host, ())]
    addresses = addresses or [address for address, _ in await _addresses([host], resolver, port)]
    check = f"dns.server:{host}"
    if not addresses:
        mend = f"publish an A or AAAA record for {host}"
        return failed(check, f"the name server {host} has no address", why="nobody can ask it", mend=mend)
    for address in addresses:
        answer = await ask_soa((address, port), zone.origin, tcp=False)
        if answer.asked is not Asked.AUTHORITATIVE:
            return warning(
                check,
                f"{host} does not answer for {zone.origin} at {shown(address, port)}: {answer.reason}",
                why="resolvers ask there (some routers hide their public address from inside: ask from outside, too)",
                mend="is HQ running, and is UDP and TCP port 53 open to the world?",
            )
    return ok(check, f"{host} answers for {zone.origin} at {', '.join(addresses)}")


def _plain(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _pairs(pairs: Iterable[tuple[str, str]]) -> str:
    return ", ".join(f"{host} {address}" for host, address in sorted(pairs)) or "none"


def _glue_records(zone: ZoneConfig) -> str:
    return "".join(
        f"  {host}. {'A' if address.version == 4 else 'AAAA'} {address}"
        for host, addresses in zone.server_addresses.items()
        for address in addresses
    )
