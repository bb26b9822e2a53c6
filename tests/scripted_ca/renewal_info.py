"""Renewal information and `replaces` (RFC 9773), with Boulder's windows and Boulder's reasons to refuse."""

from __future__ import annotations

import datetime as dt

from otscert.acme.certificate import ari_id
from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.script import Exempt
from tests.scripted_ca.state import Account, Issued, State, json_response

SHORT_LIFE = dt.timedelta(days=10)
REPLACING = frozenset({"pending", "ready", "processing", "valid"})


def show(state: State, request: Request) -> Response:
    issued = _find(state, request.path.rsplit("/", 1)[1])
    own = {"suggestedWindow": _said(*_window(state, issued))}
    document = state.windows.get(_id(issued)) or state.windows.get("") or state.script.renewal_info or own
    retry_after = state.script.renewal_retry_after
    return json_response(document, headers=() if retry_after is None else (("Retry-After", retry_after),))


def checked(state: State, account: Account, names: tuple[str, ...], replaces: object) -> str | None:
    """Return `replaces` when an order of this account for these names may have it."""
    if replaces is None:
        return None
    issued = _find(state, replaces)
    if issued.order.account is not account:
        raise AcmeProblem("unauthorized", "the replaced certificate is another account's", 403)
    if not set(names) & set(issued.order.names):
        raise AcmeProblem("malformed", "the replaced certificate has none of the order's names")
    if any(order.status in REPLACING for order in state.replacing.get(str(replaces), ())):
        raise AcmeProblem("alreadyReplaced", f"{replaces} is replaced already", 409)
    return str(replaces)


def _find(state: State, wanted: object) -> Issued:
    """Look the certificate up by its ARI id, made by the product itself; Pebble is the judge of that one."""
    issued = state.by_ari_id.get(str(wanted))
    if issued is None:
        raise AcmeProblem("malformed", "no certificate has this id", 404)
    return issued


def _id(issued: Issued) -> str:
    return ari_id(issued.certificate) or ""


def remember(state: State, issued: Issued) -> None:
    state.by_ari_id[_id(issued)] = issued


def exemption(state: State, names: tuple[str, ...], replaces: str | None) -> Exempt:
    """Which limits an order with this (checked) `replaces` does not count against.

    Inside the window that is suggested for the replaced certificate: all. For names that had a certificate before:
    those on orders and on the registered domain (Boulder: wfe2, validateReplacementOrder, checkNewOrderLimits).
    """
    if replaces is not None:
        start, end = _suggested(state, _find(state, replaces))
        if start <= state.now() < end:
            return "ari window"
    return "same names" if frozenset(names) in state.names_issued else ""


def _suggested(state: State, issued: Issued) -> tuple[dt.datetime, dt.datetime]:
    moved = state.windows.get(_id(issued)) or state.windows.get("")
    if moved is None:
        return _window(state, issued)
    window = moved["suggestedWindow"]
    return dt.datetime.fromisoformat(window["start"]), dt.datetime.fromisoformat(window["end"])


def _window(state: State, issued: Issued) -> tuple[dt.datetime, dt.datetime]:
    if issued.revoked is not None:
        return state.now() - dt.timedelta(hours=1), state.now() - dt.timedelta(minutes=30)
    certificate = issued.certificate
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc + dt.timedelta(seconds=1)
    middle = certificate.not_valid_after_utc - (life / 2 if life < SHORT_LIFE else life / 3)
    return middle - life / 100, middle + life / 100


def _said(start: dt.datetime, end: dt.datetime) -> dict[str, str]:
    return {"start": start.isoformat().replace("+00:00", "Z"), "end": end.isoformat().replace("+00:00", "Z")}
