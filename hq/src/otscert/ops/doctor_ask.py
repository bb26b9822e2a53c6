"""Single questions to name servers, with what came back as a value. Knows no zone and judges nothing."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

ANSWER_S = 2.0
Server = tuple[str, int]
Place = Callable[[str], Server]
"""Where a name server with this address is asked: at port 53, but for tests."""


def at_port(port: int) -> Place:
    """Every address at this port."""
    return lambda address: (address, port)


DNS_PORT = at_port(53)


class Asked(Enum):
    AUTHORITATIVE = "authoritative"
    OTHER = "other"  # an answer, but not one of the zone's server
    NOTHING = "nothing"


@dataclass(frozen=True, slots=True, kw_only=True)
class SoaAnswer:
    """`reason` is a sentence when the answer is not authoritative."""

    asked: Asked
    serial: int = 0
    reason: str = ""


class NoAnswer(Exception):
    """The server gave no usable message; the text says why."""


async def ask(
    server: Server,
    name: str,
    kind: dns.rdatatype.RdataType,
    *,
    tcp: bool = False,
    fall_back: bool = True,
    edns: int = 0,
    limit_s: float = ANSWER_S,
) -> dns.message.Message:
    """Ask one server without recursion, over UDP (TCP when truncated, unless not to `fall_back`) or TCP.

    Raises:
        NoAnswer: nothing in time, or nothing that is DNS.
    """
    host, port = server
    query = dns.message.make_query(name, kind, use_edns=edns, payload=1232, flags=0)
    try:
        async with asyncio.timeout(limit_s):
            if tcp:
                return await dns.asyncquery.tcp(query, host, port=port)
            if not fall_back:
                return await dns.asyncquery.udp(query, host, port=port)
            response, _ = await dns.asyncquery.udp_with_fallback(query, host, port=port)
            return response
    except TimeoutError:
        raise NoAnswer(f"no answer within {limit_s:.0f} s") from None
    except (dns.exception.DNSException, OSError, EOFError, ValueError) as error:
        raise NoAnswer(_why(error)) from error


def _why(error: Exception) -> str:
    """One phrase for what came in the place of an answer."""
    if isinstance(error, EOFError):
        return "the connection was closed before an answer came"
    if isinstance(error, OSError) and error.errno:
        return os.strerror(error.errno)
    return f"what came is not an answer: {type(error).__name__} {error}".strip()


async def ask_soa(server: Server, origin: str, *, tcp: bool) -> SoaAnswer:
    """Ask for the zone's SOA."""
    try:
        response = await ask(server, origin, dns.rdatatype.SOA, tcp=tcp)
    except NoAnswer as error:
        return SoaAnswer(asked=Asked.NOTHING, reason=str(error))
    if response.rcode() != dns.rcode.NOERROR:
        return SoaAnswer(asked=Asked.OTHER, reason=f"it answers {dns.rcode.to_text(response.rcode())}")
    name = dns.name.from_text(origin)
    for rrset in response.answer:
        if rrset.rdtype == dns.rdatatype.SOA and rrset.name == name and response.flags & dns.flags.AA:
            return SoaAnswer(asked=Asked.AUTHORITATIVE, serial=rrset[0].serial)
    return SoaAnswer(asked=Asked.OTHER, reason="it does not speak for the zone")
