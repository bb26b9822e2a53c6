"""What boxes with this or that firmware make of HQ's folder: real TLS in memory, and the agent's rules for answers."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from otscert.pki.certificates import KeyPair
from otscert.pki.files import PkiFolder
from otscert_agent.errors import UntrustedError
from otscert_agent.state import HqMemory
from otscert_agent.transport import client_context
from otscert_agent.trust import Pins, check_answer_chain, check_tls_leaf

ZONE = "boxes.example.com"
HOSTS = ("hq.example.com",)
NOW_S = 1_795_000_000
DAY_S = 86_400


class Killed(BaseException):
    """kill -9, as far as this process can tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MortalFolder(PkiFolder):
    """Dies right before change number `lives` (from 0) of the folder."""

    lives: int
    done: list[str] = field(default_factory=list)

    def _change(self, what: str) -> None:
        if len(self.done) == self.lives:
            raise Killed
        self.done.append(what)

    def write(self, name: str, data: bytes) -> None:
        self._change(name)
        PkiFolder.write(self, name, data)

    def rename(self, old: str, new: str) -> None:
        self._change(f"{old} -> {new}")
        PkiFolder.rename(self, old, new)

    def remove(self, name: str) -> None:
        self._change(f"- {name}")
        PkiFolder.remove(self, name)


def make_folder(path: Path, *, passphrase: bytes | None = None) -> PkiFolder:
    made = PkiFolder(folder=path)
    made.create(zone=ZONE, hosts=HOSTS, passphrase=passphrase, now_s=NOW_S)
    return made


def believes(pki: PkiFolder, *pins: bytes, now_s: int = NOW_S) -> bool:
    """Whether a box with these pins takes HQ's TLS chain and an answer."""
    answer, memory = pki.answer(), HqMemory()
    try:
        leaf = _handshake(pki.tls_pem, b"".join(pins))
    except ssl.SSLCertVerificationError:
        return False
    assert leaf == pki.tls().certificate.public_bytes(Encoding.DER)
    try:
        check_tls_leaf(pki.tls().certificate, memory, NOW_S - DAY_S)
        chain = [answer.certificate, *answer.chain]
        check_answer_chain(chain, Pins.parse(b"".join(pins)), time=now_s, memory=memory, build_epoch=NOW_S - DAY_S)
    except UntrustedError:
        return False
    return True


def _handshake(pair: Path, pins: bytes) -> bytes | None:
    """The leaf that a client with these pins has accepted."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pair)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    serving = server.wrap_bio(to_server, to_client, server_side=True)
    context = client_context(pins.decode(), clock_trusted=False)
    calling = context.wrap_bio(to_client, to_server, server_hostname=HOSTS[0])
    for _ in range(4):
        for side in (calling, serving):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return calling.getpeercert(binary_form=True)


def generations(pki: PkiFolder) -> tuple[int, int]:
    return pki.generation("tls.pem"), pki.generation("answer.pem")


def chain_lengths(*pairs: KeyPair) -> list[int]:
    return [len(pair.chain) for pair in pairs]
