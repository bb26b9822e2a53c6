"""The CA as a whole: routes, envelope checks, scripted fates, and its life as a server on loopback."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from tests.scripted_ca import (
    accounts,
    authorizations,
    certificates,
    directory,
    jose,
    key_change,
    limits,
    management,
    misfortune,
    orders,
    renewal_info,
)
from tests.scripted_ca.dns_check import TxtResolver
from tests.scripted_ca.http import HttpProtocol, Request, Response
from tests.scripted_ca.ledger import Ledger
from tests.scripted_ca.management import Window
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
    "key-change": ("keyChange", key_change.change),
}
ALWAYS_VERIFIED = frozenset({"newAccount", "newOrder", "finalize", "revokeCert", "keyChange"})


class ScriptedCa:
    """A running CA. `trust_pem` is the root of its HTTPS, `roots` those of what it issues."""

    def __init__(self, script: Script, dns: TxtResolver | None, clock: Callable[[], float] = time.time) -> None:
        self._https = OwnHttps()
        self._connections: set[HttpProtocol] = set()
        self._server: asyncio.Server | None = None
        self.state = State(script, "", dns, clock)
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

    def move_window(self, start_in_s: float, end_in_s: float, *, ari_id: str = "") -> None:
        """From now on suggest this window, relative to now, for one certificate or (by "") for all."""
        management.move_window(self.state, Window(start_in_s=start_in_s, end_in_s=end_in_s, ari_id=ari_id))

    def add_fates(self, *fates: Fate) -> None:
        """Let these be met too, beside those of the script."""
        self.state.fates.add(*fates)

    def forget_accounts(self) -> None:
        """Know none of the accounts any more, nor their keys."""
        management.forget_accounts(self.state)

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
        response = limits.at_load_balancer(self.state, resource)
        if response is None:
            response = misfortune.answer(self.state, resource, request, lambda: self._act(first, rest, request))
        response.delay_s += self.state.script.answer_delay_s
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
            response.headers = [*response.headers, *refusal.headers]
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
        if account is not None:
            accounts.check_valid(self.state, account)
        return Signed(url=url, path=rest, payload=jose.payload(envelope), jwk=header.jwk, account=account)


@asynccontextmanager
async def start_scripted_ca(
    script: Script | None = None,
    *,
    dns_server: tuple[str, int] | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    clock: Callable[[], float] = time.time,
) -> AsyncIterator[ScriptedCa]:
    """Run a CA on this event loop; without a `dns_server` every challenge is taken as passed."""
    dns = None if dns_server is None else await TxtResolver.open(*dns_server)
    ca = ScriptedCa(script or Script(), dns, clock)
    await ca.listen(host, port)
    try:
        yield ca
    finally:
        await ca.aclose()
