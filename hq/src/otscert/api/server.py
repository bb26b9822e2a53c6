"""Serves an ASGI application over TLS with uvicorn, so that slow or silent clients cost nobody else anything."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 15.0
"""How long a request's head may take to arrive."""
MAX_HEAD_BYTES = 64 * 1024


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with bounds for a request's head in time and in size; uvicorn bounds idle connections only."""

    head_s = HEAD_S
    _head_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
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

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _start_timer(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_s, self.transport.close)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpsServer:
    """One listener. `start` returns when it accepts connections and raises `OSError` when the port is taken."""

    def __init__(self, app: Any, *, host: str, port: int, certificate: Path, head_s: float = HEAD_S) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate)
        context.num_tickets = 0  # a box calls a few times a day: it would never resume a session
        self._context = context
        self._certificate = certificate
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
        self._listener: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port (useful with port 0)."""
        self._listener = await asyncio.get_running_loop().create_server(
            self._protocol,
            self._host,
            self._port,
            ssl=self._context,
            backlog=2048,
            ssl_handshake_timeout=self._head_s,
        )
        return int(self._listener.sockets[0].getsockname()[1])

    def _protocol(self) -> PatientProtocol:
        state = self._server.server_state
        protocol = PatientProtocol(config=self._server.config, server_state=state, app_state={})
        protocol.head_s = self._head_s
        return protocol

    def reload_certificate(self) -> None:
        """New connections get the certificate that is in the file now."""
        self._context.load_cert_chain(self._certificate)

    async def stop(self) -> None:
        """Stop listening and end the connections; a box that is cut off asks again."""
        if self._listener is None:
            return
        self._listener.close()
        for connection in list(self._server.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)
        for task in list(self._server.server_state.tasks):
            task.cancel()
        await asyncio.gather(*self._server.server_state.tasks, return_exceptions=True)
