"""What tests ask the CA beside ACME, unsigned, under /management: ledger, counts, roots; and a new script."""

from __future__ import annotations

import msgspec

from tests.scripted_ca.http import Request, Response
from tests.scripted_ca.nonces import Nonces
from tests.scripted_ca.script import Fates, Script
from tests.scripted_ca.state import State, json_response


def handle(state: State, request: Request) -> Response:
    match (request.method, request.path.removeprefix("/management")):
        case ("GET", "/ledger"):
            return json_response({"entries": state.ledger.entries, "requests": dict(state.ledger.requests)})
        case ("GET", "/roots"):
            return Response(body="".join(state.issuance.roots).encode("ascii"))
        case ("POST", "/script"):
            try:
                script = msgspec.json.decode(request.body, type=Script)
            except msgspec.MsgspecError as error:
                return Response(status=400, body=str(error).encode())
            follow(state, script)
            return Response(status=204)
        case _:
            return Response(status=404)


def follow(state: State, script: Script) -> None:
    """Behave by `script` from now on; `alternates` stay as they were at the start, the chains exist already."""
    state.script = script
    state.fates = Fates(script.fates)
    state.nonces = Nonces(script.reject_nonce_every)
