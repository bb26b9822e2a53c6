"""keyChange (RFC 8555 section 7.3.5): the account's key replaced by another, both having signed."""

from __future__ import annotations

import msgspec

from tests.scripted_ca import jose
from tests.scripted_ca.http import Response
from tests.scripted_ca.problems import AcmeProblem
from tests.scripted_ca.state import Signed, State, json_response


def change(state: State, signed: Signed) -> Response:
    account = signed.who()
    envelope, header = jose.parse(msgspec.json.encode(signed.members()))
    if header.jwk is None or header.kid is not None or header.nonce is not None or header.url != signed.url:
        raise AcmeProblem("malformed", "the inner JWS has the new key as jwk, the outer url, and no nonce")
    new_key = jose.public_key(header.jwk)
    jose.verify(envelope, new_key)
    said = jose.payload(envelope) or {}
    if said.get("account") != account.url:
        raise AcmeProblem("malformed", "the inner JWS names another account")
    if jose.thumbprint(_old_key(said)) != account.thumbprint:
        raise AcmeProblem("malformed", "oldKey is not the account's key")
    thumbprint = jose.thumbprint(header.jwk)
    holder = state.accounts.get(thumbprint)
    if holder is not None:
        taken = (("Location", holder.url),)
        raise AcmeProblem("conflict", "an account has the new key already", 409, headers=taken)
    del state.accounts[account.thumbprint]
    account.key, account.thumbprint = new_key, thumbprint
    state.accounts[thumbprint] = account
    state.ledger.write("keyChange", account=account.url, order="", names=())
    return json_response({"status": account.status}, headers=(("Location", account.url),))


def _old_key(said: dict[str, object]) -> dict[str, object]:
    old_key = said.get("oldKey")
    if not isinstance(old_key, dict):
        raise AcmeProblem("malformed", "there is no oldKey")
    jose.public_key(old_key)
    return old_key
