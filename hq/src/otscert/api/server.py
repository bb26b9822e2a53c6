"""Serves an ASGI application with uvicorn, so that slow or silent clients cost nobody else anything.

Over TLS for everybody from outside; plainly for those on loopback or a management network.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from otscert.api.room import Guest, Room

HEAD_S = 15.0
"""How long a handshake may take, and a request's head."""
MAX_HEAD_BYTES = 64 * 1024
_ACCEPTS_PER_TURN = 64
_NO_FILES_S = 0.1


class PipelinedRequest(Exception):
    """A second request came before the first was answered; no box does that."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds for a request's head in time and size, and for requests at a time: one."""

    room: Room
    guest: Guest
    head_s = HEAD_S
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.guest.leave = transport.abort
        self._start_timer()

    def data_received(self, data: bytes) -> None:
        # uvicorn types `cycle` as always there; before the first request it is None, and the timer runs.
        if self._head_timer is None and self.cycle.response_complete:
            self._start_timer()  # the first octets of a later request on this connection
        super().data_received(data)
        if self._head_timer is not None:
            self._head_bytes += len(data)
            if self._head_bytes > MAX_HEAD_BYTES:
                self.transport.close()

    def on_message_begin(self) -> None:
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:
            # uvicorn would queue it, and the next ten thousand of the same packet.
            self.transport.abort()
            raise PipelinedRequest
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._stop_timer()
        self.room.asks(self.guest)
        super().on_headers_complete()

    def on_response_complete(self) -> None:
        self.room.waits(self.guest)
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        self.room.left(self.guest)
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpServer:
    """One listener. `start` returns when it accepts connections and raises `OSError` when the port is taken."""

    def __init__(
        self,
        app: Any,
        *,
        host: str,
        port: int,
        room: Room,
        head_s: float = HEAD_S,
        context: ssl.SSLContext | None = None,
    ) -> None:
        self._context = context
        config = uvicorn.Config(
            app,
            http=PatientProtocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            date_header=False,
            timeout_keep_alive=30,
            timeout_graceful_shutdown=2,
            proxy_headers=False,
        )
        config.load()
        # uvicorn would build its own context from file names; ours can be given new certificates later.
        config.ssl = context
        self._server = uvicorn.Server(config)
        self._host, self._port, self._head_s = host, port, head_s
        self._room = room
        self._listener: socket.socket | None = None
        self._arriving: set[asyncio.Task[None]] = set()

    async def start(self) -> int:
        """Listen; returns the port (useful with port 0)."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self._port), family=family, backlog=2048)
        self._listener.settimeout(0)
        asyncio.get_running_loop().add_reader(self._listener, self._accept)
        return int(self._listener.getsockname()[1])

    def _accept(self) -> None:
        """Take new connections. They are counted from here on: a silent one costs a place before any TLS."""
        for _ in range(_ACCEPTS_PER_TURN):
            if self._listener is None:
                return
            try:
                connection, peer = self._listener.accept()
            except BlockingIOError:
                return
            except OSError:
                self._pause()  # no file descriptor left: listening on would only spin
                return
            self._welcome(connection, peer[0])

    def _pause(self) -> None:
        loop, listener = asyncio.get_running_loop(), self._listener
        if listener is not None:
            loop.remove_reader(listener)
            loop.call_later(_NO_FILES_S, self._resume)

    def _resume(self) -> None:
        if self._listener is not None:
            asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _welcome(self, connection: socket.socket, peer: str) -> None:
        guest = Guest(self._room.bucket(peer), connection.close)
        if not self._room.enter(guest):
            connection.close()
            return
        arriving = asyncio.get_running_loop().create_task(self._handshake(connection, guest))
        guest.leave = arriving.cancel
        self._arriving.add(arriving)
        arriving.add_done_callback(self._arriving.discard)

    async def _handshake(self, connection: socket.socket, guest: Guest) -> None:
        connection.settimeout(0)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: self._protocol(guest),
                connection,
                ssl=self._context,
                ssl_handshake_timeout=self._head_s if self._context else None,
            )
        except (OSError, ssl.SSLError):
            self._room.left(guest)  # went away, or speaks something else
        except asyncio.CancelledError:
            self._room.left(guest)
            raise

    def _protocol(self, guest: Guest) -> PatientProtocol:
        state = self._server.server_state
        protocol = PatientProtocol(config=self._server.config, server_state=state, app_state={})
        protocol.head_s, protocol.room, protocol.guest = self._head_s, self._room, guest
        return protocol

    async def stop(self) -> None:
        """Stop listening and end the connections; a box that is cut off asks again."""
        if self._listener is None:
            return
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        self._listener = None
        for arriving in self._arriving:
            arriving.cancel()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        for task in list(self._server.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self._arriving, *self._server.server_state.tasks, return_exceptions=True)


class HttpsServer(HttpServer):
    """The same over TLS, with the certificate and key of one file."""

    def __init__(
        self, app: Any, *, host: str, port: int, certificate: Path, room: Room, head_s: float = HEAD_S
    ) -> None:
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_2
        self._tls.load_cert_chain(certificate)
        self._tls.num_tickets = 0  # a box calls a few times a day: it would never resume a session
        self._certificate = certificate
        super().__init__(app, host=host, port=port, room=room, head_s=head_s, context=self._tls)

    def reload_certificate(self) -> None:
        """New connections get the certificate that is in the file now."""
        self._tls.load_cert_chain(self._certificate)
