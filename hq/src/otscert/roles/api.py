"""The role api: answers boxes, over HTTPS under HQ's own root."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass

from otscert.api.device.routes import DeviceApi
from otscert.api.room import Room, room_for_files
from otscert.api.server import HttpsServer
from otscert.pki.answers import AnswerSigner
from otscert.pki.certificates import KeyPair
from otscert.roles.parts import Parts, Works, port_problem
from otscert.service.admitting import Admitting
from otscert.service.checkin import CheckingIn
from otscert.service.conversation import Conversation
from otscert.service.enroll import Enrolment
from otscert.service.hello import SayingHello
from otscert.service.key_checks import KeyChecks
from otscert.service.own_leaves import OwnLeaves
from otscert.service.polling import OrderPolling
from otscert.service.waiting import Waiting


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningApi:
    """The device API while it listens."""

    addresses: tuple[tuple[str, int], ...]
    room: Room
    works: Works


async def start_api(parts: Parts, stack: AsyncExitStack) -> RunningApi:
    """Listen for boxes; raise `CannotStart` or `PkiError`."""
    config, hq, store, signals, pki = parts.config, parts.hq, parts.store, parts.signals, parts.pki
    signer = AnswerSigner(pki.answer())
    conversation = Conversation(hq=hq, store=store, signer=signer, seal=parts.seal)
    api = DeviceApi(
        conversation=conversation,
        hello=SayingHello(hq=hq),
        enroll=Enrolment(
            hq=hq,
            zone=parts.zone,
            signals=signals,
            admitting=Admitting(hq=hq, waiting=Waiting(hq=hq, seal=parts.seal, signals=signals)),
            keys=KeyChecks(store),
        ),
        checkin=CheckingIn(hq=hq, zone=parts.zone, seal=parts.seal, signals=signals),
        orders=OrderPolling(hq=hq, store=store, signals=signals, conversation=conversation, zone=parts.zone),
        trusted_proxies=config.trusted_proxies,
        counts=parts.counts.messages,
    )
    room = Room(most=room_for_files(), exempt=config.trusted_proxies)
    addresses, servers = await _listen(parts, api, room, stack)

    def take_up(answer: KeyPair) -> None:
        for server in servers:
            server.reload_certificate()
        signer.replace(answer)

    leaves = OwnLeaves(pki=pki, hosts=(config.public_host,), store=store, clock=hq.clock, take_up=take_up)
    return RunningApi(addresses=addresses, room=room, works=[leaves.keep])


async def _listen(
    parts: Parts, api: DeviceApi, room: Room, stack: AsyncExitStack
) -> tuple[tuple[tuple[str, int], ...], list[HttpsServer]]:
    app, taken, servers = api.app(), [], []
    for host, port in parts.config.listen_device:
        server = HttpsServer(app, host=host, port=port, certificate=parts.pki.tls_pem, room=room)
        try:
            taken.append((host, await server.start()))
        except OSError as error:
            raise port_problem("the device API", "listen.device", host, port, error) from error
        stack.push_async_callback(server.stop)
        servers.append(server)
    return tuple(taken), servers
