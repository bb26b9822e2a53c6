"""HTTPS to one system of the maker: a POST whose answer is read whole, in time, or not at all.

The address is judged where the connection is made, after the name was resolved, so that a name cannot be pointed
elsewhere in between. Redirects are not followed, answers are not unpacked, certificates are always checked.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from ipaddress import IPv4Network, IPv6Network, ip_address
from pathlib import Path

import aiohttp
from yarl import URL

from otscert.domain import targets
from otscert.notify.errors import NotDelivered, TrustFileUnusable
from otscert.notify.resolving import LookUp, OwnThreads

TOTAL_S = 2.0
MOST_BYTES = 65_536
_CLOSING_S = 1.0
_CLOSING_LOOK_S = 0.005


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpAnswer:
    status: int
    body: bytes


class HttpsSender:
    """For one event loop; a connection of its own for every message. Use `aclose` when done.

    Raises `TrustFileUnusable` when it is made.
    """

    def __init__(
        self,
        *,
        networks: Sequence[IPv4Network | IPv6Network] = (),
        trust_file: Path | None = None,
        total_s: float = TOTAL_S,
        look_up: LookUp = socket.getaddrinfo,
    ) -> None:
        self._networks = tuple(networks)
        self._trust = _trust(trust_file)
        self._total_s = total_s
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> HttpAnswer:
        """Send `body`; raise `NotDelivered` unless an answer of at most `MOST_BYTES` came within the time limit."""
        try:
            target = URL(url)
        except ValueError as error:
            raise NotDelivered(f"the URL cannot be used: {error}") from error
        sent = {**headers, "Content-Type": "application/json"}
        try:
            async with self._opened().post(target, data=body, headers=sent, allow_redirects=False) as response:
                return HttpAnswer(status=response.status, body=await _whole(response))
        except TimeoutError as error:
            raise NotDelivered(f"{target.host} did not answer within {self._total_s:g} s") from error
        except aiohttp.ClientConnectorCertificateError as error:
            raise NotDelivered(f"the TLS certificate of {target.host} is not trusted: {_reason(error)}") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise NotDelivered(f"{target.host}: {_reason(error)}") from error

    async def aclose(self) -> None:
        """Close the connections and wait until they are closed, those of cancelled messages included."""
        if self._session is None:
            return
        await self._session.close()
        deadline_s = time.monotonic() + _CLOSING_S
        while self._has_open_sockets() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - a socket's end is no event
            await asyncio.sleep(_CLOSING_LOOK_S)

    def _has_open_sockets(self) -> bool:
        return any(each.fileno() != -1 for each in self._sockets)

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        """Where every connection begins, also one to an address that stands in the URL itself."""
        family, kind, protocol, _, sockaddr = address
        reason = targets.refusal(ip_address(str(sockaddr[0]).split("%")[0]), allowed=self._networks)
        if reason is not None:
            raise PermissionError(f"{reason}, and webhook_networks does not name it; nothing was sent")
        made = socket.socket(family=family, type=kind, proto=protocol)
        self._sockets.add(made)
        return made

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._trust,
                    limit=0,  # whoever sends holds the number down
                    force_close=True,
                    use_dns_cache=False,
                    resolver=OwnThreads(self._look_up),
                    socket_factory=self._new_socket,
                ),
                timeout=aiohttp.ClientTimeout(total=self._total_s),
                headers={"User-Agent": f"OTS-Cert/{version('otscert')}", "Accept-Encoding": "identity"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        if self._session.closed:
            raise NotDelivered("HQ is stopping or has read its configuration again")
        return self._session


def _trust(trust_file: Path | None) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=None if trust_file is None else str(trust_file))
    except (OSError, ssl.SSLError) as error:
        raise TrustFileUnusable(f"the trust file {trust_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


async def _whole(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise NotDelivered("the answer is compressed, which was not asked for")
    size_bytes, chunks = 0, []
    while chunk := await response.content.readany():
        size_bytes += len(chunk)
        if size_bytes > MOST_BYTES:
            response.close()
            raise NotDelivered(f"the answer is larger than {MOST_BYTES} bytes")
        chunks.append(chunk)
    return b"".join(chunks)


def _reason(error: Exception) -> str:
    """The innermost sentence: aiohttp's own name the host again and the object that holds the certificates."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return str(error.certificate_error)
    if isinstance(error, aiohttp.ClientConnectorError):
        return error.os_error.strerror or str(error.os_error)
    if isinstance(error, aiohttp.ClientResponseError):  # it names the URL, which may hold the maker's secret
        return " ".join(error.message.split()) or type(error).__name__
    return str(error) or type(error).__name__
