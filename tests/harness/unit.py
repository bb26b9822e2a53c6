"""A stamped unit by hand: a `Box` whose hello key is the unit's factory key, and whose HQ seals to it."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field
from typing import Any

from otscert.domain import setup_code
from otscert.domain.admission import Policy
from otscert.domain.unit import Unit, UnitState
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.factory import Factory
from tests.harness.box import Box, Reply
from tests.harness.hq import RunningHq, make_model

MODEL = "stamped"
CODE = "ABCDEFGH2345"


def stamped_model(**changes: Any) -> Any:
    return make_model(MODEL, **{"policies": (Policy.FACTORY,), **changes})


def stamp(serial: str, *, model: str = MODEL) -> tuple[Factory, Unit]:
    """A factory secret, and the row that its manifest brings to HQ."""
    factory = Factory.from_bytes(secrets.token_bytes(32))
    unit = Unit(
        thumbprint=factory.public.thumbprint(),
        model=model,
        serial=serial,
        short_id=f"short-{serial}",
        sign_key=factory.public.sign.raw,
        seal_key=factory.seal_public,
        setup_hash=setup_code.hash_code(CODE, model=model, serial=serial),
        batch="first",
        state=UnitState.STAMPED,
        device_id=None,
        fingerprint=None,
    )
    return factory, unit


async def import_units(hq: RunningHq, *units: Unit) -> None:
    await hq.store.write(lambda transaction: transaction.units.add_many(units, now_s=hq.hq.now_s()))


@dataclass(slots=True, kw_only=True)
class UnitBox(Box):
    """One board with a factory secret. `reset` is the owner's factory reset: identity and keys are gone."""

    factory: Factory
    model: str = MODEL
    digest: bytes = b""
    opened: list[str] = field(default_factory=list)
    """How each contribution came: sealed | open."""

    def __post_init__(self) -> None:
        self.hello_key = self.factory.signer()

    def reset(self) -> None:
        self.identity = Box(hq=self.hq, session=self.session).identity
        self.challenge, self.epoch_token, self.order_url = {}, "", ""

    async def post(self, path: str, body: bytes) -> Reply:
        if path == messages.PATH_HELLO:
            self.digest = jws.parse(body).digest()
        return await Box.post(self, path, body)

    def hello_message(self, **changes: Any) -> dict[str, Any]:
        used = {"report": {"source": "jitter", "crng": "ready", "used": ["kernel", "factory"]}}
        return Box.hello_message(self, **(used | changes))

    def take_challenge(self, reply: Reply) -> Reply:
        if reply.typ == messages.Challenge.TYP:
            self.challenge = reply.message
            contribution = reply.message["contribution"]
            self.opened.append("sealed" if contribution.get("sealed") else "open")
            self.r = self.factory.open(
                b64.decode(contribution["sealed"]),
                txid=b64.decode(reply.message["txid"]),
                hello_digest=self.digest,
            )
        return reply
