"""HTTPS towards a CA: one connection pool, and a request whose answer is read whole or refused.

It knows TLS, time-outs, sizes and redirects; it does not know JWS, nonces or what an answer means.
"""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib.metadata import version
from pathlib import Path

import aiohttp
from yarl import URL

from otscert.ca.answer import MAX_BODY_BYTES, Answer
from otscert.ca.errors import CaAnswerError, CaUnreachableError, ConnectionLostError
from otscert.ca.pacing import Pacing

CLOSING_S = 1.0
CLOSING_LOOK_S = 0.005


def _uncounted(_: str) -> None:
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpSettings:
    """How to reach a CA; `trust_file` holds PEM roots that replace the system's (a private or a test CA)."""

    trust_file: Path | None = None
    connections: int = 64
    connect_timeout_s: float = 10.0
    request_timeout_s: float = 60.0  # some CAs issue within the finalize request
    # Shorter than what servers keep: a POST on a connection that the other end just closed cannot be repeated blindly.
    keep_alive_s: float = 15.0
    contact_url: str | None = None
    count: Callable[[str], None] = _uncounted
    """Told how each request ended, in one word."""
    pacing: Pacing | None = None
    """How fast the CA may be asked; None: as fast as it answers."""


def trust_context(trust_file: Path | None) -> ssl.SSLContext:
    """Return the client context: TLS 1.2 or newer, host names checked, never anything that skips a check.

    Raises:
        CaUnreachableError: when the trust file cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=None if trust_file is None else str(trust_file))
    except (OSError, ssl.SSLError) as error:
        raise CaUnreachableError(f"the CA's trust file {trust_file} cannot be used: {error}") from error
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


class CaHttp:
    """A keep-alive connection pool to one CA. Use `aclose` when done."""

    def __init__(self, settings: HttpSettings, now: Callable[[], datetime]) -> None:
        self._settings = settings
        self._now = now
        self._session: aiohttp.ClientSession | None = None
        self._sockets: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        # RFC 8555 section 6.1: "ACME clients MUST send a User-Agent header field".
        comment = f" (+{settings.contact_url})" if settings.contact_url else ""
        agent = f"OTS-Cert/{version('otscert')}{comment}"
        # A compressed answer would pass the size cap small and become large: none is asked for, none is unpacked.
        self._headers = {"User-Agent": agent, "Accept-Encoding": "identity"}

    async def aclose(self) -> None:
        """Close the connections and wait until they are closed, also those of requests that were just cancelled."""
        if self._session is None:
            return
        await self._session.close()
        # aiohttp loses sight of a connection whose request was cancelled while TLS says goodbye on it.
        deadline_s = time.monotonic() + CLOSING_S
        while self._has_open_sockets() and time.monotonic() < deadline_s:  # noqa: ASYNC110 - a socket's end is no event
            await asyncio.sleep(CLOSING_LOOK_S)

    def _has_open_sockets(self) -> bool:
        return any(each.fileno() != -1 for each in self._sockets)

    def _new_socket(self, address: aiohttp.AddrInfoType) -> socket.socket:
        family, kind, protocol, _, _ = address
        made = socket.socket(family=family, type=kind, proto=protocol)
        self._sockets.add(made)
        return made

    async def get(self, url: str) -> Answer:
        return await self._request("GET", url, None, {})

    async def head(self, url: str) -> Answer:
        return await self._request("HEAD", url, None, {})

    async def post(self, url: str, body: bytes) -> Answer:
        """Send a JWS (RFC 8555 section 6.2: "MUST set the Content-Type header field to application/jose+json")."""
        return await self._request("POST", url, body, {"Content-Type": "application/jose+json"})

    async def _request(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        pacing = self._settings.pacing
        if pacing is not None and (wait_s := pacing.wait_s(url)) > 0:
            await asyncio.sleep(wait_s)
        try:
            answer = await self._answered(method, url, body, headers)
        except CaUnreachableError:
            self._settings.count("unreachable")
            raise
        except CaAnswerError:
            self._settings.count("unusable")
            raise
        self._settings.count("429" if answer.status == 429 else f"{answer.status // 100}xx")
        if pacing is not None and answer.status == 503:
            fault = answer.fault()
            if fault.problem is None and fault.retry_after_s is not None:  # the load balancer's, not the ACME server's
                pacing.slow_down(url, fault.retry_after_s)
        return answer

    async def _answered(self, method: str, url: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        target = https_url(url)
        session = self._opened()
        try:
            async with session.request(method, target, data=body, headers=headers, allow_redirects=False) as response:
                content = await _capped(response)
                answer = Answer(
                    url=url, status=response.status, headers=response.headers, body=content, received=self._now()
                )
        except TimeoutError as error:
            raise CaUnreachableError(f"{target.host} did not answer within the time limit") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            kind = ConnectionLostError if _is_lost(error) else CaUnreachableError
            raise kind(f"{target.host}: {type(error).__name__}: {error}") from error
        if 300 <= answer.status < 400:
            raise CaAnswerError(f"{target.host} redirects {target.path}; an ACME server does not, nor do we follow")
        return answer

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            settings = self._settings
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=trust_context(settings.trust_file),
                    limit=settings.connections,
                    keepalive_timeout=settings.keep_alive_s,
                    socket_factory=self._new_socket,
                ),
                timeout=aiohttp.ClientTimeout(
                    total=settings.request_timeout_s, sock_connect=settings.connect_timeout_s
                ),
                headers=self._headers,
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
            )
        if self._session.closed:
            raise CaUnreachableError("the connection to the CA was closed")
        return self._session


def https_url(url: str) -> URL:
    """Return `url` ready to use.

    Raises:
        CaAnswerError: unless it is an absolute https URL without user info (RFC 8555 section 6.1: "MUST use HTTPS").
    """
    try:
        target = URL(url, encoded=True)
        usable = target.scheme == "https" and target.host and target.user is None and target.password is None
    except ValueError:
        usable = False
    if not usable:
        raise CaAnswerError(f"the CA's URL {url[:200]!r} is not an absolute https URL")
    return target


def _is_lost(error: Exception) -> bool:
    """Tell a connection that ended under a request from one that could not be made or an answer that broke off."""
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ClientPayloadError):
        return False
    gone = isinstance(error, OSError) and error.errno in {errno.ECONNRESET, errno.EPIPE}
    return gone or isinstance(error, aiohttp.ServerDisconnectedError | ConnectionResetError)


async def _capped(response: aiohttp.ClientResponse) -> bytes:
    if response.headers.get("Content-Encoding", "identity").lower() != "identity":
        raise CaAnswerError("the CA's answer is compressed, which was not asked for")
    announced = response.content_length
    if announced is not None and announced <= MAX_BODY_BYTES:
        return await response.read()
    chunks: list[bytes] = []
    size_bytes = announced or 0
    while size_bytes <= MAX_BODY_BYTES and (chunk := await response.content.readany()):
        chunks.append(chunk)
        size_bytes += len(chunk)
    if size_bytes > MAX_BODY_BYTES:
        response.close()
        raise CaAnswerError(f"the CA's answer is larger than {MAX_BODY_BYTES} bytes")
    return b"".join(chunks)
