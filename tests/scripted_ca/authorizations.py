"""Authorizations and challenges (RFC 8555 section 7.5): dns-01, looked up for real when the CA has a DNS server."""

from __future__ import annotations

import base64
import hashlib
import secrets
from typing import Any

from tests.scripted_ca import limits
from tests.scripted_ca.dns_check import DnsCheckError
from tests.scripted_ca.http import Response
from tests.scripted_ca.problems import AcmeProblem, problem
from tests.scripted_ca.state import Account, Authorization, Order, Signed, State, json_response, numbered


def for_name(state: State, account: Account, name: str) -> Authorization:
    """Return the account's valid authorization for `name` where the script reuses them, else a new one."""
    key = (name.removeprefix("*."), name.startswith("*."))
    known = account.authorizations.get(key)
    if known is not None and state.script.reuse_authorizations and known.status == "valid":
        return known
    authorization = Authorization(
        number=len(state.authorizations), account=account, name=key[0], wildcard=key[1], token=secrets.token_urlsafe(32)
    )
    state.authorizations.append(authorization)
    account.authorizations[key] = authorization
    return authorization


def settle(order: Order) -> None:
    """Move a pending order to `ready` or `invalid` when its authorizations say so (RFC 8555 section 7.1.6)."""
    failed = [each for each in order.authorizations if each.status == "invalid"]
    if order.status == "pending" and failed:
        order.status, order.error = "invalid", failed[0].error
        order.account.open_orders.pop((order.profile, frozenset(order.names)), None)
    elif order.status == "pending" and all(each.status == "valid" for each in order.authorizations):
        order.status = "ready"


def show(state: State, signed: Signed) -> Response:
    return json_response(_document(state, _mine(state, signed)))


def answer(state: State, signed: Signed) -> Response:
    authorization = _mine(state, signed)
    if signed.members() != {} or signed.path[1:] != ["dns-01"]:
        raise AcmeProblem("malformed", "this CA takes {} at a dns-01 challenge")
    if not authorization.answered:
        authorization.answered = True
        if state.dns is None:
            _end(state, authorization, state.script.validation_problem)
        else:
            state.in_background(_validate(state, authorization))
    up = f'<{state.base_url}/authz/{authorization.number}>;rel="up"'
    return json_response(_challenge(state, authorization, "dns-01"), headers=(("Link", up),))


async def _validate(state: State, authorization: Authorization) -> None:
    assert state.dns is not None
    name = f"_acme-challenge.{authorization.name}"
    try:
        values = await state.dns.txt(name, patience_s=state.script.dns_patience_s)
    except DnsCheckError as error:
        _end(state, authorization, problem("dns", f"{name}: {error}", 400))
        return
    found = expected_value(authorization) in values
    wrong = problem("unauthorized", f"none of {len(values)} TXT values at {name} is the right one", 403)
    _end(state, authorization, state.script.validation_problem if found else wrong)


def expected_value(authorization: Authorization) -> bytes:
    key_authorization = f"{authorization.token}.{authorization.account.thumbprint}".encode()
    return base64.urlsafe_b64encode(hashlib.sha256(key_authorization).digest()).rstrip(b"=")


def _end(state: State, authorization: Authorization, error: dict[str, Any] | None) -> None:
    authorization.status = "valid" if error is None else "invalid"
    authorization.error = error
    if error is not None:
        limits.count_failure(state, authorization.account, authorization.name)
    for order in authorization.orders:
        settle(order)


def _mine(state: State, signed: Signed) -> Authorization:
    authorization = numbered(signed.path[0], state.authorizations)
    assert isinstance(authorization, Authorization)
    if authorization.account is not signed.who():
        raise AcmeProblem("unauthorized", "the authorization is another account's", 403)
    return authorization


def _document(state: State, authorization: Authorization) -> dict[str, Any]:
    kinds = ["dns-01"] if authorization.wildcard else ["http-01", "dns-01"]
    challenges: list[Any] = [_challenge(state, authorization, kind) for kind in kinds]
    if state.script.strange_members:
        persist = {"type": "dns-persist-01", "status": "pending", "issuer-domain-names": ["ca.example"]}
        challenges = [persist, {"type": "telepathy-01", "status": "dreaming"}, "not an object", None, *challenges]
    document: dict[str, Any] = {
        "status": authorization.status,
        "identifier": {"type": "dns", "value": authorization.name},
        "challenges": challenges,
    }
    if authorization.wildcard:
        document["wildcard"] = True
    return document


def _challenge(state: State, authorization: Authorization, kind: str) -> dict[str, Any]:
    mine = kind == "dns-01"
    waiting = "processing" if authorization.answered and mine else "pending"
    document: dict[str, Any] = {
        "type": kind,
        "url": f"{state.base_url}/chall/{authorization.number}/{kind}",
        "status": waiting if authorization.status == "pending" or not mine else authorization.status,
        "token": authorization.token,
    }
    if authorization.error is not None and mine:
        document["error"] = authorization.error
    return document
