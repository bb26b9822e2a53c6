"""One name server of the zone, asked everything that resolvers, CAs and attackers ask; and what its answers mean.

`ask_all` asks, `judge_server` and `judge_together` decide from values alone.
"""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from otscert.ops.doctor_ask import NoAnswer, Server, ask
from otscert.ops.doctor_finding import Finding, failed, ok, warning
from otscert.ops.doctor_reach import shown
from otscert.ops.parent_zone import plain
from otscert.zones.serials import is_ahead, newest

ANSWER_S = 5.0
NEGATIVE_S = 60
_EDNS_BYTES = 1232
_UDP_BYTES = 512
_UNKNOWN_TYPE = dns.rdatatype.RdataType.make(65280)
"""Of those for private use (RFC 6895 3.1): no server has records of it."""
_CAA_WHY = "a CA asks for CAA records before every certificate, and an error or silence there is a refusal (RFC 8659)"

Said = dns.message.Message | NoAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What one server said to each question; `name` says which server and where, for people."""

    name: str
    origin: str
    soa: Said
    soa_tcp: Said
    name_servers: Said
    caa: Said
    keys: Said
    unknown_type: Said
    missing: Said
    nodata: Said
    any_type: Said
    newer_edns: Said
    transfer: Said

    @property
    def serial(self) -> int | None:
        """The serial of its SOA; None when it gave none."""
        for said in (self.soa, self.soa_tcp):
            if isinstance(said, dns.message.Message):
                for rrset in said.answer:
                    if rrset.rdtype == dns.rdatatype.SOA:
                        return int(rrset[0].serial)
        return None

    @property
    def is_signed(self) -> bool:
        """Whether it serves keys (DNSSEC)."""
        return bool(_rrset(self.keys, dns.rdatatype.DNSKEY))


async def ask_all(host: str, server: Server, origin: str) -> Report:
    """Ask everything at once, each question twice when nothing comes back at first."""
    # RFC 4343 has names compared without regard to case; resolvers use it against forgers (0x20), Let's Encrypt's too.
    apex, gone = mixed(origin), mixed(f"{secrets.token_hex(8)}-none.{origin}")
    kinds = dns.rdatatype

    async def said(
        name: str, kind: dns.rdatatype.RdataType, *, tcp: bool = False, edns: int = 0, fall_back: bool = True
    ) -> Said:
        for last in (False, True):
            try:
                return await ask(server, name, kind, tcp=tcp, edns=edns, fall_back=fall_back, limit_s=ANSWER_S / 2)
            except NoAnswer as error:
                if last:
                    return error
        raise AssertionError("unreachable")

    answers = await asyncio.gather(
        said(apex, kinds.SOA),
        said(apex, kinds.SOA, tcp=True),
        said(apex, kinds.NS),
        said(apex, kinds.CAA),
        said(apex, kinds.DNSKEY),
        said(apex, _UNKNOWN_TYPE),
        said(gone, kinds.A),
        said(apex, kinds.A),
        said(apex, kinds.ANY, fall_back=False),
        said(apex, kinds.SOA, edns=1),
        said(apex, kinds.AXFR, tcp=True),
    )
    names = ("soa", "soa_tcp", "name_servers", "caa", "keys", "unknown_type", "missing", "nodata", "any_type")
    return Report(
        name=named(host, server),
        origin=origin,
        **dict(zip((*names, "newer_edns", "transfer"), answers, strict=True)),
    )


def named(host: str, server: Server) -> str:
    """What a server is called in findings: a host has several addresses, and a setting names several servers."""
    return f"{host} at {shown(*server)}"


def mixed(name: str) -> str:
    """A name with capital letters here and there, at least one of each kind."""
    letters = [random.choice((letter.upper(), letter)) for letter in name]  # noqa: S311 - only to look different
    places = [place for place, letter in enumerate(name) if letter.isalpha()]
    letters[places[0]], letters[places[-1]] = letters[places[0]].upper(), letters[places[-1]].lower()
    return "".join(letters)


def judge_server(report: Report) -> list[Finding]:
    """What is wrong with one server, or that nothing is."""
    unreachable = list(_reach(report))
    if unreachable and (not isinstance(report.soa, dns.message.Message) or _lame(report.soa)):
        return unreachable
    found = [
        *unreachable,
        *_case(report),
        *_types(report),
        *_negative(report),
        *_edns(report),
        *_open(report),
    ]
    good = (
        f"{report.name} speaks for {report.origin} over UDP and TCP, serial {report.serial}: EDNS, case, unknown types"
        " and missing names as it should"
    )
    return found or [ok(f"zone.server:{report.name}", good)]


def _reach(report: Report) -> Iterator[Finding]:
    soa, tcp = report.soa, report.soa_tcp
    both = isinstance(soa, NoAnswer) and isinstance(tcp, NoAnswer)
    if isinstance(soa, NoAnswer):
        yield failed(
            f"zone.udp:{report.name}",
            f"{report.name} does not answer over UDP{' nor TCP' if both else ''}: {soa}",
            why="resolvers and CAs that ask there get nothing, and wait; other name servers, if there are, go on",
            mend="is it running, and are UDP and TCP port 53 open to the world? (some routers hide their public address"
            " from inside: check from outside, too)",
        )
    elif reason := _lame(soa):
        yield failed(
            f"zone.lame:{report.name}",
            f"{report.name} does not speak for {report.origin}: {reason}",
            why="the parent zone sends resolvers and CAs there, and what they get is an error",
            mend="make it serve the zone, or take it out of the delegation and of zone.name_servers",
        )
    if isinstance(tcp, NoAnswer) and not both:
        yield failed(
            f"zone.tcp:{report.name}",
            f"{report.name} does not answer over TCP: {tcp}",
            why="answers that UDP cuts off, and resolvers that are told to come back, find nobody (RFC 7766)",
            mend="open TCP port 53 as well as UDP",
        )


def _lame(said: dns.message.Message) -> str:
    if said.rcode() != dns.rcode.NOERROR:
        return f"it answers {dns.rcode.to_text(said.rcode())}"
    if not _rrset(said, dns.rdatatype.SOA):
        return "it has no SOA record for it"
    return "" if said.flags & dns.flags.AA else "its answer is not authoritative"


def _case(report: Report) -> Iterator[Finding]:
    for said in (report.soa, report.soa_tcp):
        # The question's name as it came back is what a resolver compares, letter by letter.
        if isinstance(said, dns.message.Message) and said.question:
            labels = said.question[0].name.labels
            if labels == tuple(label.lower() for label in labels) or labels == tuple(map(bytes.upper, labels)):
                yield failed(
                    f"zone.case:{report.name}",
                    f"{report.name} does not give back the question in the letters in which it was asked",
                    why="resolvers that mix capitals in against forgers, as Let's Encrypt's do, throw its answers away",
                    mend="use a name server that echoes the question (RFC 4343 4.1), and look for middle boxes",
                )
                return


def _types(report: Report) -> Iterator[Finding]:
    said, what = report.unknown_type, "asked for a type that it does not know"
    if isinstance(said, NoAnswer):
        yield failed(
            f"zone.types:{report.name}",
            f"{report.name} is silent when {what}: {said}",
            why=_CAA_WHY,
            mend="look for a firewall that lets only some types of question through",
        )
    elif said.rcode() != dns.rcode.NOERROR:
        yield failed(
            f"zone.types:{report.name}",
            f"{report.name} answers {dns.rcode.to_text(said.rcode())} when {what}",
            why=_CAA_WHY,
            mend="use a name server that says NOERROR without records then (RFC 3597)",
        )


def _negative(report: Report) -> Iterator[Finding]:
    for said, wanted, name in (
        (report.missing, dns.rcode.NXDOMAIN, "a name that nobody has"),
        (report.nodata, dns.rcode.NOERROR, "a name without records of the type"),
    ):
        if isinstance(said, NoAnswer):
            yield failed(
                f"zone.negative:{report.name}",
                f"{report.name} is silent about {name}: {said}",
                why="resolvers wait for it, and a CA's look-ups on the way to a name fail",
                mend="look at the server's log, and for a firewall in between",
            )
            continue
        if said.rcode() != wanted or (said.answer and wanted == dns.rcode.NXDOMAIN):
            got = dns.rcode.to_text(said.rcode())
            yield failed(
                f"zone.negative:{report.name}",
                f"{report.name} answers {got}{' with records' if said.answer else ''} for {name}, not"
                f" {dns.rcode.to_text(wanted)}",
                why="resolvers believe NXDOMAIN for everything below a name (RFC 8020), and other records are a lie",
                mend="look for a wildcard where it has its zone from: none belongs into it",
            )
            continue
        soas = [rrset for rrset in said.authority if rrset.rdtype == dns.rdatatype.SOA]
        seconds = min(soas[0].ttl, soas[0][0].minimum) if soas else None
        if seconds is None and not said.answer:
            yield warning(
                f"zone.negative:{report.name}",
                f"{report.name} gives no SOA record with its answer about {name}",
                why="nobody knows then for how long to keep it (RFC 2308)",
                mend="use a name server that does",
            )
        elif seconds is not None and seconds > NEGATIVE_S:
            yield warning(
                f"zone.negative_ttl:{report.name}",
                f"{report.name} lets resolvers keep for {seconds} s that a name is not there",
                why="a new box, asked for too early, stays unknown for as long",
                mend=f"have it serve an SOA whose last number (minimum) is {NEGATIVE_S} s at most, as HQ's is",
            )


def _edns(report: Report) -> Iterator[Finding]:
    soa, newer = report.soa, report.newer_edns
    if isinstance(soa, dns.message.Message) and soa.edns != 0:
        yield warning(
            f"zone.edns:{report.name}",
            f"{report.name} does not know EDNS",
            why="larger answers need TCP then, a round trip more for every resolver",
            mend="use a name server with EDNS (RFC 6891), and look for middle boxes that take it out",
        )
    elif isinstance(soa, dns.message.Message) and soa.payload > _EDNS_BYTES:
        yield warning(
            f"zone.edns:{report.name}",
            f"{report.name} offers UDP messages of {soa.payload} octets",
            why="what is larger than a path's packets comes in fragments, which get lost and can be forged",
            mend=f"set its EDNS buffer size to {_EDNS_BYTES}",
        )
    elif isinstance(newer, NoAnswer) or newer.rcode() != dns.rcode.BADVERS:
        got = str(newer) if isinstance(newer, NoAnswer) else dns.rcode.to_text(newer.rcode())
        yield warning(
            f"zone.edns:{report.name}",
            f"{report.name} does not answer BADVERS to a newer EDNS, but: {got}",
            why="a future resolver would take it for broken (RFC 6891 6.1.3)",
            mend="use a name server that does, and look for middle boxes",
        )


def _open(report: Report) -> Iterator[Finding]:
    said = report.any_type
    # As it came: to write it again could take more octets than a message has.
    any_bytes = len(said.wire or b"") if isinstance(said, dns.message.Message) else 0
    if any_bytes > _UDP_BYTES:
        yield warning(
            f"zone.any:{report.name}",
            f"{report.name} answers ANY with {any_bytes} octets over UDP",
            why="with a forged sender that floods somebody else",
            mend="have it answer ANY with as little as it can (RFC 8482)",
        )
    transfer = report.transfer
    if isinstance(transfer, dns.message.Message) and transfer.answer:
        yield warning(
            f"zone.transfer:{report.name}",
            f"{report.name} lets this machine transfer the zone without a key",
            why="if it lets everybody, everybody can list all boxes and their addresses",
            mend="have it transfer to its own secondaries only, with TSIG keys",
        )


def judge_together(
    reports: Sequence[Report], *, name_servers: Collection[str], source: str, serials: Sequence[int], catch_up: str
) -> Iterator[Finding]:
    """Compare the servers with each other and with the configuration.

    Args:
        reports: of servers that answered for the zone.
        name_servers: those that are meant; none: nobody knows.
        source: who says so.
        serials: of the same servers, once those that were behind have had time.
        catch_up: what to look at when one stays behind.
    """
    for report in reports:
        found = {plain(rdata.target) for rdata in _rrset(report.name_servers, dns.rdatatype.NS)}
        if found and name_servers and found != set(name_servers):
            yield failed(
                f"zone.name_servers:{report.name}",
                f"{report.name} says that the zone's name servers are {', '.join(sorted(found))}, but {source}"
                f" has {', '.join(sorted(name_servers))}",
                why="resolvers believe the zone's own servers more than the parent, and would ask the wrong ones",
                mend="make all lists of name servers the same: the zone's own, the parent zone's and zone.name_servers"
                if source == "zone.name_servers"
                else "make both lists the same",
            )
    latest = newest_of(serials)
    behind = [(report, serial) for report, serial in zip(reports, serials, strict=True) if is_ahead(latest, serial)]
    for report, serial in behind:
        yield warning(
            f"zone.serial:{report.name}",
            f"{report.name} has the serial {serial} of {report.origin}, another server has {latest}",
            why="it answers with an older zone: a CA that asks it may not see a challenge; the others are not affected",
            mend=catch_up,
        )
    if reports and not behind and len(reports) > 1:
        yield ok("zone.serial", f"all {len(reports)} servers of {reports[0].origin} have the same serial, {latest}")


def newest_of(serials: Sequence[int]) -> int:
    """The newest of them (RFC 1982 3.2); 0 when there is none."""
    return reduce(newest, serials) if serials else 0


def _rrset(said: Said, kind: dns.rdatatype.RdataType) -> list[Any]:
    if isinstance(said, NoAnswer):
        return []
    return [rdata for rrset in said.answer if rrset.rdtype == kind for rdata in rrset]
