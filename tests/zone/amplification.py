"""Writes docs/amplification.md: `python -m tests.zone.amplification`. Knows one question of each kind of answer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple

import dns.message

from otscert.zones.wire import EDNS_UDP_BYTES
from tests.zone.served import ORIGIN, example_zone

PAGE = Path(__file__).resolve().parents[2] / "docs" / "amplification.md"
_HEAD = """\
# How much larger answers are than questions

Octets of DNS over UDP, of the zone of the tests (`tests/zone/served.py`), without a cookie. What is larger than three
times its question costs the asking network ten of the answers that `dns.rate_limit_per_s` gives it in a second; beyond
the limit it gets its question back with TC, which is no larger than what was sent. A client that shows a cookie (RFC
7873) or comes by TCP has no forged address and is not limited. Written by `python -m tests.zone.amplification`;
`tests/zone/test_amplification.py` compares it and shows the limit at work.

| answer | EDNS | question | answer octets | factor | what bounds it |
|---|---|---|---|---|---|
"""


class Kind(NamedTuple):
    """One kind of answer, and a question that gets it; names are relative to the origin."""

    says: str
    name: str
    rtype: str


KINDS = (
    Kind("address of a box", "four", "A"),
    Kind("two addresses of a box", "both", "A"),
    Kind("computed address", "192-168-7-9.both", "A"),
    Kind("NODATA", "four", "AAAA"),
    Kind("NXDOMAIN", "unknown", "A"),
    Kind("placeholder", "_acme-challenge.both", "TXT"),
    Kind("two challenges", "_acme-challenge.two", "TXT"),
    Kind("twelve challenges", "_acme-challenge.large", "TXT"),
    Kind("forty challenges", "_acme-challenge.huge", "TXT"),
    Kind("SOA", "", "SOA"),
    Kind("name servers and their addresses", "", "NS"),
    Kind("CAA of two issuers", "", "CAA"),
    Kind("TXT at the top", "", "TXT"),
    Kind("MX", "", "MX"),
    Kind("public suffix", "_psl", "TXT"),
    Kind("ANY", "", "ANY"),
    Kind("outside the zone", "example.org.", "A"),
)


def query(kind: Kind, *, edns: bool) -> bytes:
    """The smallest question of this kind."""
    name = kind.name if kind.name.endswith(".") else f"{kind.name}.{ORIGIN}".lstrip(".")
    return dns.message.make_query(name, kind.rtype, use_edns=0 if edns else -1, payload=4096, id=1, flags=0).to_wire()


def page() -> str:
    """The page as the server answers now."""
    zone = example_zone()
    rows = []
    for kind in KINDS:
        for edns in (False, True):
            asked = query(kind, edns=edns)
            answer = zone.answer(asked, size_limit=EDNS_UDP_BYTES)
            if answer is None:
                raise AssertionError("a question of the page is met with silence")
            factor = len(answer) / len(asked)
            bound = "rate limit, ten answers each" if factor > 3 else "at most three times; rate limit"
            what = kind.says + (" (TC)" if answer[2] & 2 else "")
            spoken = "yes" if edns else "no"
            rows.append(f"| {what} | {spoken} | {len(asked)} | {len(answer)} | {factor:.1f} | {bound} |\n")
    return _HEAD + "".join(rows)


def main() -> int:
    PAGE.write_text(page(), encoding="ascii")
    return 0


if __name__ == "__main__":
    sys.exit(main())
