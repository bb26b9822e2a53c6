"""The floor under HQ's CPU per certificate: an asyncio ACME loop that does what RFC 8555 asks for and nothing else.

`python -m bench.floor` reads a `Plan` as JSON, orders, and says one line with its own CPU time. No store, no DNS, no
box, no checks beyond TLS: aiohttp, ES256, the nonce of the answer before. Written for the comparison only.
"""

from __future__ import annotations

import asyncio
import base64
import json
import resource
import ssl
import sys
from dataclasses import dataclass
from typing import Any

import aiohttp
import uvloop
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from tests.scripted_ca.obtain import make_csr

FIRST_POLL_S = 0.02
_ES256 = ec.ECDSA(hashes.SHA256())


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`count` certificates of `names` names each (1, or 2: the second is the wildcard), `at_once` of them at a time."""

    directory_url: str
    trust_file: str
    count: int
    names: int
    at_once: int


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


class BareClient:
    """Signed POSTs with one account key, and the newest nonce that is at hand."""

    def __init__(self, session: aiohttp.ClientSession) -> None:
        self._session = session
        self._key = ec.generate_private_key(ec.SECP256R1())
        numbers = self._key.public_key().public_numbers()
        coordinates = {"x": _b64(numbers.x.to_bytes(32, "big")), "y": _b64(numbers.y.to_bytes(32, "big"))}
        self._who: dict[str, Any] = {"jwk": {"kty": "EC", "crv": "P-256", **coordinates}}
        self._nonces: list[str] = []
        self._directory: dict[str, str] = {}

    async def register(self, directory_url: str) -> None:
        async with self._session.get(directory_url) as answer:
            self._directory = await answer.json()
        _, location, _ = await self.post(self._directory["newAccount"], {"termsOfServiceAgreed": True})
        self._who = {"kid": location}

    async def post(self, url: str, payload: object) -> tuple[bytes, str, int]:
        """Return the body, the Location and the status of the answer; a payload of None is POST-as-GET."""
        nonce = self._nonces.pop() if self._nonces else await self._new_nonce()
        header = _b64(json.dumps({"alg": "ES256", "nonce": nonce, "url": url, **self._who}).encode())
        content = "" if payload is None else _b64(json.dumps(payload).encode())
        r, s = decode_dss_signature(self._key.sign(f"{header}.{content}".encode(), _ES256))
        signature = _b64(r.to_bytes(32, "big") + s.to_bytes(32, "big"))
        body = json.dumps({"protected": header, "payload": content, "signature": signature}).encode()
        async with self._session.post(url, data=body) as answer:
            found = await answer.read()
            self._nonces.append(answer.headers["Replay-Nonce"])
            return found, answer.headers.get("Location", ""), answer.status

    async def certificate(self, names: list[str], csr: bytes) -> bytes:
        """Return the chain for `names`."""
        identifiers = [{"type": "dns", "value": name} for name in names]
        body, url, _ = await self.post(self._directory["newOrder"], {"identifiers": identifiers})
        order = json.loads(body)
        for authorization_url in order["authorizations"]:
            authorization = json.loads((await self.post(authorization_url, None))[0])
            challenge = next(each for each in authorization["challenges"] if each["type"] == "dns-01")
            await self.post(challenge["url"], {})
        await self._until(url, "ready")
        await self.post(order["finalize"], {"csr": _b64(csr)})
        finished = await self._until(url, "valid")
        return (await self.post(finished["certificate"], None))[0]

    async def _until(self, url: str, status: str) -> dict[str, Any]:
        delay_s = FIRST_POLL_S
        while True:
            await asyncio.sleep(delay_s)
            order: dict[str, Any] = json.loads((await self.post(url, None))[0])
            if order["status"] == status:
                return order
            delay_s *= 1.5

    async def _new_nonce(self) -> str:
        async with self._session.head(self._directory["newNonce"]) as answer:
            return answer.headers["Replay-Nonce"]


async def run(plan: Plan) -> dict[str, Any]:
    """Order everything and return the CPU ms per certificate, from after the registration on."""
    context = ssl.create_default_context(cafile=plan.trust_file)
    headers = {"User-Agent": "otscert-bench", "Content-Type": "application/jose+json"}
    connector = aiohttp.TCPConnector(ssl=context, limit=64)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        client = BareClient(session)
        await client.register(plan.directory_url)
        work = [_names_and_csr(number, plan.names) for number in range(plan.count)]
        room = asyncio.Semaphore(plan.at_once)

        async def one(names: list[str], csr: bytes) -> None:
            async with room:
                chain = await client.certificate(names, csr)
                if not chain.startswith(b"-----BEGIN CERTIFICATE-----"):
                    raise ValueError(f"this is no chain: {chain[:100]!r}")

        before = resource.getrusage(resource.RUSAGE_SELF)
        began_s = asyncio.get_running_loop().time()
        await asyncio.gather(*(one(*each) for each in work))
        after = resource.getrusage(resource.RUSAGE_SELF)
        wall_s = asyncio.get_running_loop().time() - began_s
    cpu_s = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {"cpu_ms": cpu_s * 1000 / plan.count, "per_s": plan.count / wall_s}


def _names_and_csr(number: int, count: int) -> tuple[list[str], bytes]:
    name = f"floor{number}-{count}.bench.example"
    names = [name, f"*.{name}"][:count]
    return names, make_csr(names)


def main() -> None:
    plan = Plan(**json.loads(sys.argv[1]))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(plan))), flush=True)


if __name__ == "__main__":
    main()
