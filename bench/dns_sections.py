"""The sections about DNS: what each means, with its targets. How they are measured is in modules of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Protocol

from bench import dns, dns_beside, fresh
from bench.dns import Compared
from bench.dnsperf import OUTSTANDING, SOCKETS, DnsRound, p99
from bench.figures import Figure, Section, Verdict, median, percentile
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

    @property
    def dns_rate(self) -> int | None: ...

    @property
    def api_seconds(self) -> int: ...

    @property
    def challenges(self) -> int: ...


def dns_section(folder: Path, size: Size) -> list[Section]:
    """Our name server beside NSD, Knot and PowerDNS."""
    found = dns.measure(
        folder, names=size.dns_names, rounds=size.dns_rounds, seconds=size.dns_seconds, rate=size.dns_rate
    )
    return [_compared(kind, each, size) for kind, each in found.items()]


def _compared(kind: str, found: Compared, size: Size) -> Section:
    figures = (*_ratios(found), *(line for name in found.rounds for line in _lines(name, found)))
    return Section(
        name=f"dns-{kind}",
        title=f"DNS: {size.dns_names} names, {_SETS[kind]}",
        how=f"{_WHAT[kind]} {size.dns_rounds} rounds of {size.dns_seconds} s in alternating order, median;"
        f" dnsperf asks from {SOCKETS} sockets, {OUTSTANDING} outstanding; the servers on one core, one working process"
        " each, dnsperf on the other. p99 is of once through the questions at"
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


def slow_section(folder: Path, size: Size) -> list[Section]:
    """A normal client beside many slow ones."""
    found = dns_beside.slow_clients(folder, names=size.dns_names, seconds=size.dns_seconds, limit=size.dns_rate)
    figures = []
    for name, each in found.items():
        figures += [
            Figure(name=name, value=each.round.per_s, unit="queries/s"),
            Figure(name=f"{name}: p99", value=p99(each.steady_ms), unit="ms"),
            Figure(name=f"{name}: without an answer", value=each.round.lost, unit="", limit=0),
        ]
    return [
        Section(
            name="dns-slow",
            title=f"DNS beside {dns_beside.SLOW} TCP clients that send one byte a second",
            how="dnsperf over UDP and over TCP, without the slow clients (alone) and with them (beside), which come"
            f" again when they are dropped and share dnsperf's core. p99 is at {dns.STEADY_PER_S} queries/s over UDP,"
            f" at {dns_beside.TCP_PER_S} over TCP.",
            figures=tuple(figures),
            details={
                name: {"round": asdict(each.round), "steady_p99_ms": p99(each.steady_ms)}
                for name, each in found.items()
            },
        )
    ]


def shared_section(folder: Path, size: Size) -> list[Section]:
    """Two processes on one port."""
    rounds = max(1, size.dns_rounds // 2)
    found = dns_beside.shared_port(
        folder, names=size.dns_names, rounds=rounds, seconds=size.dns_seconds, rate=size.dns_rate
    )
    one, two = found[1], found[2]
    return [
        Section(
            name="dns-shared",
            title="DNS: two processes on one port",
            how="SO_REUSEPORT (`dns.share_port`). Servers and dnsperf share the two cores, and dnsperf needs one for"
            " itself: queries per second cannot double here. That both work, and that a query costs no more CPU, is"
            " what two cores can show.",
            figures=(
                Figure(name="one process", value=median([each.per_s for each in one]), unit="queries/s"),
                Figure(name="two processes", value=median([each.per_s for each in two]), unit="queries/s"),
                Figure(name="two to one", value=_ratio(two, one, lambda each: each.per_s), unit="x"),
                Figure(name="cores used by one", value=median([each.core_share for each in one]), unit=""),
                Figure(name="cores used by two", value=median([each.core_share for each in two]), unit=""),
                Figure(name="CPU per query, two to one", value=_ratio(two, one, lambda each: each.cpu_us), unit="x"),
            ),
            details={str(count): [asdict(each) for each in rounds] for count, rounds in found.items()},
        )
    ]


def api_section(folder: Path, size: Size) -> list[Section]:
    """HQ's device API while the same process answers a flood."""
    found = dns_beside.device_api(folder, seconds=size.api_seconds)
    idle, flooded = found["idle"], found["flooded"]
    figures = (
        Figure(name="a hello, idle, p50", value=median(idle), unit="ms"),
        Figure(name="a hello, idle, p99", value=p99(idle), unit="ms"),
        Figure(name="a hello during the flood, p50", value=median(flooded), unit="ms"),
        Figure(name="a hello during the flood, p99", value=p99(flooded), unit="ms"),
        Figure(name="p99 during the flood to idle", value=p99(flooded) / p99(idle), unit="x", limit=2),
        Figure(name="DNS queries answered meanwhile", value=found["flood_per_s"][0], unit="queries/s"),
    )
    missed = any(figure.verdict is Verdict.MISSED for figure in figures)
    return [
        Section(
            name="dns-api",
            title="HQ's device API while its process answers a flood of DNS",
            how=f"`otscert serve` with all roles and SQLite on one core; {dns_beside.CALLS_PER_S} boxes a second say"
            " hello over TLS (each a signed message, a durable write and a signed answer), timed from when it was due;"
            f" dnsperf asks {dns_beside.FLOOD_PER_S} times a second, about a third of what the core can answer.",
            figures=figures,
            details=found,
            profile=_API_PROFILE if missed else (),
        )
    ]


_API_PROFILE = (
    "One event loop does both: a hello waits for up to 64 datagrams at each of its turns, and shares the core.",
    "Roles of their own (PostgreSQL, otscert serve --role dns and --role api,worker) part them.",
)


def fresh_section(folder: Path, size: Size) -> list[Section]:
    """A challenge in every process."""
    found = fresh.measure(folder, challenges=size.challenges)
    return [
        Section(
            name="dns-fresh",
            title=f"A challenge in {fresh.PROCESSES} DNS processes on one PostgreSQL",
            how=f"{size.challenges} challenges one after the other, from the begin of the write (which waits for the"
            " disk) until the last process answers it; all on the same two cores, each process asked every few ms.",
            figures=(
                Figure(name="every process answers, p50", value=median(found), unit="ms"),
                Figure(name="every process answers, p99", value=percentile(found, 99), unit="ms", limit=100),
            ),
            details={"ms": found},
        )
    ]


SECTIONS: Mapping[str, Callable[[Path, Size], list[Section]]] = {
    "dns": dns_section,
    "dns-slow": slow_section,
    "dns-shared": shared_section,
    "dns-api": api_section,
    "dns-fresh": fresh_section,
}
