"""Serves an ASGI application over TLS with uvicorn, so that slow or silent clients cost nobody else anything."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_S = 15.0
"""How long a connection may take until its first request's head is complete."""


class PatientProtocol(HttpToolsProtocol):
    """uvicorn's protocol with a time limit for a first request that never comes (it has one for later ones only)."""

    _head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, transport.close)

    def on_headers_complete(self) -> None:
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


class HttpsServer:
    """One listener. `start` returns when it accepts connections and raises `OSError` when the port is taken."""

    def __init__(self, app: Any, *, host: str, port: int, certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(certificate)
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
        self._host, self._port = host, port
        self._listener: asyncio.Server | None = None

    async def start(self) -> int:
        """Listen; returns the port (useful with port 0)."""
        config, loop = self._server.config, asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: PatientProtocol(config=config, server_state=self._server.server_state, app_state={}),
            self._host,
            self._port,
            ssl=self._context,
            backlog=2048,
            ssl_handshake_timeout=HEAD_S,
        )
        return int(self._listener.sockets[0].getsockname()[1])

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
