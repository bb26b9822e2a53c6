"""Does a name server really serve what we put there? Asked of each server itself, before a CA is told.

Knows the wire of a TXT question. Does not know the zone, and asks no resolver: their negative caches are what broke
others. It never sleeps "for propagation": it asks again, in growing intervals, until all is there or time is over.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from functools import partial

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype

from otscert.zones import quick_txt
from otscert.zones.errors import CheckError

ServerAddress = tuple[str, int]

_FIRST_INTERVAL_S = 0.02
_INTERVAL_GROWTH = 1.5
_LONGEST_INTERVAL_S = 1.0
_QUERY_TIMEOUT_S = 2.0
# The last question is asked at the deadline itself and still deserves an answer.
_SHORTEST_TIMEOUT_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCheck:
    """What one name server answered last, in a sentence."""

    server: ServerAddress
    served: bool
    reason: str
    asked: int
    elapsed_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckResult:
    """Whether every name server serves all values, with each one's reason."""

    servers: tuple[ServerCheck, ...]

    @property
    def served(self) -> bool:
        """True when there is a server and all of them serve."""
        return bool(self.servers) and all(check.served for check in self.servers)

    @property
    def reason(self) -> str:
        """One line for a log or an operator."""
        return "; ".join(check.reason for check in self.servers) or "there is no name server to ask"


async def txt_values(server: ServerAddress, name: str, timeout_s: float) -> set[str]:
    """The TXT values at `name` by this authoritative server; none when it says that there are none.

    Asks over UDP, and over TCP when the answer is truncated.

    Raises:
        CheckError: no answer in time, an answer that is not authoritative, or a refusal.
    """
    host, port = server
    try:
        async with asyncio.timeout(timeout_s):
            plain = await quick_txt.ask(server, name)
        if plain is not None:
            return plain
        query = dns.message.make_query(name, dns.rdatatype.TXT, use_edns=0, payload=1232, flags=0)
        async with asyncio.timeout(timeout_s):
            response, _ = await dns.asyncquery.udp_with_fallback(query, host, timeout=timeout_s, port=port)
    except (TimeoutError, dns.exception.Timeout):
        raise CheckError(f"{_shown(server)} did not answer within {timeout_s:.1f} s") from None
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        raise CheckError(f"{_shown(server)} cannot be asked: {type(error).__name__} {error}") from error
    return _values(server, query, response)


async def wait_until_served(
    servers: Sequence[ServerAddress], name: str, values: Collection[str], deadline_s: float
) -> CheckResult:
    """Ask every server until each one serves all `values`, or `deadline_s` seconds have passed."""
    ask = partial(_ask_once, name=name, wanted=frozenset(values))
    checks = await asyncio.gather(*(_wait_for(server, ask, deadline_s) for server in servers))
    return CheckResult(servers=tuple(checks))


async def wait_until_alias(servers: Sequence[ServerAddress], name: str, target: str, deadline_s: float) -> CheckResult:
    """Ask every server until each one says that `name` is an alias (CNAME) of `target`, or the time is over."""
    ask = partial(_ask_alias, name=name, target=target)
    checks = await asyncio.gather(*(_wait_for(server, ask, deadline_s) for server in servers))
    return CheckResult(servers=tuple(checks))


Ask = Callable[..., Awaitable[tuple[bool, str]]]
"""Asks a server once, for so many seconds at most; returns whether all is there, and its answer in a sentence."""


async def _wait_for(server: ServerAddress, ask: Ask, deadline_s: float) -> ServerCheck:
    loop = asyncio.get_running_loop()
    begin = loop.time()
    interval_s = _FIRST_INTERVAL_S
    asked = 0
    while True:
        asked += 1
        left_s = begin + deadline_s - loop.time()
        timeout_s = max(_SHORTEST_TIMEOUT_S, min(_QUERY_TIMEOUT_S, left_s))
        served, reason = await ask(server, timeout_s)
        elapsed_s = loop.time() - begin
        if served or elapsed_s >= deadline_s:
            return ServerCheck(server=server, served=served, reason=reason, asked=asked, elapsed_s=elapsed_s)
        await asyncio.sleep(min(interval_s, deadline_s - elapsed_s))
        interval_s = min(interval_s * _INTERVAL_GROWTH, _LONGEST_INTERVAL_S)


async def _ask_alias(server: ServerAddress, timeout_s: float, *, name: str, target: str) -> tuple[bool, str]:
    host, port = server
    query = dns.message.make_query(name, dns.rdatatype.CNAME, use_edns=0, payload=1232, flags=0)
    try:
        async with asyncio.timeout(timeout_s):
            response, _ = await dns.asyncquery.udp_with_fallback(query, host, timeout=timeout_s, port=port)
        _check(server, query, response)
    except (TimeoutError, dns.exception.Timeout):
        return False, f"{_shown(server)} did not answer within {timeout_s:.1f} s"
    except CheckError as error:
        return False, str(error)
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        return False, f"{_shown(server)} cannot be asked: {type(error).__name__} {error}"
    rrset = response.get_rrset(response.answer, query.question[0].name, dns.rdataclass.IN, dns.rdatatype.CNAME)
    found = [rdata.target for rdata in rrset or ()]
    if found == [dns.name.from_text(target)]:
        return True, f"{_shown(server)} has {name} as an alias of {target}"
    other = f"it is one of {found[0].to_text(omit_final_dot=True)}" if found else "there is no CNAME"
    return False, f"{_shown(server)} does not have {name} as an alias of {target}: {other}"


async def _ask_once(server: ServerAddress, timeout_s: float, *, name: str, wanted: frozenset[str]) -> tuple[bool, str]:
    try:
        found = await txt_values(server, name, timeout_s)
    except CheckError as error:
        return False, str(error)
    missing = len(wanted - found)
    if missing:
        return False, f"{_shown(server)} serves {len(wanted) - missing} of {len(wanted)} TXT values at {name}"
    return True, f"{_shown(server)} serves all {len(wanted)} TXT values at {name}"


def _values(server: ServerAddress, query: dns.message.Message, response: dns.message.Message) -> set[str]:
    _check(server, query, response)
    question = query.question[0]
    rrset = response.get_rrset(response.answer, question.name, dns.rdataclass.IN, dns.rdatatype.TXT)
    return {b"".join(rdata.strings).decode("latin-1") for rdata in rrset or ()}


def _check(server: ServerAddress, query: dns.message.Message, response: dns.message.Message) -> None:
    """Raise `CheckError` for an answer by which the server is not one of the zone's."""
    code = response.rcode()
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        raise CheckError(f"{_shown(server)} answers {dns.rcode.to_text(code)}: it does not serve the zone")
    if not response.flags & dns.flags.AA:
        raise CheckError(f"{_shown(server)} is not authoritative for {query.question[0].name}")


def _shown(server: ServerAddress) -> str:
    host, port = server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
