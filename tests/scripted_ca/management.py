"""What tests ask the CA beside ACME, unsigned, under /management.

Ledger, counts, roots; a new script, other windows, and that it forgets its accounts.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable

import msgspec

from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.nonces import Nonces
from tests.scripted_ca.script import Fates, Script
from tests.scripted_ca.state import State, json_response


class Window(msgspec.Struct, forbid_unknown_fields=True):
    """A window to suggest, in seconds from now; `ari_id` "" means every certificate."""

    start_in_s: float
    end_in_s: float
    ari_id: str = ""


def handle(state: State, request: Request) -> Response:
    act = _ROUTES.get((request.method, request.path.removeprefix("/management")))
    if act is None:
        return Response(status=404)
    try:
        return act(state, request)
    except msgspec.MsgspecError as error:
        return Response(status=400, body=str(error).encode())


def follow(state: State, script: Script) -> None:
    """Behave by `script` from now on; `alternates` stay as they were at the start, the chains exist already."""
    state.script = script
    state.fates = Fates(script.fates, script.seed)
    state.nonces = Nonces(script.reject_nonce_every, script.reject_nonce_share, script.seed)


def move_window(state: State, window: Window) -> None:
    def at(in_s: float) -> str:
        return (state.now() + dt.timedelta(seconds=in_s)).isoformat().replace("+00:00", "Z")

    suggested = {"start": at(window.start_in_s), "end": at(window.end_in_s)}
    state.windows[window.ari_id] = {
        "suggestedWindow": suggested,
        "explanationURL": f"{state.base_url}/explanation",
    }


def forget_accounts(state: State) -> None:
    state.accounts.clear()
    state.accounts_by_url.clear()


def _ledger(state: State, request: Request) -> Response:
    del request
    ledger = state.ledger
    counts = {"requests": dict(ledger.requests), "limited": dict(ledger.limited)}
    return json_response({"entries": ledger.entries, **counts})


def _roots(state: State, request: Request) -> Response:
    del request
    return Response(body="".join(state.issuance.roots).encode("ascii"))


def _follow(state: State, request: Request) -> Response:
    follow(state, msgspec.json.decode(request.body, type=Script))
    return Response(status=204)


def _move_window(state: State, request: Request) -> Response:
    move_window(state, msgspec.json.decode(request.body, type=Window))
    return Response(status=204)


def _forget_accounts(state: State, request: Request) -> Response:
    del request
    forget_accounts(state)
    return Response(status=204)


_ROUTES: dict[tuple[str, str], Callable[[State, Request], Response]] = {
    ("GET", "/ledger"): _ledger,
    ("GET", "/roots"): _roots,
    ("POST", "/script"): _follow,
    ("POST", "/window"): _move_window,
    ("POST", "/forget-accounts"): _forget_accounts,
}
