"""A hand-made ACME client: signs what it is told to and shows the bare answer. For tests of the CA itself."""

from __future__ import annotations

import asyncio
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256

from otscert.acme.jws import AccountKey
from otscert_agent.wire import b64
from tests.scripted_ca.obtain import make_csr
from tests.scripted_ca.server import ScriptedCa


def jws(key: ec.EllipticCurvePrivateKey, header: Mapping[str, object], payload: object) -> dict[str, Any]:
    """Return a flattened JWS with exactly this header."""
    protected, body = b64.encode(msgspec.json.encode(header)), b64.encode(msgspec.json.encode(payload))
    r, s = decode_dss_signature(key.sign(f"{protected}.{body}".encode(), ec.ECDSA(SHA256())))
    return {"protected": protected, "payload": body, "signature": b64.encode(r.to_bytes(32) + s.to_bytes(32))}


@dataclass(kw_only=True)
class Wire:
    """Sends hand-made requests as one account; `headers` are those of the last answer."""

    ca: ScriptedCa
    private: ec.EllipticCurvePrivateKey = field(default_factory=lambda: ec.generate_private_key(ec.SECP256R1()))
    number: int = 0
    """Of the account at the CA, from 0."""
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.key = AccountKey(self.private)
        self.trust = ssl.create_default_context(cadata=self.ca.trust_pem)

    def url(self, path: str) -> str:
        return f"{self.ca.state.base_url}/{path}"

    async def ask(self, path: str, payload: object, **changed: Any) -> tuple[int, dict[str, Any]]:
        """POST `payload`; `changed` replaces url, nonce or kid in the signed header, or the whole body."""
        nonce = changed.get("nonce", self.ca.state.nonces.issue())
        kid = changed.get("kid", self.url(f"acct/{self.number}"))
        signed = self.key.sign(url=changed.get("url", self.url(path)), nonce=nonce, payload=payload, kid=kid)
        headers = {"Content-Type": "application/jose+json", "User-Agent": "test"}
        request = urllib.request.Request(self.url(path), changed.get("body", signed), headers)  # noqa: S310 - our own
        return await asyncio.to_thread(self._send, request)

    async def get(self, path: str) -> tuple[int, dict[str, Any]]:
        return await asyncio.to_thread(self._send, urllib.request.Request(self.url(path)))  # noqa: S310 - our own

    async def manage(self, path: str, members: object = None) -> int:
        request = urllib.request.Request(self.url(f"management/{path}"), json.dumps(members).encode())  # noqa: S310 - our own
        return (await asyncio.to_thread(self._send, request))[0]

    def _send(self, request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(request, context=self.trust) as answer:  # noqa: S310 - our own https server
                return self._seen(answer, answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return self._seen(error, error.code)

    def _seen(self, answer: Any, status: int) -> tuple[int, dict[str, Any]]:
        self.headers = answer.headers
        body = answer.read()
        return status, json.loads(body) if "json" in answer.headers.get("Content-Type", "") else {"text": body}

    async def register(self) -> None:
        status, _ = await self.ask("new-account", {"termsOfServiceAgreed": True}, kid=None)
        assert status == 201

    async def order(self, names: Sequence[str], **members: object) -> tuple[int, dict[str, Any]]:
        identifiers = [{"type": "dns", "value": name} for name in names]
        return await self.ask("new-order", {"identifiers": identifiers, **members})

    async def issue(self, names: Sequence[str], **members: object) -> str:
        """Take an order through at a CA that passes every challenge; returns the ARI id of its certificate."""
        status, order = await self.order(names, **members)
        assert status == 201, order
        for url in order["authorizations"]:
            number = url.rsplit("/", 1)[1]
            assert (await self.ask(f"chall/{number}/dns-01", {}))[0] == 200
        path = order["finalize"].removeprefix(self.url(""))
        status, answer = await self.ask(path, {"csr": b64.encode(make_csr(names))})
        assert status == 200, answer
        return list(self.ca.state.by_ari_id)[-1]
