"""Renewal information and `replaces` (RFC 9773), with Boulder's windows and Boulder's reasons to refuse."""

from __future__ import annotations

import datetime as dt

from otscert.acme.certificate import ari_id
from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.state import Account, Issued, State, json_response

SHORT_LIFE = dt.timedelta(days=10)
REPLACING = frozenset({"pending", "ready", "processing", "valid"})


def show(state: State, request: Request) -> Response:
    issued = _find(state, request.path.rsplit("/", 1)[1])
    document = state.script.renewal_info or {"suggestedWindow": _window(issued)}
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
    if any(order.replaces == replaces and order.status in REPLACING for order in state.orders):
        raise AcmeProblem("alreadyReplaced", f"{replaces} is replaced already", 409)
    return str(replaces)


def _find(state: State, wanted: object) -> Issued:
    """Look the certificate up by its ARI id, made by the product itself; Pebble is the judge of that one."""
    for issued in state.issued:
        if ari_id(issued.certificate) == wanted:
            return issued
    raise AcmeProblem("malformed", "no certificate has this id", 404)


def _window(issued: Issued) -> dict[str, str]:
    if issued.revoked is not None:
        now = dt.datetime.now(dt.UTC)
        return _said(now - dt.timedelta(hours=1), now - dt.timedelta(minutes=30))
    certificate = issued.certificate
    life = certificate.not_valid_after_utc - certificate.not_valid_before_utc + dt.timedelta(seconds=1)
    middle = certificate.not_valid_after_utc - (life / 2 if life < SHORT_LIFE else life / 3)
    return _said(middle - life / 100, middle + life / 100)


def _said(start: dt.datetime, end: dt.datetime) -> dict[str, str]:
    return {"start": start.isoformat().replace("+00:00", "Z"), "end": end.isoformat().replace("+00:00", "Z")}
