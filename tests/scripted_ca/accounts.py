"""newAccount, account and orders list (RFC 8555 sections 7.3 and 7.1.2.1)."""

from __future__ import annotations

from typing import Any

from tests.scripted_ca import jose
from tests.scripted_ca.http import Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.state import Account, Signed, State, json_response

PAGE = 10


def create(state: State, signed: Signed) -> Response:
    if signed.jwk is None:
        raise AcmeProblem("malformed", "newAccount wants a jwk")
    members, thumbprint = signed.members(), jose.thumbprint(signed.jwk)
    known = state.accounts.get(thumbprint)
    if known is not None:
        return json_response(_document(state, known), 200, (("Location", known.url),))
    if members.get("onlyReturnExisting"):
        raise AcmeProblem("accountDoesNotExist", "no account has this key")
    if not members.get("termsOfServiceAgreed"):
        raise AcmeProblem("userActionRequired", "the terms are not agreed to", 403)
    account = Account(
        url=f"{state.base_url}/acct/{len(state.accounts)}",
        number=len(state.accounts),
        key=jose.public_key(signed.jwk),
        thumbprint=thumbprint,
        contact=list(members.get("contact", [])),
        eab_kid=_bound_to(state, signed, members),
    )
    state.accounts[thumbprint] = state.accounts_by_url[account.url] = account
    return json_response(_document(state, account), 201, (("Location", account.url),))


def check_valid(state: State, account: Account) -> None:
    """Refuse whatever a closed account asks; a paused one may do all but order."""
    status = state.script.accounts if state.script.accounts in {"deactivated", "revoked"} else account.status
    if status != "valid":
        raise AcmeProblem("unauthorized", f'Unable to validate JWS :: Account is not valid, has status "{status}"', 403)


def check_may_order(state: State, names: tuple[str, ...]) -> None:
    """Refuse the order of a paused account (Boulder: wfe2, probs.Paused), or before new terms are agreed to."""
    if state.script.accounts == "paused":
        visit = f"{state.base_url}/sfe/v1/unpause?jwt=eyJhbGciOiJIUzI1NiJ9.e30.c2NyaXB0ZWQ"
        paused = ", ".join(sorted({name.removeprefix("*.") for name in names}))
        text = f"Your account is temporarily prevented from requesting certificates for {paused} and possibly others."
        raise AcmeProblem("rateLimited", f"{text} Please visit: {visit}", 429)
    if state.script.terms_changed:  # RFC 8555 section 7.3.3
        terms = (("Link", f'<{state.base_url}/terms/2>;rel="terms-of-service"'),)
        instance = f"{state.base_url}/agreement/?token=W8Ih3PswD-8"
        text = "Terms of service have changed"
        raise AcmeProblem("userActionRequired", text, 403, headers=terms, instance=instance)


def show(state: State, signed: Signed) -> Response:
    if signed.who().url != signed.url:
        raise AcmeProblem("unauthorized", "another account", 403)
    return json_response(_document(state, signed.who()))


def orders(state: State, signed: Signed) -> Response:
    start = int(signed.path[1]) if len(signed.path) > 1 else 0
    listed = signed.who().orders[start : start + PAGE]
    more = start + PAGE < len(signed.who().orders)
    next_page = f'<{state.base_url}/orders/{signed.who().number}/{start + PAGE}>;rel="next"'
    urls = [f"{state.base_url}/order/{order.number}" for order in listed]
    return json_response({"orders": urls}, headers=(("Link", next_page),) if more else ())


def _bound_to(state: State, signed: Signed, members: dict[str, Any]) -> str | None:
    if not state.script.eab_keys:
        return None
    if "externalAccountBinding" not in members:
        raise AcmeProblem("externalAccountRequired", "bind the account to one of ours", 403)
    return jose.verify_binding(members["externalAccountBinding"], state.script.eab_keys, signed.url, signed.jwk or {})


def _document(state: State, account: Account) -> dict[str, Any]:
    document: dict[str, Any] = {"status": account.status, "contact": account.contact}
    if state.script.list_orders:
        document["orders"] = f"{state.base_url}/orders/{account.number}"
    return document
