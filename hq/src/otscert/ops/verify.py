"""Does a stranger's TLS client accept the box? It knows the CA's root and HQ's DNS server, and nothing else."""

from __future__ import annotations

import socket
import ssl
import time
from dataclasses import dataclass
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

_PATIENCE_S = 2.0
_AGAIN_S = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`error` is None when name, chain and host name were all right."""

    addresses: tuple[str, ...]
    error: str | None


def verify_box(name: str, port: int, *, root_pem: Path, dns_port: int, until_s: float) -> Verdict:
    """Resolve `name` at HQ's DNS server, connect and check; asks again until monotonic time `until_s`."""
    while True:
        verdict = _verify_once(name, port, root_pem=root_pem, dns_port=dns_port)
        if verdict.error is None or time.monotonic() + _AGAIN_S > until_s:
            return verdict
        time.sleep(_AGAIN_S)  # HQ may be starting again; the deadline bounds it


def _verify_once(name: str, port: int, *, root_pem: Path, dns_port: int) -> Verdict:
    try:
        addresses = _resolve(name, dns_port)
    except (OSError, dns.exception.DNSException) as error:
        return Verdict(addresses=(), error=f"HQ's DNS server did not answer for {name}: {type(error).__name__} {error}")
    if not addresses:
        return Verdict(addresses=(), error=f"{name} has no address in HQ's DNS")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)  # checks chain and host name
    context.load_verify_locations(root_pem)
    try:
        with (
            socket.create_connection((addresses[0], port), timeout=_PATIENCE_S) as plain,
            context.wrap_socket(plain, server_hostname=name) as secure,
        ):
            secure.sendall(f"GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n".encode())
            status = secure.recv(15)
    except OSError as error:
        return Verdict(addresses=addresses, error=f"https://{name}:{port}/ at {addresses[0]}: {error}")
    if not status.startswith(b"HTTP/1.1 200") and not status.startswith(b"HTTP/1.0 200"):
        return Verdict(addresses=addresses, error=f"https://{name}:{port}/ answered {status!r}")
    return Verdict(addresses=addresses, error=None)


def _resolve(name: str, port: int) -> tuple[str, ...]:
    query = dns.message.make_query(name, dns.rdatatype.A)
    answer = dns.query.udp(query, "127.0.0.1", port=port, timeout=_PATIENCE_S)
    return tuple(str(record) for rrset in answer.answer if rrset.rdtype == dns.rdatatype.A for record in rrset)
