"""NOTIFY (RFC 1996): secondaries are told that the zone changed, each by itself, until it says that it heard.

Knows UDP, times and what each server said last. Does not know what changed: a secondary asks for that.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from otscert.zones import wire
from otscert.zones.errors import TsigError, ZoneError
from otscert.zones.rrs import written
from otscert.zones.tsig import Signer, TsigKey, made
from otscert.zones.zone import Zone

_OPCODE_NOTIFY = 0x20
# Changes that come closer together are told once.
_SHORTEST_INTERVAL_S = 0.1
_FIRST_WAIT_S = 1.0
_LONGEST_WAIT_S = 60.0
# Datagrams are lost; after so many without an answer it is the server.
_SILENT_AFTER = 3
_log = logging.getLogger(__name__)


@dataclass(slots=True, kw_only=True)
class Told:
    """A server of a secondary, and what it has heard of: `acknowledged` is None until it has answered once."""

    secondary: str
    server: tuple[str, int]
    key: TsigKey = field(repr=False)
    acknowledged: int | None = None
    unanswered: int = 0
    """NOTIFYs since its last answer."""
    behind_since_s: int | None = None
    """Unix time of the first change that it has not acknowledged; None: it has acknowledged the zone's serial."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """How far a server is; `acknowledged` is None until it has answered once, `behind_s` 0 when it has all."""

    secondary: str
    server: str
    """As in `host:port`."""
    acknowledged: int | None
    behind_s: int


class Notifier:
    """Tells every server in `servers` of every serial, at the start too. `now_s` is Unix time."""

    def __init__(self, zone: Zone, servers: Iterable[Told], *, now_s: Callable[[], int]) -> None:
        self.servers = tuple(servers)
        self._zone = zone
        self._now_s = now_s
        self._moved = [asyncio.Event() for _ in self.servers]
        zone.on_move(self._wake)
        self._fall_behind()

    def standings(self) -> list[Standing]:
        """How far every server is now."""
        now_s = self._now_s()
        return [
            Standing(
                secondary=told.secondary,
                server=_address(told),
                acknowledged=told.acknowledged,
                behind_s=0 if told.behind_since_s is None else max(0, now_s - told.behind_since_s),
            )
            for told in self.servers
        ]

    async def work(self) -> None:
        """Tell them until cancelled."""
        async with asyncio.TaskGroup() as group:
            for told, moved in zip(self.servers, self._moved, strict=True):
                group.create_task(self._keep_told(told, moved))

    def _fall_behind(self) -> None:
        for told in self.servers:
            if told.behind_since_s is None:
                told.behind_since_s = self._now_s()

    def _wake(self) -> None:
        self._fall_behind()
        for moved in self._moved:
            moved.set()

    async def _keep_told(self, told: Told, moved: asyncio.Event) -> None:
        while True:
            moved.clear()
            serial = self._zone.serial
            if told.acknowledged != serial:
                await self._tell(told, serial)
                # While it is silent, more changes are no reason to ask more often.
                if told.unanswered:
                    continue
                await asyncio.sleep(_SHORTEST_INTERVAL_S)
            await moved.wait()

    async def _tell(self, told: Told, serial: int) -> None:
        """Send one NOTIFY and wait for its answer, longer each time."""
        wait_s = min(_FIRST_WAIT_S * 2 ** min(told.unanswered, 10), _LONGEST_WAIT_S)
        begin_s = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(wait_s):
                await self._exchange(told)
        except (TimeoutError, OSError, ZoneError) as error:
            told.unanswered += 1
            if told.unanswered == _SILENT_AFTER:
                reason = str(error) or "it does not answer"
                _log.warning("zone.secondary_silent", extra={**_shown(told), "reason": reason})
            # What failed at once (no route, a wrong key) is tried again no sooner than what was not answered.
            await asyncio.sleep(begin_s + wait_s - asyncio.get_running_loop().time())
            return
        if told.acknowledged is None or told.unanswered >= _SILENT_AFTER:
            _log.info("zone.secondary_heard", extra={**_shown(told), "serial": serial})
        told.acknowledged, told.unanswered = serial, 0
        # It may have moved on while the answer was on its way.
        told.behind_since_s = None if serial == self._zone.serial else self._now_s()

    async def _exchange(self, told: Told) -> None:
        signer = Signer(made(told.key), b"")
        message = self._message()
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[bytes | OSError] = asyncio.Queue()
        transport, _ = await loop.create_datagram_endpoint(lambda: _Answers(answers), remote_addr=told.server)
        try:
            transport.sendto(signer.sign(message, now_s=self._now_s()))
            while True:
                answer = await answers.get()
                if isinstance(answer, OSError):
                    raise answer
                # Anybody can send us datagrams: what is no answer to this question is passed over.
                if answer[:2] == message[:2] and len(answer) >= wire.HEADER_BYTES and answer[2] & wire.QR_BIT:
                    rcode = answer[3] & 0xF
                    if rcode:
                        raise TsigError(f"it refuses NOTIFY with rcode {rcode}: look at its log and at the key", b"")
                    signer.accept(answer, now_s=self._now_s())
                    return
        finally:
            transport.close()

    def _message(self) -> bytes:
        # RFC 1996 3.7: the question is the zone's SOA, and the answer section may hold the new one.
        question = self._zone.origin + wire.SOA.to_bytes(2) + wire.CLASS_IN.to_bytes(2)
        flags = bytes((_OPCODE_NOTIFY | wire.AA_BIT, 0))
        counts = b"\x00\x01\x00\x01\x00\x00\x00\x00"
        return secrets.token_bytes(2) + flags + counts + question + written(self._zone.soa())


class _Answers(asyncio.DatagramProtocol):
    def __init__(self, answers: asyncio.Queue[bytes | OSError]) -> None:
        self._answers = answers

    def datagram_received(self, data: bytes, addr: object) -> None:  # noqa: ARG002 - the socket is connected
        self._answers.put_nowait(data)

    def error_received(self, exc: Exception) -> None:
        self._answers.put_nowait(exc if isinstance(exc, OSError) else OSError(str(exc)))


def _shown(told: Told) -> dict[str, object]:
    return {"secondary": told.secondary, "server": _address(told)}


def _address(told: Told) -> str:
    host, port = told.server
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
