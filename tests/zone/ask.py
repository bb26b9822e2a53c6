"""Three ways to put one question to a name server: dnspython, dig and kdig. Knows their options, judges nothing."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass

import dns.edns
import dns.message
import dns.query
import dns.rdataclass

from tests.harness.parts import require_part
from tests.zone.reply import Reply, of_message, of_text
from tests.zone.served import HOST

_WITHIN_S = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked, and how. `edns` None: without OPT; `option` is an EDNS option as (code, data)."""

    name: str
    rtype: str = "A"
    rdclass: str = "IN"
    rd: bool = False
    edns: int | None = None
    udp_bytes: int = 1232
    dnssec_ok: bool = False
    option: tuple[int, bytes] | None = None
    tcp: bool = False


def by_dnspython(question: Question, port: int) -> Reply:
    options: list[dns.edns.Option] = []
    if question.option is not None:
        code, data = question.option
        options.append(dns.edns.GenericOption(dns.edns.OptionType.make(code), data))
    query = dns.message.make_query(
        question.name,
        question.rtype,
        question.rdclass,
        use_edns=-1 if question.edns is None else question.edns,
        payload=question.udp_bytes,
        ednsflags=0x8000 if question.dnssec_ok else 0,
        options=options if question.edns is not None else None,
        flags=0x0100 if question.rd else 0,
    )
    send = dns.query.tcp if question.tcp else dns.query.udp
    answer = send(query, HOST, port=port, timeout=_WITHIN_S)
    assert answer.wire is not None
    return of_message(answer, len(answer.wire))


def by_dig(question: Question, port: int) -> Reply:
    line = [f"@{HOST}", "-p", str(port), "+tries=1", f"+timeout={_WITHIN_S}", "+noadflag", "+nocookie", "+ignore"]
    line += ["+noidnin", "+noidnout"]
    if question.edns is None:
        line.append("+noedns")
    else:
        line += [f"+edns={question.edns}", "+noednsnegotiation", f"+bufsize={question.udp_bytes}"]
    return of_text(_run("dig", [*line, *_common(question)]))


def by_kdig(question: Question, port: int) -> Reply:
    line = [
        f"@{HOST}",
        "-p",
        str(port),
        "+retry=0",
        f"+timeout={_WITHIN_S}",
        "+noadflag",
        "+ignore",
        "+noidn",
        "+class",
    ]
    if question.edns is None:
        line.append("+noedns")
    else:
        line += [f"+edns={question.edns}", f"+bufsize={question.udp_bytes}"]
    return of_text(_run("kdig", [*line, *_common(question)]))


TOOLS: dict[str, Callable[[Question, int], Reply]] = {"dnspython": by_dnspython, "dig": by_dig, "kdig": by_kdig}


def _common(question: Question) -> list[str]:
    line = ["+dnssec"] if question.dnssec_ok else []
    line += ["+recurse" if question.rd else "+norecurse", "+tcp" if question.tcp else "+notcp"]
    if question.option is not None:
        line.append(f"+ednsopt={question.option[0]}:{question.option[1].hex()}")
    return [*line, "-c", question.rdclass, "-t", question.rtype, "-q", question.name]


def _run(tool: str, line: list[str]) -> str:
    part = require_part(tool)
    ended = subprocess.run(
        [str(part.path), *line],
        env={**os.environ, **part.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=3 * _WITHIN_S,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout
