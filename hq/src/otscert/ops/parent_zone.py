"""Who delegates our zone, and what each of those servers says of it: asked of the parent zone's own name servers.

The system's resolver is used only to find those servers. Judges nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver

from otscert.ops.doctor_ask import NoAnswer, Place, Server, ask

RESOLVE_S = 4.0


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


async def find_parent(origin: str, resolver: dns.asyncresolver.Resolver) -> tuple[str, list[str]]:
    """The closest zone above `origin` and its name servers' names; raises `CannotAsk`."""
    name = dns.name.from_text(origin)
    while name != dns.name.root:
        name = name.parent()
        try:
            answer = await resolver.resolve(name, dns.rdatatype.NS, raise_on_no_answer=False)
        except dns.resolver.NXDOMAIN:
            continue
        except dns.exception.Timeout as error:
            raise CannotAsk(f"no resolver answers when asked who serves {plain(name)}") from error
        except (dns.exception.DNSException, OSError) as error:
            raise CannotAsk(f"the resolver does not say who serves {plain(name)}: {error}") from error
        if answer.rrset:
            return name.to_text(omit_final_dot=True) or ".", [str(rdata.target) for rdata in answer.rrset]
    raise CannotAsk("there is no DNS from here: the resolver knows no zone at all")


async def addresses_of(hosts: Iterable[str], resolver: dns.asyncresolver.Resolver, place: Place) -> list[Server]:
    """Where all these hosts are to be asked; those without an address are left out."""

    async def of(host: str) -> list[Server]:
        try:
            answers = await resolver.resolve_name(host)
        except (dns.exception.DNSException, OSError):
            return []  # the others may have one; when none has, the caller says so
        return [place(address) for address in answers.addresses()]

    return [server for servers in await asyncio.gather(*map(of, hosts)) for server in servers]


async def ask_referral(server: Server, parent: str, origin: str) -> Referral:
    """What one of the parent's servers says of our zone; raises `NoAnswer` with why it says nothing."""
    response = await ask(server, origin, dns.rdatatype.NS)
    if response.rcode() in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return _read(parent, origin, response)
    raise NoAnswer(dns.rcode.to_text(response.rcode()))


async def has_ds(server: Server, origin: str) -> bool:
    """Whether the parent says that our zone is signed (a DS record); raises `NoAnswer`."""
    name = dns.name.from_text(origin)
    response = await ask(server, origin, dns.rdatatype.DS)
    return any(rrset.rdtype == dns.rdatatype.DS and rrset.name == name for rrset in response.answer)


def _read(parent: str, origin: str, response: dns.message.Message) -> Referral:
    name, servers, glue = dns.name.from_text(origin), set(), set()
    for rrset in (*response.answer, *response.authority):
        if rrset.rdtype == dns.rdatatype.NS and rrset.name == name:
            servers |= {plain(rdata.target) for rdata in rrset}
    for rrset in response.additional:
        if rrset.rdclass == dns.rdataclass.IN and rrset.rdtype in (dns.rdatatype.A, dns.rdatatype.AAAA):
            glue |= {(plain(rrset.name), rdata.address) for rdata in rrset}
    return Referral(parent=parent, servers=frozenset(servers), glue=frozenset(glue))


def plain(name: dns.name.Name) -> str:
    """A name for people and settings: lower case, without its final dot."""
    return name.to_text(omit_final_dot=True).lower()
