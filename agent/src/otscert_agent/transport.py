"""One connection to HQ, kept alive: POST a body, get a body, under the pinned root and without a clock.

Knows TLS towards HQ (pin, host name, no dates) and HTTP/1.1. Does not know what is in a body: messages are signed end
to end, so what arrives here is not trusted by anybody yet.
"""

from __future__ import annotations

import contextlib
import http.client
import math
import socket
import ssl
import time
from dataclasses import dataclass
from typing import Any, Callable, Protocol
from urllib.parse import urlsplit

from otscert_agent.errors import UnreachableError, UntrustedError
from otscert_agent.wire.jws import CONTENT_TYPE, MAX_BYTES

CONNECT_TIMEOUT_S = 10.0
ANSWER_TIMEOUT_S = 40.0  # of silence; HQ holds an order's long poll for about 25 s
IDLE_S = 15.0  # HQ closes a connection that is idle for 30 s, and what is between box and HQ may be less patient
WHOLE_TIMEOUT_S = 90.0  # of one `post`: what is held 25 s on a connection that had to be made anew, and a slow line

_X509_V_FLAG_NO_CHECK_TIME = 0x200000  # OpenSSL x509_vfy.h; Python's ssl has no name for it

# What a connection says that the other end closed before it answered. Python's ssl tells a reset and a broken pipe as
# EOF "in violation of protocol"; http.client's RemoteDisconnected is a ConnectionError.
_HUNG_UP = (ConnectionError, ssl.SSLEOFError, ssl.SSLZeroReturnError)


@dataclass(frozen=True)
class Reply:
    """An HTTP answer, unverified."""

    status: int
    content_type: str
    body: bytes


class Transport(Protocol):
    """Carries one request at a time. Every failure to get a whole reply, soon enough, is `UnreachableError`."""

    def post(self, url: str, body: bytes) -> Reply:
        """Send `body` (application/jose+json) to `url`. May be called again with the same bytes."""

    def connect(self) -> None:
        """Open the connection now, if there is none."""

    def close(self) -> None:
        """Drop the connection; the next `post` opens another."""


def client_context(pins_pem: str, *, clock_trusted: bool) -> ssl.SSLContext:
    """TLS towards HQ: its pinned roots only, host name checked, dates skipped unless the clock can be trusted."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_verify_locations(cadata=pins_pem)
    if not clock_trusted:
        context.verify_flags |= _X509_V_FLAG_NO_CHECK_TIME
    return context


def path_at(url: str, base_url: str) -> str:
    """The path of a URL on the HQ at `base_url`; raise `UntrustedError` when it is not one that can be called."""
    if not url.isascii() or not url.isprintable() or " " in url:  # RFC 3986, section 2
        raise UntrustedError("HQ named a URL with characters that no URL has")
    try:
        parts, own = urlsplit(url), urlsplit(base_url)
        same = (parts.scheme, parts.hostname, parts.port or 443) == (own.scheme, own.hostname, own.port or 443)
    except ValueError:  # brackets that do not match, a port that is none
        raise UntrustedError("HQ named a URL that is none") from None
    if not same:
        raise UntrustedError("HQ named a URL on another host; only its own is called")
    return parts.path


class HttpsTransport:
    """`Transport` to the HQ at `base_url`. `check_leaf` gets the DER of HQ's TLS leaf before anything is sent.

    A `post` is over after `whole_timeout_s`, however busily bytes drip. A connection that nobody used for `idle_s` is
    not used again: the other end may have closed it, and one that is only half closed takes a request and is silent.
    """

    def __init__(
        self,
        base_url: str,
        context: ssl.SSLContext,
        check_leaf: Callable[[bytes], None],
        *,
        whole_timeout_s: float = WHOLE_TIMEOUT_S,
        idle_s: float = IDLE_S,
    ) -> None:
        parts = urlsplit(base_url)
        self._base_url = base_url
        self._origin = (parts.scheme, parts.hostname, parts.port or 443)
        self._context = context
        self._context.sslsocket_class = _BoundedSocket
        self._check_leaf = check_leaf
        self._connection: _Connection | None = None
        self._whole_timeout_s = whole_timeout_s
        self._idle_s = idle_s
        self._used_at = -math.inf

    def post(self, url: str, body: bytes) -> Reply:
        path = path_at(url, self._base_url)
        ends = time.monotonic() + self._whole_timeout_s
        if time.monotonic() - self._used_at >= self._idle_s:
            self.close()
        reused = self._connection is not None
        try:
            return self._post(path, body, ends)
        except (OSError, http.client.HTTPException) as error:
            if not reused or not isinstance(error, _HUNG_UP):
                raise self._failure(error) from None
        self.close()
        try:  # it was closed while nobody used it: the same bytes once more, on a new one
            return self._post(path, body, ends)
        except (OSError, http.client.HTTPException) as error:
            raise self._failure(error) from None

    def connect(self) -> None:
        if self._connection is None:
            try:
                self._connection = self._connect(time.monotonic() + self._whole_timeout_s)
                self._used_at = time.monotonic()
            except (OSError, http.client.HTTPException) as error:
                raise self._failure(error) from None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _failure(self, error: Exception) -> Exception:
        self.close()
        if isinstance(error, ssl.SSLCertVerificationError):
            return UntrustedError(f"this is not the maker's HQ: {error.verify_message}")
        if not isinstance(error, OSError):  # its text is whatever was sent, and a page shows the reason
            return UnreachableError(
                f"what answers in HQ's place speaks no HTTP that is allowed ({type(error).__name__})"
            )
        return UnreachableError(f"HQ cannot be reached: {_plainly(error, *self._origin[1:])}")

    def _post(self, path: str, body: bytes, ends: float) -> Reply:
        if self._connection is None:
            self._connection = self._connect(ends)
        connection = self._connection
        connection.bound(ends)
        connection.request("POST", path, body, {"Content-Type": CONTENT_TYPE, "Accept": CONTENT_TYPE})
        response = connection.getresponse()
        data = response.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            self.close()
            raise UnreachableError("the answer is longer than the protocol allows")
        self._used_at = time.monotonic()
        if response.will_close:
            self.close()
        return Reply(response.status, response.headers.get_content_type(), data)

    def _connect(self, ends: float) -> _Connection:
        _, host, port = self._origin
        connection = _Connection(str(host), port, self._context, ends)
        connection.connect()
        try:
            self._check_leaf(connection.leaf())
        except Exception:
            connection.close()
            raise
        return connection


def _plainly(error: OSError, host: str | None, port: int) -> str:
    """What happened to the connection, without the numbers of errno and the places in Python's own source."""
    if isinstance(error, ConnectionRefusedError):
        return f"nobody listens at {host}:{port}"
    if isinstance(error, socket.gaierror):
        return f"no address was found for {host}"
    if isinstance(error, _HUNG_UP):
        return "the connection was closed"
    if isinstance(error, ssl.SSLError) and error.reason:  # OpenSSL's word for it, as WRONG_VERSION_NUMBER
        return f"TLS failed: {error.reason.lower().replace('_', ' ')}"
    if isinstance(error, TimeoutError):
        return "the answer took too long"
    return error.strerror or str(error) or type(error).__name__


class _BoundedSocket(ssl.SSLSocket):
    """No call lasts longer than `ANSWER_TIMEOUT_S`, and none beyond `ends`: each byte of a drip is its own call."""

    ends = math.inf

    def send(self, data: Any, flags: int = 0) -> int:
        self._hurry()
        return super().send(data, flags)

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        self._hurry()
        return super().recv_into(buffer, nbytes, flags)

    def _hurry(self) -> None:
        self.settimeout(min(ANSWER_TIMEOUT_S, _left_s(self.ends)))


def _left_s(ends: float) -> float:
    left_s = ends - time.monotonic()
    if left_s <= 0:
        raise TimeoutError("the answer took too long")
    return left_s


class _Connection(http.client.HTTPConnection):
    """http.client over our own TLS socket."""

    sock: ssl.SSLSocket | None

    def __init__(self, host: str, port: int, context: ssl.SSLContext, ends: float) -> None:
        super().__init__(host, port)
        self._context = context
        self._ends = ends

    def connect(self) -> None:
        plain = socket.create_connection((self.host, self.port), min(CONNECT_TIMEOUT_S, _left_s(self._ends)))
        try:
            plain.settimeout(min(CONNECT_TIMEOUT_S, _left_s(self._ends)))
            # Head and body go out as two writes; without this Nagle and delayed ACK cost 40 ms each time.
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.sock = self._context.wrap_socket(plain, server_hostname=self.host)
        except BaseException:
            with contextlib.suppress(OSError):
                plain.close()
            raise
        self.bound(self._ends)

    def bound(self, ends: float) -> None:
        """Let no request or answer on this connection last beyond `ends`."""
        if isinstance(self.sock, _BoundedSocket):
            self.sock.ends = ends

    def leaf(self) -> bytes:
        assert self.sock is not None  # noqa: S101  # connect() has returned
        return self.sock.getpeercert(binary_form=True) or b""
