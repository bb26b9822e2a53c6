"""The directory and newNonce (RFC 8555 sections 7.1.1 and 7.2)."""

from __future__ import annotations

from typing import Any

from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.state import State, json_response


def show(state: State, request: Request) -> Response:
    del request
    base = state.base_url.replace("https:", "http:") if state.script.http_urls else state.base_url
    document: dict[str, Any] = {
        "newNonce": f"{base}/new-nonce",
        "newAccount": f"{base}/new-account",
        "newOrder": f"{base}/new-order",
        "revokeCert": f"{base}/revoke-cert",
        "keyChange": f"{base}/key-change",
        "renewalInfo": f"{base}/renewal-info",
        "meta": {
            "termsOfService": f"{base}/terms/2" if state.script.terms_changed else f"{base}/terms",
            "caaIdentities": ["ca.example"],
            "externalAccountRequired": bool(state.script.eab_keys),
            "profiles": {name: f"{life_s} s" for name, life_s in state.script.profiles.items()},
        },
    }
    return json_response({name: value for name, value in document.items() if name not in state.script.leave_out})


def new_nonce(state: State, request: Request) -> Response:
    headers = [("Replay-Nonce", state.nonces.issue()), ("Cache-Control", "no-store")]
    return Response(status=200 if request.method == "HEAD" else 204, headers=headers)
