"""What every face does with a request before anybody reads it: bounds size and time, finds out whom it comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address

from starlette.requests import ClientDisconnect, Request

BODY_S = 10.0
Network = IPv4Network | IPv6Network


class BodyTooLarge(Exception):
    """The body is longer than the face reads."""


class BodyTooSlow(Exception):
    """The body did not arrive in time."""


async def read_body(request: Request, *, limit_bytes: int, within_s: float = BODY_S) -> bytes:
    """Read at most `limit_bytes` within `within_s`; raise `BodyTooLarge`, `BodyTooSlow` or `ClientDisconnect`."""
    declared = request.headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared) > limit_bytes:
        raise BodyTooLarge
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(within_s):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit_bytes:
                    raise BodyTooLarge
                chunks.append(chunk)
    except TimeoutError:
        raise BodyTooSlow from None
    return b"".join(chunks)


def client_address(request: Request, trusted: Sequence[Network]) -> str:
    """The caller's address. Behind a trusted proxy it is the last X-Forwarded-For entry that is not trusted itself.

    The leftmost entry is whatever the client wrote; only entries appended by trusted proxies count.
    """
    caller = exact_address(request, trusted)
    address = _parse(caller)
    return bucket_of(address) if address is not None else caller


def exact_address(request: Request, trusted: Sequence[Network]) -> str:
    """The caller's address itself, as `client_address` finds it; the peer's name where that is not an address."""
    peer = request.client.host if request.client else ""
    hops = [hop.strip() for line in request.headers.getlist("x-forwarded-for") for hop in line.split(",")]
    address = _parse(peer)
    while address is not None and hops and any(address in network for network in trusted):
        address = _parse(hops.pop())
    return str(address) if address is not None else peer


def own_address(request: Request, trusted: Sequence[Network]) -> str:
    """The same where it is the caller's own; empty where all that is known is a trusted proxy, which many share."""
    caller = exact_address(request, trusted)
    address = _parse(caller)
    return "" if address is None or any(address in network for network in trusted) else caller


def _parse(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def bucket_of(address: IPv4Address | IPv6Address) -> str:
    """How an address is counted. Quotas count an IPv6 /64 as one caller: a single host has all of it."""
    if isinstance(address, IPv4Address):
        return str(address)
    return str(IPv6Network((address, 64), strict=False))


__all__ = ["BodyTooLarge", "BodyTooSlow", "ClientDisconnect", "client_address", "own_address", "read_body"]
