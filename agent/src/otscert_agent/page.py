"""The built-in status page: what an owner may see, and the probe that a plain HTTP page on the box can call.

Knows HTML and the well-known path. Shows no secret. Does not know TLS or how the values come about.
"""

from __future__ import annotations

import html
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Callable

from otscert_agent import http_head

if TYPE_CHECKING:
    import ssl

    from otscert_agent.serve import Handler

PATH_OK = "/.well-known/ots/ok"
HEAD_TIMEOUT_S = 10.0  # when the connection brings no limit of its own

_TEXT = "text/plain; charset=utf-8"
_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width">
<style>body{{font:1rem/1.5 system-ui,sans-serif;margin:2rem auto;max-width:44rem;padding:0 1rem;color:#1c2733}}
h1{{font-size:1.5rem;overflow-wrap:anywhere}}dt{{font-weight:600;margin-top:.8rem}}dd{{margin:0}}p{{color:#52606d}}</style>
<h1>{title}</h1><dl>{rows}</dl>
<p>This page comes from the box itself. What you do here stays on your network.</p></html>
"""

_WELL = "STEADY"
_STATES = {
    _WELL: "All is well. The certificate renews by itself.",
    "HOLD": "On hold, until the maker lets it go on.",
    "DAMAGED": "This box's memory is damaged. It serves this certificate and gets no other one.",
}
_VERDICTS = {
    "out of service": "Out of service: the maker has taken this box out of service. It gets no other certificate.",
    "not admitted": "Not admitted: the maker's server gives this box no other certificate.",
}
_UNHEARD = "This certificate is served. News from the maker's server is waited for."
_UNDER_WAY = "A certificate is being obtained; what you see is served meanwhile."


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
    verdict: str | None = None  # HQ's about the box, as `reactions` calls it


def render(status: BoxStatus) -> str:
    rows = [
        ("Name", status.name or "none yet"),
        ("Certificate valid from", _utc(status.not_before)),
        ("Certificate valid until", _utc(status.not_after)),
        ("State", _state(status)),
    ]
    if status.why:
        rows.append(("The maker's server says" if status.verdict else "Waiting for", status.why))
    body = "".join(f"<dt>{html.escape(term)}</dt><dd>{html.escape(text)}</dd>" for term, text in rows)
    return _PAGE.format(title=html.escape(status.name or "This box"), rows=body)


def _state(status: BoxStatus) -> str:
    if status.verdict in _VERDICTS:
        return _VERDICTS[status.verdict]
    return _UNHEARD if status.state == _WELL and status.why else _STATES.get(status.state, _UNDER_WAY)


def answer(request: bytes, status: BoxStatus) -> bytes:
    """The whole HTTP/1.1 answer to the head of a request."""
    head = http_head.parse(request)
    if head.method not in {"GET", "HEAD"}:
        return http_head.answer("405 Method Not Allowed", _TEXT, "This page can only be read.\n")
    with_body = head.method == "GET"
    if head.path == "/":
        return http_head.answer("200 OK", "text/html; charset=utf-8", render(status), with_body=with_body)
    if head.path == PATH_OK:
        # The device id tells this box from another one that has the same private address in another network.
        found = json.dumps({"device": status.device_id, "name": status.name})
        # The box's own plain HTTP page asks from another origin.
        more = ("Access-Control-Allow-Origin: *",)
        return http_head.answer("200 OK", "application/json", found, more=more, with_body=with_body)
    return http_head.answer("404 Not Found", _TEXT, "There is nothing here.\n", with_body=with_body)


def handler(status: Callable[[], BoxStatus]) -> Handler:
    """A connection handler for `serve` that shows whatever `status` returns at that moment."""

    def handle(connection: ssl.SSLSocket, _address: object, _server: object) -> None:
        # What `serve` left as timeout is all that is left for the whole head, in however small pieces it comes.
        request = http_head.read(connection, time.monotonic() + (connection.gettimeout() or HEAD_TIMEOUT_S))
        if request is not None:
            connection.sendall(answer(request, status()))

    return handle


def _utc(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(seconds)) if seconds else "none yet"
