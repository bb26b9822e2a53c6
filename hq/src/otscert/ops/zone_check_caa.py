"""Which CAs may issue for a box: the CAA records from its name up to the top level, as a CA climbs them (RFC 8659 3).

`climb` asks a resolver, as a CA's validator does; `judge_caa` decides from values alone.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver

from otscert.ops.doctor_finding import Finding, failed, ok, unknown, warning
from otscert.ops.parent_zone import plain


@dataclass(frozen=True, slots=True, kw_only=True)
class CaaAt:
    """What is at one name: (tag, value) pairs, or why nobody knows."""

    name: str
    properties: tuple[tuple[str, str], ...] = ()
    problem: str = ""

    def values(self, tag: str) -> list[str]:
        return [value for found, value in self.properties if found == tag]


async def climb(name: str, resolver: dns.asyncresolver.Resolver) -> list[CaaAt]:
    """Ask for the records at `name` and at every name above it but the root, all at once, the lowest first."""
    names = []
    whole = dns.name.from_text(name)
    while whole != dns.name.root:
        names.append(whole)
        whole = whole.parent()
    return list(await asyncio.gather(*(_at(each, resolver) for each in names)))


async def _at(name: dns.name.Name, resolver: dns.asyncresolver.Resolver) -> CaaAt:
    try:
        answer = await resolver.resolve(name, dns.rdatatype.CAA, raise_on_no_answer=False)
    except dns.resolver.NXDOMAIN:
        return CaaAt(name=plain(name))
    except (dns.exception.DNSException, OSError) as error:
        return CaaAt(name=plain(name), problem=str(error))
    pairs = [(rdata.tag.decode("latin-1").lower(), rdata.value.decode("latin-1")) for rdata in answer.rrset or ()]
    return CaaAt(name=plain(name), properties=tuple(sorted(pairs)))


def judge_caa(chain: Sequence[CaaAt], *, origin: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    """Who may issue, and may our issuers?

    Args:
        chain: from a box's name up.
        origin: the zone.
        wanted: for each configured issuer the values of `issue` that the zone is to have; "" or none at all where HQ
            does not know yet what the CA is called.
    """
    if all(at.problem for at in chain):
        yield unknown(
            "zone.caa",
            f"no resolver answers when asked for CAA records: {chain[0].problem}",
            mend="look at the network, or name a resolver with --resolver",
        )
        return
    lowest = next((number for number, at in enumerate(chain) if at.properties), len(chain))
    for at in chain[: lowest + 1]:
        if at.problem:
            yield failed(
                "zone.caa.error",
                f"CAA records of {at.name} cannot be looked up: {at.problem}",
                why="a CA that gets an error there issues nothing for any box (RFC 8659 3)",
                mend=f"mend the name servers of {at.name}: they have to answer NOERROR or NXDOMAIN",
            )
    if lowest == len(chain):
        yield _nobody(wanted)
        return
    yield from _judge_set(chain[lowest], origin, wanted)


def _nobody(wanted: Mapping[str, Sequence[str]]) -> Finding:
    nameless = sorted(issuer for issuer, values in wanted.items() if not any(values))
    because = f": HQ does not know yet how {', '.join(nameless)} is called in CAA" if nameless else ""
    return warning(
        "zone.caa",
        f"there are no CAA records on the way, so every CA may issue for boxes{because}",
        why="somebody who can forge a proof at any other CA gets a certificate for a box's name",
        mend="HQ publishes them once each issuer has an account (otscert issuer show); are its servers fresh?",
    )


def _judge_set(at: CaaAt, origin: str, wanted: Mapping[str, Sequence[str]]) -> Iterator[Finding]:
    ours = {value: issuer for issuer, values in wanted.items() for value in values if value}
    for tag in ("issue", "issuewild") if at.values("issuewild") else ("issue",):
        found = at.values(tag)
        domains = {_domain(value) for value in found}
        for value, issuer in sorted(ours.items()):
            if value in found or (at.name != origin and value.split(";")[0] in found):
                continue
            known = _domain(value) in domains
            yield failed(
                f"zone.caa.{issuer}",
                f"the {tag} records of {at.name} do not let HQ's issuer {issuer} issue: "
                + (
                    f"they name {_domain(value)}, but not as {value!r}" if known else f"{_domain(value)} is not in them"
                ),
                why="the CA refuses each order; certificates that boxes have stay good until they end",
                mend=f"have exactly this there: {tag} {value!r}"
                if at.name != origin
                else "the servers have an older zone, or HQ's account has changed: see the serials above",
            )
        strangers = sorted(set(found) - set(ours)) if at.name == origin else []
        if strangers:
            yield warning(
                "zone.caa.others",
                f"the {tag} records of {at.name} let others issue: {', '.join(strangers)}",
                why="HQ did not put them there, and each is one more way to a certificate for a box",
                mend="take them out where the zone is served, if it is not meant so",
            )
        if not strangers and (ours.keys() <= set(found) if at.name == origin else ours):
            yield ok(f"zone.caa.{tag}", f"only these may issue, by the {tag} records of {at.name}: {', '.join(found)}")


def _domain(value: str) -> str:
    return value.partition(";")[0].strip().lower()
