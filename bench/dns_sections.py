"""The sections about DNS: what each means, with its targets. How they are measured is in modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from bench import dns
from bench.dns import Compared
from bench.dnsperf import OUTSTANDING, SOCKETS, DnsRound, p99
from bench.figures import Figure, Section, Verdict, median
from bench.name_servers import TITLES

LEAST_OF_NSD = 0.75
MOST_CPU_OF_NSD = 1.4
LEAST_OF_UNCACHED = 3.0
_SETS = {
    "stored": "A records of names that are stored",
    "computed": "addresses that are in the names",
    "mixed": "a mixed load",
}
_WHAT = {
    "stored": "A records with EDNS.",
    "computed": "A records of names that say their own address (10-1-2-3 below a box's name), which no zone file can"
    " have: Knot computes them with mod-synthrecord, NSD and PowerDNS have nothing like it without a script.",
    "mixed": "40 % A, 25 % AAAA, 20 % HTTPS, 5 % CAA (neither exists there), 5 % _acme-challenge TXT, 5 % names that do"
    " not exist.",
}


class Size(Protocol):
    @property
    def dns_names(self) -> int: ...

    @property
    def dns_rounds(self) -> int: ...

    @property
    def dns_seconds(self) -> int: ...


def dns_section(folder: Path, size: Size) -> list[Section]:
    """Our name server beside NSD, Knot and PowerDNS."""
    found = dns.measure(folder, names=size.dns_names, rounds=size.dns_rounds, seconds=size.dns_seconds)
    return [_compared(kind, each, size) for kind, each in found.items()]


def _compared(kind: str, found: Compared, size: Size) -> Section:
    figures = (*_ratios(found), *(line for name in found.rounds for line in _lines(name, found)))
    return Section(
        name=f"dns-{kind}",
        title=f"DNS: {size.dns_names} names, {_SETS[kind]}",
        how=f"{_WHAT[kind]} {size.dns_rounds} rounds of {size.dns_seconds} s in alternating order, median;"
        f" dnsperf asks from {SOCKETS} sockets, {OUTSTANDING} outstanding; the servers on one core, one working process"
        " each, dnsperf on the other. p99 is of another second at"
        f" {dns.STEADY_PER_S} queries/s, for which dnsperf lists every answer: at full speed the time of an answer only"
        " says how many are outstanding.",
        figures=figures,
        details={
            "rounds": {name: [asdict(each) for each in rounds] for name, rounds in found.rounds.items()},
            "steady_p99_ms": {name: p99(times) for name, times in found.steady_ms.items()},
        },
        profile=_profile(figures, found),
    )


def _ratios(found: Compared) -> list[Figure]:
    ours, rounds = found.rounds["ours"], found.rounds
    figures = []
    for name, limit in (("nsd", LEAST_OF_NSD), ("powerdns-uncached", LEAST_OF_UNCACHED), ("knot", None)):
        if name in rounds:
            value = _ratio(ours, rounds[name], lambda each: each.per_s)
            title = f"queries per second, ours to {TITLES[name]}"
            figures.append(Figure(name=title, value=value, unit="x", limit=limit, at_least=True))
    for name, limit in (("nsd", MOST_CPU_OF_NSD), ("knot", None)):
        if name in rounds:
            value = _ratio(ours, rounds[name], lambda each: each.cpu_us)
            figures.append(Figure(name=f"CPU per query, ours to {TITLES[name]}", value=value, unit="x", limit=limit))
    return figures


def _ratio(ours: list[DnsRound], theirs: list[DnsRound], of: Callable[[DnsRound], float]) -> float:
    return median([of(one) / of(other) for one, other in zip(ours, theirs, strict=True)])


def _lines(name: str, found: Compared) -> list[Figure]:
    title, rounds = TITLES[name], found.rounds[name]
    return [
        Figure(name=title, value=median([each.per_s for each in rounds]), unit="queries/s"),
        Figure(
            name=f"{title}: CPU per query, in the program", value=median([each.user_us for each in rounds]), unit="us"
        ),
        Figure(
            name=f"{title}: CPU per query, in the kernel", value=median([each.system_us for each in rounds]), unit="us"
        ),
        Figure(name=f"{title}: p99", value=p99(found.steady_ms[name]), unit="ms"),
        Figure(name=f"{title}: without an answer", value=sum(each.lost for each in rounds), unit=""),
    ]


def _profile(figures: tuple[Figure, ...], found: Compared) -> tuple[str, ...]:
    if all(figure.verdict is not Verdict.MISSED for figure in figures):
        return ()
    return tuple(
        f"{TITLES[name]:>36}: {median([each.user_us for each in rounds]):5.2f} us a query in the program,"
        f" {median([each.system_us for each in rounds]):5.2f} us in the kernel (receive and send)"
        for name, rounds in found.rounds.items()
    )


SECTIONS: Mapping[str, Callable[[Path, Size], list[Section]]] = {"dns": dns_section}
