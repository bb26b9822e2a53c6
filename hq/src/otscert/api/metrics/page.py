"""GET /metrics and nothing else. Knows HTTP and who may wait; what is in the page comes from `scrape`."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

PATH = "/metrics"
MOST_CONNECTIONS = 32
"""A few Prometheus servers and a person; whoever waits longest makes room for the next."""

Page = tuple[bytes, str]
MakePage = Callable[[str], Awaitable[Page]]
"""From the Accept header to the page and its content type."""


def metrics_app(make: MakePage) -> ASGIApp:
    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        response = await _respond(scope, make)
        # No request's body is read here, so no connection goes on after its answer.
        response.headers["Connection"] = "close"
        await response(scope, receive, send)

    return application


async def _respond(scope: Scope, make: MakePage) -> Response:
    if scope["path"] != PATH:
        return Response(f"HQ's metrics are at {PATH}\n", status_code=404, media_type="text/plain")
    if scope["method"] != "GET":
        return Response("metrics can be read only\n", 405, {"Allow": "GET"}, "text/plain")
    body, kind = await make(Headers(scope=scope).get("accept", ""))
    return Response(body, headers={"Content-Type": kind, "Cache-Control": "no-store"})
