"""HQ's own listeners: are their ports free or HQ's, and does it answer boxes and resolvers?"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass

from otscert.config import Config, split_host_port
from otscert.ops.doctor_ask import Asked, ask_soa
from otscert.ops.doctor_finding import Finding, failed, ok, unknown
from otscert.ops.doctor_reach import CONNECT_S, Held, Resolved, asked_at, can_bind, own_trust, resolves, shown
from otscert.pki.files import PkiFolder

# What HQ's device API says to somebody who is no box (docs/protocol.md): any other server says something else.
_FACE = b"this is HQ's device API"
_REQUEST = b"GET / HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n"
_ANSWER_BYTES = 16_384


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """One listener of the configuration and who holds it; `reason` is what the one there said."""

    setting: str
    host: str
    port: int
    held: Held
    reason: str = ""

    @property
    def shown(self) -> str:
        return shown(self.host, self.port)


async def check_hq(config: Config) -> AsyncIterator[Finding]:
    """Ports, the device API at `public_url`, and the zone's SOA over UDP and TCP."""
    trust = own_trust(PkiFolder(folder=config.pki_dir))
    device = await asyncio.gather(*(_device(config, trust, *endpoint) for endpoint in config.listen_device))
    dns = await asyncio.gather(*(_dns(config, *endpoint) for endpoint in config.listen_dns))
    for listener in (*device, *dns):
        yield _port(listener)
    if all(listener.held is not Held.OURS for listener in (*device, *dns)):
        yield unknown("hq", "HQ does not run here, so nobody can say whether it answers", mend="otscert serve")
        return
    yield await _public_url(config, trust)
    for listener in dns:
        yield await _soa(config, listener)


async def _device(config: Config, trust: ssl.SSLContext | None, host: str, port: int) -> Listener:
    held, reason = await _who(config.public_host, asked_at(host), port, trust)
    if held is Held.FREE:
        held = can_bind(host, port, socket.SOCK_STREAM)
    return Listener(setting="listen.device", host=host, port=port, held=held, reason=reason)


async def _dns(config: Config, host: str, port: int) -> Listener:
    answer = await ask_soa((asked_at(host), port), _served(config), tcp=False)
    if answer.asked is Asked.AUTHORITATIVE:
        return Listener(setting="listen.dns", host=host, port=port, held=Held.OURS)
    held = can_bind(host, port, socket.SOCK_DGRAM)
    if held is Held.FREE:
        held = can_bind(host, port, socket.SOCK_STREAM)
    return Listener(setting="listen.dns", host=host, port=port, held=held, reason=answer.reason)


def _served(config: Config) -> str:
    """The zone of listeners that are configured, though nobody may start them where others have the zone."""
    return config.served_zone or config.zone.origin


async def _who(name: str, host: str, port: int, trust: ssl.SSLContext | None) -> tuple[Held, str]:
    """Who answers TLS there, and if it is not HQ, why not; FREE when nobody does."""
    try:
        body = await _get(name, host, port, trust) if trust else b""
    except TimeoutError:
        return Held.OTHERS, f"no answer within {CONNECT_S:.0f} s"
    except (ssl.SSLError, ConnectionResetError) as error:
        return Held.OTHERS, str(error)
    except OSError as error:  # refused, or no way there: nobody is connected to
        return Held.FREE, str(error)
    return (Held.OURS, "") if _FACE in body else (Held.OTHERS, "it is not HQ's device API")


async def _get(name: str, host: str, port: int, trust: ssl.SSLContext) -> bytes:
    async with asyncio.timeout(CONNECT_S):
        reader, writer = await asyncio.open_connection(host, port, ssl=trust, server_hostname=name)
        try:
            writer.write(_REQUEST % name.encode())
            body = b""
            while len(body) < _ANSWER_BYTES and (chunk := await reader.read(_ANSWER_BYTES)):
                body += chunk
            return body
        finally:
            writer.transport.abort()


def _port(listener: Listener) -> Finding:
    check = f"{listener.setting}:{listener.shown}"
    if listener.held is Held.OURS:
        return ok(check, f"{listener.shown} is served by HQ ({listener.setting})")
    if listener.held is Held.FREE:
        return ok(check, f"{listener.shown} is free for HQ ({listener.setting})")
    what, mend = {
        Held.OTHERS: (
            f"{listener.shown} is taken by another program" + (f" ({listener.reason})" if listener.reason else ""),
            f"see which one with: ss -lntup 'sport = :{listener.port}'; stop it, or change {listener.setting}",
        ),
        Held.FORBIDDEN: (
            f"this user may not listen at {listener.shown}",
            "ports below 1024 need CAP_NET_BIND_SERVICE (AmbientCapabilities in systemd, or setcap)",
        ),
        Held.ABSENT: (
            f"no interface of this machine has the address of {listener.shown}",
            f"correct {listener.setting}",
        ),
    }[listener.held]
    return failed(check, what, why="HQ cannot start without all of its listeners", mend=mend)


async def _public_url(config: Config, trust: ssl.SSLContext | None) -> Finding:
    why = "boxes call this URL and no other"
    host, port = split_host_port(config.public_url.removeprefix("https://"), default_port=443)
    found = await resolves(host)
    if found is Resolved.NO:
        mend = f"publish an A or AAAA record for {host} (outside of the boxes' zone)"
        return failed("hq.public_url", f"{host} has no address in DNS", why=why, mend=mend)
    if found is Resolved.UNKNOWN:
        return unknown("hq.public_url", f"no resolver answers for {host}", why=why, mend="look at the network")
    held, reason = await _who(host, host, port, trust)
    if held is Held.OURS:
        return ok("hq.public_url", f"HQ answers at {config.public_url} under its own root")
    return failed(
        "hq.public_url",
        f"HQ does not answer at {config.public_url} ({reason or 'nobody listens there'})",
        why=why,
        mend="forward that port to listen.device; if your router does not reach its own public address from inside,"
        " ask from outside",
    )


async def _soa(config: Config, listener: Listener) -> Finding:
    check, server = f"dns.answers:{listener.shown}", (asked_at(listener.host), listener.port)
    zone = _served(config)
    udp, tcp = await asyncio.gather(*(ask_soa(server, zone, tcp=tcp) for tcp in (False, True)))
    for transport, answer in (("UDP", udp), ("TCP", tcp)):
        if answer.asked is not Asked.AUTHORITATIVE:
            return failed(
                check,
                f"no SOA of {zone} from {listener.shown} over {transport}: {answer.reason}",
                why="the CA and resolvers ask by both",
                mend="look at HQ's log; is another program on the port?",
            )
    return ok(check, f"{listener.shown} answers for {zone}, UDP and TCP, serial {udp.serial}")
