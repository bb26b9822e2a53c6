"""The zone that all name servers are given, and the sets of questions they are asked. Pure.

The same names for ours and for a zone file. Does not know any server.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

ORIGIN = "boxes.bench.example"
NETWORK4 = IPv4Network("10.0.0.0/8")
NETWORK6 = IPv6Network("fd00::/8")
CHALLENGE = "x" * 43
CAA_VALUE = "letsencrypt.org"
SETS = ("stored", "computed", "mixed")
NXDOMAIN_SHARE = 0.05
"""Of the mixed load."""
_MIXED = {"A": 40, "AAAA": 25, "HTTPS": 20, "CAA": 5, "TXT": 5, "unknown": 5}
_QUESTIONS = 20_000
_SEED = 20261123


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A name with its addresses and one challenge value beside it."""

    label: str
    address4: IPv4Address
    address6: IPv6Address


def boxes(count: int) -> Iterator[Box]:
    for number in range(count):
        yield Box(label=label(number), address4=NETWORK4[number + 1], address6=NETWORK6[number + 1])


def label(number: int) -> str:
    return f"b{number:015d}"


def zone_file(count: int) -> str:
    """Everything that the boxes of the mixed load have, as a zone file; computed names cannot be in one."""
    apex = (
        f"$ORIGIN {ORIGIN}.\n$TTL 60\n@ SOA ns1 hostmaster 1 3600 600 1209600 60\n@ NS ns1\nns1 A 127.0.0.1\n"
        f'@ CAA 0 issue "{CAA_VALUE}"\n'
    )
    return apex + "".join(_lines(box) for box in boxes(count))


def _lines(box: Box) -> str:
    addresses = f"{box.label} A {box.address4}\n{box.label} AAAA {box.address6}\n"
    return f'{addresses}_acme-challenge.{box.label} TXT "{CHALLENGE}"\n'


def questions(kind: str, count: int) -> Sequence[str]:
    """The lines of a dnsperf data file for zones of `count` boxes, in an order that is always the same."""
    dice = random.Random(_SEED)
    if kind == "stored":
        numbers = list(range(count))
        dice.shuffle(numbers)
        return [f"{label(number)}.{ORIGIN} A" for number in numbers]
    if kind == "computed":
        return [_computed(dice, count) for _ in range(min(count, _QUESTIONS))]
    return [_mixed(dice, asked, count) for asked in _spread(dice, min(_QUESTIONS, 20 * count))]


def _computed(dice: random.Random, count: int) -> str:
    address = str(NETWORK4[dice.randrange(NETWORK4.num_addresses)]).replace(".", "-")
    return f"{address}.{label(dice.randrange(count))}.{ORIGIN} A"


def _spread(dice: random.Random, total: int) -> list[str]:
    each = total // 100
    kinds = [kind for kind, percent in _MIXED.items() for _ in range(percent * each)]
    dice.shuffle(kinds)
    return kinds


def _mixed(dice: random.Random, asked: str, count: int) -> str:
    if asked == "unknown":
        return f"u{dice.randrange(10**9):015d}.{ORIGIN} A"
    name = f"{label(dice.randrange(count))}.{ORIGIN}"
    return f"_acme-challenge.{name} TXT" if asked == "TXT" else f"{name} {asked}"
