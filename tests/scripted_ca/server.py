"""The CA as a whole: routes, envelope checks, scripted fates, and its life as a server on loopback."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from tests.scripted_ca import accounts, authorizations, certificates, directory, jose, management, orders, renewal_info
from tests.scripted_ca.dns_check import TxtResolver
from tests.scripted_ca.http import HttpProtocol, Request, Response
from tests.scripted_ca.ledger import Ledger
from tests.scripted_ca.pki import OwnHttps
from tests.scripted_ca.problems import AcmeProblem, problem, problem_response
from tests.scripted_ca.script import Fate, Script
from tests.scripted_ca.state import Signed, State

Post = Callable[[State, Signed], Response]
PLAIN = {
    "directory": ("directory", directory.show),
    "new-nonce": ("newNonce", directory.new_nonce),
    "renewal-info": ("renewalInfo", renewal_info.show),
}
POSTS: dict[str, tuple[str, Post]] = {
    "new-account": ("newAccount", accounts.create),
    "acct": ("account", accounts.show),
    "orders": ("orders", accounts.orders),
    "new-order": ("newOrder", orders.create),
    "order": ("order", orders.show),
    "finalize": ("finalize", orders.finalize),
    "authz": ("authorization", authorizations.show),
    "chall": ("challenge", authorizations.answer),
    "cert": ("certificate", certificates.show),
    "revoke-cert": ("revokeCert", certificates.revoke),
}
ALWAYS_VERIFIED = frozenset({"newAccount", "newOrder", "finalize", "revokeCert"})
_OBJECT = msgspec.json.Decoder(dict[str, Any])


class ScriptedCa:
    """A running CA. `trust_pem` is the root of its HTTPS, `roots` those of what it issues."""

    def __init__(self, script: Script, dns: TxtResolver | None) -> None:
        self._https = OwnHttps()
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self.state = State(script, "", dns)
        self.trust_pem = self._https.root_pem

    @property
    def directory_url(self) -> str:
        return f"{self.state.base_url}/directory"

    @property
    def ledger(self) -> Ledger:
        return self.state.ledger

    @property
    def roots(self) -> list[str]:
        return self.state.issuance.roots

    def follow(self, script: Script) -> None:
        management.follow(self.state, script)

    async def listen(self, host: str, port: int) -> None:
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpProtocol(self.handle, self._connections), host, port, ssl=self._https.context, backlog=1024
        )
        self.state.base_url = f"https://localhost:{self._server.sockets[0].getsockname()[1]}"

    async def aclose(self) -> None:
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*(connection.abort() for connection in tuple(self._connections)))
        await self.state.end()
        if self.state.dns is not None:
            await self.state.dns.aclose()

    def handle(self, request: Request) -> Response:
        first, *rest = request.path[1:].split("/")
        if first == "management":
            return management.handle(self.state, request)
        resource = PLAIN[first][0] if first in PLAIN else POSTS[first][0] if first in POSTS else ""
        self.ledger.requests[resource] += 1
        fate = self.state.fates.next(resource)
        if fate is not None and not fate.acts:
            response = self._fated(fate)
        else:
            response = self._act(first, rest, request)
            response = response if fate is None else self._fated(fate)
        response.delay_s = self.state.script.answer_delay_s
        return response

    def _act(self, first: str, rest: list[str], request: Request) -> Response:
        try:
            if first in PLAIN and request.method in {"GET", "HEAD"}:
                return PLAIN[first][1](self.state, request)
            if first not in POSTS or request.method != "POST":
                return problem_response(problem("malformed", "there is no such resource", 404), 404)
            resource, act = POSTS[first]
            response = act(self.state, self._checked(request, resource, rest))
        except AcmeProblem as refusal:
            response = problem_response(refusal.document, refusal.status)
        response.headers = [*response.headers, ("Replay-Nonce", self.state.nonces.issue())]
        return response

    def _checked(self, request: Request, resource: str, rest: list[str]) -> Signed:
        """Check what RFC 8555 section 6 wants of every POST, in the order in which Boulder does."""
        if request.headers.get("content-type") != "application/jose+json":
            raise AcmeProblem("malformed", "the content type is not application/jose+json", 415)
        if not request.headers.get("user-agent"):
            raise AcmeProblem("malformed", "there is no User-Agent")
        envelope, header = jose.parse(request.body)
        url = self.state.base_url + request.path
        if header.alg != "ES256":
            raise AcmeProblem("badSignatureAlgorithm", "ES256 only", algorithms=["ES256"])
        if header.url != url:
            raise AcmeProblem("unauthorized", f"the signed URL is {header.url!r}", 401)
        if (header.kid is None) == (header.jwk is None):
            raise AcmeProblem("malformed", "exactly one of kid and jwk is wanted")
        account = None if header.kid is None else self.state.accounts_by_url.get(header.kid)
        if header.kid is not None and account is None:
            raise AcmeProblem("accountDoesNotExist", f"no account {header.kid}")
        if account is None or resource in ALWAYS_VERIFIED or self.state.script.verify_all:
            jose.verify(envelope, account.key if account else jose.public_key(header.jwk or {}))
        if header.nonce is None or not self.state.nonces.redeem(header.nonce):
            raise AcmeProblem("badNonce", "the nonce is not (or no longer) good")
        return Signed(url=url, path=rest, payload=_payload(envelope), jwk=header.jwk, account=account)

    def _fated(self, fate: Fate) -> Response:
        retry_after = [] if fate.retry_after is None else [("Retry-After", orders.retry_after_header(fate.retry_after))]
        nonce = ("Replay-Nonce", self.state.nonces.issue())
        html = ("Content-Type", "text/html")
        match fate.form:
            case "problem":
                members = {"subproblems": list(fate.subproblems)} if fate.subproblems else {}
                response = problem_response(problem(fate.type, fate.detail, fate.status, **members), fate.status)
                response.headers = [*response.headers, nonce, *retry_after]
            case "html":
                page = b"<html><body><h1>Service down for maintenance</h1></body></html>"
                response = Response(status=fate.status, headers=[html, *retry_after], body=page)
            case "oversize":
                response = Response(headers=[html], body=b" " * (2 << 20))
            case "endless":
                response = Response(headers=[html], endless=True)
            case "redirect":
                response = Response(status=302, headers=[("Location", f"{self.state.base_url}/directory")])
            case "cut":
                response = Response(headers=[html], body=b"{" * 1000, cut=True)
            case "drop":
                response = Response(cut=True, silent=True)
            case "compressed":
                response = Response(headers=[("Content-Encoding", "gzip")], body=gzip.compress(b" " * (8 << 20)))
        return response


def _payload(envelope: jose.Envelope) -> dict[str, Any] | None:
    if not envelope.payload:
        return None
    try:
        return _OBJECT.decode(jose.unb64(envelope.payload))
    except msgspec.MsgspecError:
        raise AcmeProblem("malformed", "the payload is not a JSON object") from None


@asynccontextmanager
async def start_scripted_ca(
    script: Script | None = None,
    *,
    dns_server: tuple[str, int] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
) -> AsyncIterator[ScriptedCa]:
    """Run a CA on this event loop; without a `dns_server` every challenge is taken as passed."""
    dns = None if dns_server is None else await TxtResolver.open(*dns_server)
    ca = ScriptedCa(script or Script(), dns)
    await ca.listen(host, port)
    try:
        yield ca
    finally:
        await ca.aclose()
