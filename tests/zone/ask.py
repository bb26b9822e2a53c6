"""Three ways to put one question to a name server: dnspython, dig and kdig. Knows their options, judges nothing."""

from __future__ import annotations

import atexit
import os
import re
import select
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

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
    line = [f"@{HOST}", f"-p{port}"]
    if question.edns is None:
        line.append("+noedns")
    else:
        line += [f"+edns={question.edns}", f"+bufsize={question.udp_bytes}"]
    line += [*_options(question), f"-c{question.rdclass}", f"-t{question.rtype}", f"-q{question.name}"]
    return of_text(_dig(tcp=question.tcp).ask(line))


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
    line += [*_options(question), "-c", question.rdclass, "-t", question.rtype, "-q", question.name]
    return of_text(_run("kdig", line))


TOOLS: dict[str, Callable[[Question, int], Reply]] = {"dnspython": by_dnspython, "dig": by_dig, "kdig": by_kdig}


def _options(question: Question) -> list[str]:
    line = ["+dnssec"] if question.dnssec_ok else []
    line += ["+recurse" if question.rd else "+norecurse", "+tcp" if question.tcp else "+notcp"]
    if question.option is not None:
        line.append(f"+ednsopt={question.option[0]}:{question.option[1].hex()}")
    return line


class _Dig:
    """One dig that reads a line for each question (`-f -`): it starts in 15 ms and asks in less than one.

    From a line it does not take `+tcp`, so there is one for each transport.
    """

    def __init__(self, *, tcp: bool) -> None:
        part = require_part("dig")
        self._process = subprocess.Popen(
            [str(part.path), *_ALWAYS, "+tcp" if tcp else "+notcp", "-f", "-"],
            env={**os.environ, **part.env},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def ask(self, words: Sequence[str]) -> str:
        """Put one question; what dig prints up to the size of the answer, which is its last line."""
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        assert len(words) <= _MOST_WORDS
        assert not any(re.search(r"\s", word) for word in words)
        stdin.write(" ".join(words).encode() + b"\n")
        stdin.flush()
        text = b""
        while not _DIG_ENDED.search(text):
            readable, _, _ = select.select([stdout], [], [], 3 * _WITHIN_S)
            more = os.read(stdout.fileno(), 65_536) if readable else b""
            if not more:
                self.close()
                _dig.cache_clear()
            assert more, f"dig says no more:\n{text.decode()}"
            text += more
        return text.decode()

    def close(self) -> None:
        """End it, also where it waits for an answer; a second time does nothing."""
        self._process.kill()
        self._process.wait()


# Dig reads so many words of a line and says nothing of the others.
_MOST_WORDS = 13
_ALWAYS = (
    *("+tries=1", f"+timeout={_WITHIN_S}", "+ignore", "+noednsnegotiation"),
    *("+noadflag", "+nocookie", "+noidnin", "+noidnout"),
)
_DIG_ENDED = re.compile(rb"MSG SIZE  rcvd: \d+\n\n")


@cache
def _dig(*, tcp: bool) -> _Dig:
    dig = _Dig(tcp=tcp)
    atexit.register(dig.close)
    return dig


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
