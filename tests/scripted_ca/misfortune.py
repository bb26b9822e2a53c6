"""What happens to a request that meets a `Fate`: the answer that comes instead of, or from, the right one."""

from __future__ import annotations

import gzip
from collections.abc import Callable

from tests.scripted_ca import jose, orders
from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.problems import problem, problem_response
from tests.scripted_ca.script import Fate
from tests.scripted_ca.state import State

FOR_EVER_S = 86_400.0
HTML = ("Content-Type", "text/html")
MAINTENANCE = b"<html><body><h1>Service down for maintenance</h1></body></html>"


def answer(state: State, resource: str, request: Request, act: Callable[[], Response]) -> Response:
    """Answer a request by `act`, or as the fate wants whose turn it is."""
    fate = state.fates.next(resource, lambda: _names(state, request))
    if fate is None:
        return act()
    if fate.form == "invalid":
        _end(state, fate)
        response = act()
    elif fate.form in {"late", "drip", "headless"}:
        response = act()
        response.drip, response.headless = fate.form == "drip", fate.form == "headless"
    else:
        if fate.acts:
            act()
        if fate.form == "hold":
            state.held.set()
        response = _problem(state, fate) if fate.form == "problem" else _strange(state, fate)
    response.delay_s += fate.delay_s
    return response


def _end(state: State, fate: Fate) -> None:
    for order in state.orders:
        if order.status not in {"valid", "invalid"} and (not fate.name or fate.name in order.names):
            order.status, order.error = "invalid", problem(fate.type, fate.detail, fate.status)
            order.account.open_orders.pop((order.profile, frozenset(order.names)), None)


def _names(state: State, request: Request) -> frozenset[str]:
    """The names of the order that a request is about; none where it is about no order."""
    first, *rest = request.path[1:].split("/")
    number = int(rest[0]) if rest and rest[0].isdigit() else -1
    if first == "new-order":
        identifiers = (jose.payload(jose.parse(request.body)[0]) or {}).get("identifiers", [])
        return frozenset(each["value"] for each in identifiers)
    if first in {"order", "finalize"} and 0 <= number < len(state.orders):
        return frozenset(state.orders[number].names)
    if first in {"authz", "chall"} and 0 <= number < len(state.authorizations):
        return frozenset(name for order in state.authorizations[number].orders for name in order.names)
    if first == "cert" and 0 <= number < len(state.issued):
        return frozenset(state.issued[number].order.names)
    return frozenset()


def _problem(state: State, fate: Fate) -> Response:
    members = {"subproblems": list(fate.subproblems)} if fate.subproblems else {}
    response = problem_response(problem(fate.type, fate.detail, fate.status, **members), fate.status)
    response.headers = [*response.headers, ("Replay-Nonce", state.nonces.issue()), *_retry_after(fate)]
    return response


def _strange(state: State, fate: Fate) -> Response:
    compressed = [("Content-Encoding", "gzip")]
    answers = {
        "html": lambda: Response(status=fate.status, headers=[HTML, *_retry_after(fate)], body=MAINTENANCE),
        "oversize": lambda: Response(headers=[HTML], body=b" " * (2 << 20)),
        "endless": lambda: Response(headers=[HTML], endless=True),
        "redirect": lambda: Response(status=302, headers=[("Location", f"{state.base_url}/directory")]),
        "cut": lambda: Response(headers=[HTML], body=b"{" * 1000, cut=True),
        "drop": lambda: Response(cut=True, silent=True),
        "hold": lambda: Response(delay_s=FOR_EVER_S),
        "compressed": lambda: Response(headers=compressed, body=gzip.compress(b" " * (8 << 20))),
    }
    return answers[fate.form]()


def _retry_after(fate: Fate) -> list[tuple[str, str]]:
    return [] if fate.retry_after is None else [("Retry-After", orders.retry_after_header(fate.retry_after))]
