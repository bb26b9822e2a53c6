"""One box through a year: it calls when HQ said, renews when told to, is off at times, and backs off as the agent.

It speaks to the use cases through HQ's conversation, with real keys, CSRs, epoch tokens and proofs; only the
envelope's signature is left out.
"""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from otscert.service.conversation import Request
from otscert_agent.backoff import Backoff
from otscert_agent.wire import b64, jws, kdf, messages, point
from otscert_agent.wire.keys import Signer
from otscert_agent.wire.problems import ProblemType
from tests.harness.box import make_csr
from tests.harness.hq import TOKEN
from tests.year.hq import HqAway, YearHq
from tests.year.virtual_time import VirtualClock

_POLL_AGAIN_S = 60.0
_FIRMWARE = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """One certificate on a box: its life, and when the box began to serve it. Unix seconds."""

    sha256: str
    not_before_s: int
    not_after_s: int
    since_s: int


class Unwelcome(Exception):
    """HQ answered with something else than what a box hopes for."""


@dataclass(slots=True, kw_only=True)
class YearBox:
    """`off` are the spans (from, until) in which it has no power or no network; sorted, apart from each other."""

    name: str
    model: str
    hq: YearHq
    clock: VirtualClock
    dice: random.Random
    on_s: int
    """When it is switched on for the first time."""
    off: Sequence[tuple[int, int]] = ()
    deaf: bool = False
    """It hears no command: what a verdict has to notice."""
    served: list[Served] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    _seqs: dict[str, int] = field(default_factory=dict)
    _identity: Signer = field(init=False)
    _epoch_token: str = ""
    _txid: str = ""
    _order_id: str = ""
    _waiting: bool = False

    def __post_init__(self) -> None:
        self._identity = Signer.from_seed(self.dice.randbytes(32))

    async def live(self) -> None:
        """Until the year ends."""
        backoff = Backoff(self.name.encode())
        await self._sleep(self.on_s - self.clock.now_s())
        wait_s = 0.0
        while True:
            await self._sleep(wait_s)
            try:
                wait_s = await self._go_on()
                backoff.reset()
            except HqAway:
                wait_s = backoff.next_s()
            except Unwelcome as error:
                self.complaints.append(f"{self.clock.now_s()}: {error}")
                wait_s = backoff.longest_s()

    def on_for_s(self, from_s: int, until_s: int, *, besides: Sequence[tuple[int, int]] = ()) -> int:
        """How long it had power and network in this span; `besides`: spans that do not count."""
        at_s, on_s = max(from_s, self.on_s), 0
        for start_s, end_s in sorted([*self.off, *besides]):
            on_s += max(0, min(start_s, until_s) - at_s)
            at_s = max(at_s, end_s)
        return on_s + max(0, until_s - at_s)

    async def _sleep(self, wait_s: float) -> None:
        """Wait; who is off then goes on in the moment in which he is on again."""
        await asyncio.sleep(max(0.0, wait_s))
        for start_s, end_s in self.off:
            if start_s <= self.clock.now_s() < end_s:
                await asyncio.sleep(end_s - self.clock.now_s())

    async def _go_on(self) -> float:
        """The next thing that a box does; returns the seconds until the one after it."""
        if self._waiting:
            return await self._collect()
        if not self._epoch_token:
            await self._enrol()
            return await self._collect()
        answer = await self._check_in()
        if not self.deaf and any(command["name"] in {"renew", "rekey"} for command in answer["commands"]):
            await self._enrol()
            return await self._collect()
        return float(answer["next_checkin_s"])

    async def _check_in(self) -> dict[str, Any]:
        message = messages.CheckIn(
            epoch_token=self._epoch_token,
            txid=b64.encode(self.dice.randbytes(messages.TXID_BYTES)),
            hardware_fingerprint=self.name,
            addresses=["192.168.1.20"],
            firmware=_FIRMWARE,
            agent="0.1",
            canary="00",
            served_sha256=self.served[-1].sha256 if self.served else None,
        )
        answer = await self._say("checkin", message, self._identity, expected=messages.CheckInAnswer.TYP)
        self._epoch_token = answer["epoch_token"]
        return answer

    async def _enrol(self) -> None:
        """Hello and enrolment, the first time or as a renewal with the identity key and the epoch token."""
        known = bool(self._epoch_token)
        hello_key = self._identity if known else Signer.from_seed(self.dice.randbytes(32))
        d0 = point.scalar_from_bytes(self.dice.randbytes(48))
        hello = messages.Hello(
            model=self.model,
            firmware=_FIRMWARE,
            hardware_fingerprint=self.name,
            nonce=b64.encode(self.dice.randbytes(messages.NONCE_BYTES)),
            d0=b64.encode(point.public_point(d0)),
            build_epoch=1_700_000_000,
            report=messages.SourceReport(source="jitter", crng="ready"),
            canary=self.dice.randbytes(32).hex(),
            epoch_token=self._epoch_token or None,
        )
        challenge = await self._say("hello", hello, hello_key, expected=messages.Challenge.TYP)
        txid = challenge["txid"]
        scalar = (d0 + point.parse_scalar(b64.decode(challenge["contribution"]["open"]))) % point.N
        bound = {"txid": txid, "thumbprint": self._identity.public.thumbprint()}
        binding = json.loads(jws.sign(hello_key, {"typ": messages.TYP_BINDING}, json.dumps(bound).encode()))
        proof = kdf.token_proof(TOKEN, b64.decode(txid), self._identity.public.thumbprint())
        enroll = messages.Enroll(
            txid=txid,
            csr=b64.encode(make_csr(scalar, list(challenge["names"]))),
            addresses=["192.168.1.20"],
            token_proof=None if known else b64.encode(proof),
            binding=None if known else binding,
            epoch_token=self._epoch_token or None,
        )
        granted = await self._say("enroll", enroll, self._identity, expected=messages.Granted.TYP)
        self._epoch_token, self._order_id = granted["epoch_token"], granted["order"].rsplit("/", 1)[1]
        self._waiting = True

    async def _collect(self) -> float:
        """Ask for the certificate; install it when it is there, and say so at a check-in soon after."""
        typ, payload = await self.hq.poll(self._request(None, self._identity), self._order_id)
        state = json.loads(payload)
        if typ != messages.OrderState.TYP:
            raise _unwelcome("poll", state)
        if state["status"] == "waiting":
            # As the agent: a poll that was held is followed by the next, one that says when by one then.
            return max(float(state.get("retry_after_s") or 0), _POLL_AGAIN_S)
        self._waiting = False
        if state["status"] == "failed":
            raise Unwelcome(f"order: {state['why']}")
        leaf = x509.load_pem_x509_certificates(state["chain"].encode())[0]
        self.served.append(
            Served(
                sha256=leaf.fingerprint(hashes.SHA256()).hex(),
                not_before_s=int(leaf.not_valid_before_utc.timestamp()),
                not_after_s=int(leaf.not_valid_after_utc.timestamp()),
                since_s=self.clock.now_s(),
            )
        )
        return 30.0

    async def _say(self, kind: str, message: Any, signer: Signer, *, expected: str) -> dict[str, Any]:
        typ, payload = await self.hq.say(kind, self._request(message, signer))
        answer: dict[str, Any] = json.loads(payload)
        if typ != expected:
            raise _unwelcome(kind, answer)
        return answer

    def _request(self, message: Any, signer: Signer) -> Request[Any]:
        thumbprint = signer.public.thumbprint()
        self._seqs[thumbprint] = self._seqs.get(thumbprint, 0) + 1
        return Request(
            message=message,
            key=signer.public,
            thumbprint=thumbprint,
            known=None,
            seq=self._seqs[thumbprint],
            digest=self.dice.randbytes(32),
            address="192.0.2.7",
            now_s=self.clock.now_s(),
        )


def _unwelcome(kind: str, answer: dict[str, Any]) -> Exception:
    if answer.get("type") == ProblemType.UNAVAILABLE.value:
        return HqAway()
    return Unwelcome(f"{kind}: {answer.get('detail') or answer}")
