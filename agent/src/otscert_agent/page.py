"""The built-in status page: what an owner may see, and the probe that a plain HTTP page on the box can call.

Knows HTML and the well-known path. Shows no secret. Does not know TLS or how the values come about.
"""

from __future__ import annotations

import html
import json
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from typing import Callable

PATH_OK = "/.well-known/ots/ok"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:1rem/1.5 system-ui;margin:2rem auto;max-width:40rem;padding:0 1rem}}dt{{font-weight:600}}</style>
<h1>{title}</h1><dl>{rows}</dl></html>
"""


@dataclass(frozen=True)
class BoxStatus:
    """What the page shows. Times are Unix seconds."""

    name: str
    names: list[str]
    state: str
    device_id: str
    not_before: int
    not_after: int
    why: str | None = None


def render(status: BoxStatus) -> str:
    rows = [
        ("Name", status.name or "none yet"),
        ("Certificate valid from", _utc(status.not_before)),
        ("Certificate valid until", _utc(status.not_after)),
        ("State", status.state),
    ]
    if status.why:
        rows.append(("Waiting for", status.why))
    body = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in rows)
    return _PAGE.format(title=html.escape(status.name or "This box"), rows=body)


def handler(status: Callable[[], BoxStatus]) -> type[BaseHTTPRequestHandler]:
    """A request handler that shows whatever `status` returns at that moment."""

    class StatusHandler(BaseHTTPRequestHandler):
        server_version = "otscert-agent"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.split("?", 1)[0]
            if path == "/":
                self._answer(200, "text/html; charset=utf-8", render(status()))
            elif path == PATH_OK:
                # Any origin may read it: the box's own plain HTTP page asks from another one. The device id tells
                # this box from another one that has the same private address in another network.
                found = status()
                self._answer(200, "application/json", json.dumps({"device": found.device_id, "name": found.name}))
            else:
                self._answer(404, "text/plain; charset=utf-8", "There is nothing here.\n")

        do_HEAD = do_GET  # noqa: N815  # the base class names methods so

        def _answer(self, code: int, content_type: str, text: str) -> None:
            data = text.encode()
            self.send_response(code)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(data)))
            self.send_header("Cache-Control", "no-store")
            self.send_header("X-Content-Type-Options", "nosniff")
            if content_type == "application/json":
                self.send_header("Access-Control-Allow-Origin", "*")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class named it
            """Say nothing: who looked at the page when is nobody's business."""

    return StatusHandler


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "none yet"
