"""One answer as three tools read it: dnspython from octets, dig and kdig as they print it.

Knows their formats. Two tools that read the same answer give equal `Reply` values but for `size_bytes` and `id`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

import dns.edns
import dns.flags
import dns.message
import dns.opcode
import dns.rcode
import dns.rdata
import dns.rdataclass
import dns.rdatatype


class Record(NamedTuple):
    """One record; `name` as it was spelled, `data` in dnspython's presentation."""

    name: str
    ttl_s: int
    rtype: str
    data: str


class EdnsSeen(NamedTuple):
    version: int
    udp_bytes: int
    dnssec_ok: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """`question` is (name, class, type), None when the answer has none."""

    ident: int
    opcode: str
    rcode: str
    flags: frozenset[str]
    question: tuple[str, str, str] | None
    answer: tuple[Record, ...]
    authority: tuple[Record, ...]
    additional: tuple[Record, ...]
    edns: EdnsSeen | None
    size_bytes: int
    cookie: bytes = b""

    def data(self, rtype: str) -> set[str]:
        """What the answer section says of one type."""
        return {record.data for record in self.answer if record.rtype == rtype}

    @property
    def soa(self) -> Record | None:
        """The SOA in the authority section."""
        found = [record for record in self.authority if record.rtype == "SOA"]
        assert len(found) < 2
        return found[0] if found else None


def of_message(message: dns.message.Message, size_bytes: int) -> Reply:
    """Read what dnspython parsed."""
    edns = None
    if message.edns >= 0:
        edns = EdnsSeen(message.edns, message.payload, bool(message.ednsflags & dns.flags.DO))
    asked = message.question[0] if message.question else None
    return Reply(
        ident=message.id,
        opcode=dns.opcode.to_text(message.opcode()),
        rcode=dns.rcode.to_text(message.rcode()),
        flags=frozenset(dns.flags.to_text(message.flags).lower().split()),
        question=(
            None if asked is None else (str(asked.name), dns.rdataclass.to_text(asked.rdclass), _type(asked.rdtype))
        ),
        answer=_records(message.answer),
        authority=_records(message.authority),
        additional=_records(message.additional),
        edns=edns,
        size_bytes=size_bytes,
        cookie=b"".join(option.to_wire() for option in message.options if option.otype == dns.edns.OptionType.COOKIE),
    )


def _type(rdtype: dns.rdatatype.RdataType) -> str:
    return dns.rdatatype.to_text(rdtype)


def _records(section: list[dns.rrset.RRset]) -> tuple[Record, ...]:
    return tuple(
        sorted(
            Record(str(rrset.name), rrset.ttl, _type(rrset.rdtype), str(each)) for rrset in section for each in rrset
        )
    )


_SECTION = re.compile(r";; (QUESTION|ANSWER|AUTHORITY|ADDITIONAL|OPT PSEUDO|EDNS PSEUDO|TSIG PSEUDO)\s?SECTION:")
_STATUS = re.compile(r"->>HEADER<<- opcode: (\S+?)[;,] status: (\S+?)[;,] id: (\d+)")
_FLAGS = re.compile(r";; [Ff]lags: ?([a-z ]*);")
_DIG_EDNS = re.compile(r"; EDNS: version: (\d+), flags:([a-z ]*); (?:MBZ: \S+ )?(?:, )?udp: (\d+)")
_KDIG_EDNS = re.compile(r";; Version: (\d+); flags: ?([a-z ]*); UDP size: (\d+) B; ext-rcode: (\S+)")
_COOKIE = re.compile(r"COOKIE: ([0-9A-Fa-f]+)")
_SIZE = re.compile(r"(?:MSG SIZE  rcvd: |;; Received )(\d+)")
_BROKEN = ("malformed", "bad packet", "mismatch", "Question section", "trailing", "extra bytes", "truncated, retrying")


def of_text(text: str) -> Reply:
    """Read what dig or kdig printed about one answer, with sections and comments.

    Raises:
        AssertionError: there is no answer, or the tool complains about its form.
    """
    head = _STATUS.search(text)
    assert head, f"no answer:\n{text}"
    for words in _BROKEN:
        assert words not in text, text
    size, flags = _SIZE.search(text), _FLAGS.search(text)
    assert size is not None, text
    assert flags is not None, text
    sections: dict[str, list[str]] = {}
    section: list[str] = []
    for line in text.splitlines():
        found = _SECTION.match(line)
        if found:
            section = sections.setdefault(found[1], [])
        elif line.strip():
            section.append(line)
    edns, rcode = _edns(text, head[2])
    cookie = _COOKIE.search(text)
    return Reply(
        ident=int(head[3]),
        opcode=head[1],
        rcode=rcode,
        flags=frozenset(flags[1].split()),
        question=_question(sections.get("QUESTION", [])),
        answer=_read(sections.get("ANSWER", [])),
        authority=_read(sections.get("AUTHORITY", [])),
        additional=_read(sections.get("ADDITIONAL", [])),
        edns=edns,
        size_bytes=int(size[1]),
        cookie=bytes.fromhex(cookie[1]) if cookie else b"",
    )


def _edns(text: str, rcode: str) -> tuple[EdnsSeen | None, str]:
    found = _DIG_EDNS.search(text) or _KDIG_EDNS.search(text)
    if found is None:
        return None, rcode
    if found.re is _KDIG_EDNS and found[4] == "BADVERS":
        rcode = "BADVERS"
    return EdnsSeen(int(found[1]), int(found[3]), "do" in found[2].split()), rcode


def _question(lines: list[str]) -> tuple[str, str, str] | None:
    asked = [line.lstrip("; ").split() for line in lines if line.startswith(";") and not line.startswith(";; ->")]
    asked = [words for words in asked if len(words) == 3] or [
        line[3:].split() for line in lines if line.startswith(";; ") and len(line[3:].split()) == 3
    ]
    if not asked:
        return None
    name, rdclass, rdtype = asked[0]
    return name, rdclass, rdtype


def _read(lines: list[str]) -> tuple[Record, ...]:
    records = []
    for line in lines:
        if line.startswith(";"):
            continue
        name, ttl, rdclass, rtype, data = line.split(None, 4)
        read = dns.rdata.from_text(rdclass, rtype, data)
        records.append(Record(name, int(ttl), rtype, str(read)))
    return tuple(sorted(records))
