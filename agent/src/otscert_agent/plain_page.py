"""What a box shows before it has a certificate: what it waits for, the pairing code, and later the way to HTTPS.

Pure. Shows no secret: the pairing code is meant for whoever stands in this network. It is all that a foreign website
could want from here, so only a Host that nobody else can own is answered (DNS rebinding).
"""

from __future__ import annotations

import html
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Callable

from otscert_agent import http_head
from otscert_agent.reactions import NOT_ADMITTED, OUT_OF_SERVICE
from otscert_agent.steps import Step

REFRESH_S = 5
CODE_LIFE = "A code holds for 15 minutes; then this page shows another one."  # protocol.md, "Approval"

_PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{title}</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="{refresh_s}">
<style>:root{{color-scheme:light dark}}
body{{font:1rem/1.5 system-ui,sans-serif;margin:12vh auto;max-width:36rem;padding:0 1.25rem}}
h1{{font-size:1.6rem;margin:0 0 .5rem}}p{{margin:.5rem 0}}small{{opacity:.7;overflow-wrap:anywhere}}
.code{{font:600 clamp(2.2rem,11vw,4.5rem)/1.2 ui-monospace,monospace;letter-spacing:.08em;margin:1.5rem 0;
white-space:nowrap}}.code b{{font-weight:600;margin-right:.35em}}
a{{display:inline-block;margin-top:1rem;font-size:1.15rem;overflow-wrap:anywhere}}</style>
<h1>{title}</h1>{body}</html>
"""
_LINK_LOCAL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.local")  # one label (RFC 1123, section 2.1)
_TEXT = "text/plain; charset=utf-8"
_POLICY = (
    "Content-Security-Policy: default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy: no-referrer",
)


@dataclass(frozen=True)
class View:
    """What the box is at. `step` and `why` are those of the report; `url` is where it serves HTTPS by now."""

    step: str
    why: str | None = None
    verdict: str | None = None  # HQ's about the box, as `reactions` calls it
    pairing_code: str | None = None
    model: str = ""
    serial: str = ""
    online: bool = True
    url: str | None = None


@dataclass(frozen=True)
class Message:
    """A heading and sentences for the owner; `detail` is for whoever helps him."""

    title: str
    sentences: list[str] = field(default_factory=list)
    detail: str | None = None


def _always(_view: View) -> bool:
    return True


def _explained(view: View) -> bool:
    return view.why is not None


_VERDICTS = {
    OUT_OF_SERVICE: ("Out of service", "It gets no other certificate. Whoever made this box can help."),
    NOT_ADMITTED: ("Not admitted", "Whoever made this box can help. It asks again by itself, but seldom."),
}

# The first row that fits: the steps, when it fits, the heading, the sentences.
_ROWS: tuple[tuple[frozenset[Step], Callable[[View], bool], str, list[str]], ...] = (
    (
        frozenset({Step.DAMAGED}),
        _always,
        "This box's memory is damaged",
        [
            "It goes on serving its page, but gets no other certificate. Whoever made this box can help.",
        ],
    ),
    (frozenset({Step.HOLD}), _always, "On hold", ["The maker keeps this box from going on for now."]),
    (
        frozenset({Step.ENTROPY}),
        _explained,
        "Waiting for randomness",
        [
            "This box makes a key that nobody can guess. For that its hardware has to give enough chance first.",
            "That takes seconds on most boxes and some minutes on a few. There is nothing to do; leave it switched on.",
        ],
    ),
    (
        frozenset({Step.NETWORK}),
        lambda view: not view.online,
        "Waiting for the network",
        ["This box has no address in a network yet. Is the network cable plugged in, is the router switched on?"],
    ),
    (
        frozenset({Step.NETWORK, Step.HELLO, Step.CHALLENGE}),
        _explained,
        "Waiting for the maker's server",
        ["The maker's server gives no answer that helps. This box keeps asking by itself."],
    ),
    (frozenset({Step.NETWORK, Step.HELLO, Step.CHALLENGE}), _always, "Calling the maker's server", []),
    (
        frozenset({Step.ENROL}),
        lambda view: view.pairing_code is not None,
        "Waiting for approval",
        ["Somebody who may decide about this box enters this code at the maker's server:"],
    ),
    (
        frozenset({Step.ENROL}),
        _explained,
        "Waiting to be admitted",
        ["The maker's server has not admitted this box yet."],
    ),
    (
        frozenset({Step.ENROL, Step.CERTIFICATE, Step.INSTALL, Step.VERIFY_SERVED}),
        _always,
        "Getting a certificate",
        ["The maker's server gets a certificate for this box. That takes some seconds, at most some minutes."],
    ),
    (frozenset({Step.STEADY}), _always, "This box is ready", ["Its certificate renews by itself."]),
)


def message(view: View) -> Message:
    """What is to be said in this state, in an owner's words."""
    if view.verdict in _VERDICTS:
        title, sentence = _VERDICTS[view.verdict]
        return Message(title, [*([view.why] if view.why else []), sentence])
    for steps, fits, title, sentences in _ROWS:
        if view.step in {step.value for step in steps} and fits(view):
            code = view.pairing_code  # shown large; what HQ says about it only repeats that
            known = view.why is None or title.lower() in view.why or bool(code and code in view.why)
            return Message(title, sentences, None if known else view.why)
    return Message("Starting", ["This box has just been switched on."], view.why)


def render(view: View) -> str:
    said = message(view)
    parts = [f"<p>{html.escape(sentence)}</p>" for sentence in said.sentences]
    if view.pairing_code and view.step == Step.ENROL.value:
        code = view.pairing_code.replace("-", "")
        half = (len(code) + 1) // 2
        groups = "".join(f"<b>{html.escape(group)}</b>" for group in (code[:half], code[half:]) if group)
        parts.append(f'<p class="code">{groups}</p>')
        unit = f"model {view.model}, serial {view.serial}" if view.serial else f"model {view.model}"
        parts.append(f"<p>This box: {html.escape(unit)}.</p><p>{CODE_LIFE}</p>")
    if said.detail:
        parts.append(f"<p><small>{html.escape(said.detail)}</small></p>")
    if view.url:
        url = html.escape(view.url)
        parts.append(f'<p>Its own page, encrypted:<br><a href="{url}">{url}</a></p>')
    return _PAGE.format(title=html.escape(said.title), refresh_s=REFRESH_S, body="".join(parts))


def answer(request: bytes, view: View, names: Iterable[str]) -> bytes:
    """The whole HTTP/1.1 answer; `names` are the box's own."""
    head = http_head.parse(request)
    hosts = head.headers.get("host", [])
    if len(hosts) != 1:
        return http_head.answer("400 Bad Request", _TEXT, "A request names one host.\n")
    if not is_own(hosts[0], names):
        why = "This box does not answer to that name. Use its IP address.\n"
        return http_head.answer("421 Misdirected Request", _TEXT, why)
    if head.method != "GET":
        return http_head.answer("405 Method Not Allowed", _TEXT, "This page can only be read.\n", more=("Allow: GET",))
    if head.path != "/":
        return http_head.answer("404 Not Found", _TEXT, "There is nothing here.\n")
    return http_head.answer("200 OK", "text/html; charset=utf-8", render(view), more=_POLICY)


def is_own(host: str, names: Iterable[str]) -> bool:
    """Whether a Host header names this box in a way that no foreign domain can: an address, or a name of its own.

    Any one label with .local will do, not this machine's host name only: such a name is resolved in this network
    (RFC 6762), where whoever could take one can ask the box himself, and mDNS renames a host whose name is taken.
    """
    text = host.strip().lower()
    if text.startswith("["):
        literal, bracket, port = text[1:].partition("]")
        return bool(bracket) and _is_port(port) and _is_address(socket.AF_INET6, literal)
    text, _, port = text.partition(":")
    if port and not _is_port(f":{port}"):
        return False
    text = text.removesuffix(".")
    if _is_address(socket.AF_INET, text) or text == "localhost" or _LINK_LOCAL.fullmatch(text):
        return True
    return any(text == name.lower().rstrip(".") for name in names if name)


def _is_port(text: str) -> bool:
    return not text or (text[0] == ":" and text.isascii() and text[1:].isdigit())


def _is_address(family: int, text: str) -> bool:
    try:
        socket.inet_pton(family, text)
    except (OSError, ValueError):
        return False
    return True
