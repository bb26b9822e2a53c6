"""A real HTTPS server that implements HQ's side of protocol v1 as the tests need it, and notes every broken rule."""

from __future__ import annotations

import base64
import json
import os
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from agent.tests.harness import certificates as pki
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent.wire import b64, jws, kdf, messages, point, sealed
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import PublicKey, Signer
from otscert_agent.wire.problems import ProblemType

ZONE = "boxes.example.com"


@dataclass
class Transaction:
    d0: bytes
    r: int
    name: str
    thumbprint: str
    csr: bytes | None = None
    unit: str | None = None


@dataclass
class Device:
    name: str
    thumbprint: str
    token: str
    check_ins: int = 0
    unit: str | None = None


@dataclass
class Call:
    path: str
    request: jws.Jws
    body: bytes
    payload: dict[str, Any]


Fault = Callable[[Call], "bytes | None"]  # what to send instead; b"" closes the connection after the work is done


@dataclass
class Book:
    """What HQ remembers. It may outlive a server."""

    calls: list[Call] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    seen: dict[tuple[str, int], tuple[bytes, bytes]] = field(default_factory=dict)
    last_seq: dict[str, int] = field(default_factory=dict)
    keys: dict[str, PublicKey] = field(default_factory=dict)
    d0s: dict[bytes, bytes] = field(default_factory=dict)
    transactions: dict[str, Transaction] = field(default_factory=dict)
    devices: dict[str, Device] = field(default_factory=dict)
    chains: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    cmd_seq: int = 0


class Problem(Exception):
    def __init__(self, kind: ProblemType | str, **members: Any) -> None:
        super().__init__(str(kind))
        self.message = messages.Problem(
            type=kind.value if isinstance(kind, ProblemType) else kind, title="No.", status=400, **members
        )


class FakeHq:
    """Start with `with FakeHq(...) as hq`. `url`, `roots_pem` are what a box is configured with."""

    def __init__(self, *, token: str | None = None, book: Book | None = None) -> None:
        self.root = pki.make_root()
        self.ca = pki.make_root("Public CA")
        self.tls = pki.tls_leaf(self.root)
        self.answer = pki.answer_leaf(self.root)
        self.time = int(pki.NOW.timestamp())
        self.book = book or Book()
        self.token = token
        self.units: dict[str, bytes] = {}  # of imported manifests: thumbprint -> seal key
        self.faults: list[Fault] = []  # each is used once, in order, by the next call it does not decline with None
        self.refusals: list[Fault] = []  # the same, but instead of the work
        self.pendings = 0  # how many enrolments are answered `pending` first
        self.waits = 0  # how many order calls are answered `waiting` first
        self.next_checkin_s = 3600
        self.random: Callable[[], int] = lambda: point.scalar_from_bytes(os.urandom(48))
        self._lock = threading.RLock()
        self._server: ThreadingHTTPServer | None = None

    @property
    def roots_pem(self) -> bytes:
        return self.root.pem

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"https://127.0.0.1:{self._server.server_address[1]}"

    def start(self, folder: Path) -> FakeHq:
        self._pair = folder / "hq.pem"
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.serve(self.tls)
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def serve(self, tls: pki.KeyPair) -> None:
        """Give new connections this leaf from now on."""
        self.tls = tls
        self._pair.write_bytes(tls.key_pem + tls.pem)
        self._context.load_cert_chain(self._pair)

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def stamp(self, factory: Factory) -> None:
        """Know this unit, as after the import of its manifest."""
        self.units[factory.public.thumbprint()] = factory.seal_public

    # ---- protocol v1

    def respond(self, path: str, body: bytes) -> bytes | None:
        """The answer's body; None closes the connection without one."""
        with self._lock:
            request = jws.parse(body)
            payload = json.loads(request.payload) if request.payload else {}
            call = Call(path, request, body, payload)
            self.book.calls.append(call)
            refusal = _first(self.refusals, call)
            if refusal is not None:
                return refusal
            answer = self._work(call, self._key(request))
            changed = _first(self.faults, call)
            return answer if changed is None else changed or None

    def _work(self, call: Call, key: PublicKey) -> bytes:
        request, thumbprint = call.request, key.thumbprint()
        try:
            request.verify(key)
            if "jwk" in request.header:
                self.book.keys[thumbprint] = key
            stored = self._check_seq(call, thumbprint)
            if stored is not None:
                return stored
            if request.header["url"] != self.url + call.path:
                self.book.violations.append(f"url is {request.header['url']}")
            message = self._dispatch(call, thumbprint)
        except Problem as problem:
            message = problem.message
        answer = self.sign(message, thumbprint, request)
        self.book.seen[thumbprint, request.header["seq"]] = (call.body, answer)
        return answer

    def sign(self, message: Any, audience: str, request: jws.Jws, **header: Any) -> bytes:
        members = {
            "typ": message.TYP,
            "x5c": [base64.b64encode(self.answer.der).decode()],
            "aud": audience,
            "req": b64.encode(request.digest()),
            "time": self.time,
            **header,
        }
        return jws.sign(Signer(self.answer.key), members, messages.to_json(message))

    def _key(self, request: jws.Jws) -> PublicKey:
        if "jwk" in request.header:
            return PublicKey.from_jwk(request.header["jwk"])
        known = self.book.keys.get(request.header["kid"])
        return known or _Unknown(request.header["kid"])

    def _check_seq(self, call: Call, thumbprint: str) -> bytes | None:
        if thumbprint not in self.book.keys:
            raise Problem(ProblemType.UNKNOWN_KEY)
        seq = call.request.header["seq"]
        before = self.book.seen.get((thumbprint, seq))
        if before is not None:
            if before[0] == call.body:
                return before[1]
            self.book.violations.append(f"seq {seq} was used for two messages")
            raise Problem(ProblemType.SEQ_CONFLICT, last_seq=self.book.last_seq[thumbprint])
        if seq <= self.book.last_seq.get(thumbprint, 0):
            raise Problem(ProblemType.STALE_SEQ, last_seq=self.book.last_seq[thumbprint])
        self.book.last_seq[thumbprint] = seq
        return None

    def _dispatch(self, call: Call, thumbprint: str) -> Any:
        if call.path == messages.PATH_HELLO:
            return self._hello(call, thumbprint)
        if call.path == messages.PATH_ENROLL:
            return self._enroll(call, thumbprint)
        if call.path == messages.PATH_CHECKIN:
            return self._check_in(call, thumbprint)
        return self._order(call, thumbprint)

    def _hello(self, call: Call, thumbprint: str) -> messages.Challenge:
        hello = messages.from_object(messages.Hello, call.payload)
        d0 = b64.decode(hello.d0)
        if self.book.d0s.setdefault(d0, call.body) != call.body:
            self.book.violations.append("a D0 was sent in two hellos")
        device = self._device(thumbprint, hello.epoch_token)
        txid = b64.encode(os.urandom(16))
        name = device.name if device else f"{os.urandom(5).hex()}.{ZONE}"
        unit = device.unit if device else (thumbprint if thumbprint in self.units else None)
        if device is None and unit is None and "factory" in hello.report.used:
            raise Problem(ProblemType.UNKNOWN_UNIT)
        r, contribution = self._contribution(unit, b64.decode(txid), call.request.digest())
        self.book.transactions[txid] = Transaction(d0=d0, r=r, name=name, thumbprint=thumbprint, unit=unit)
        return messages.Challenge(
            txid=txid,
            names=[name, f"*.{name}"],
            contribution=contribution,
            asks=["token"] if self.token else [],
            ttl_s=600,
        )

    def _contribution(self, unit: str | None, txid: bytes, digest: bytes) -> tuple[int, messages.Contribution]:
        if unit is None:
            r = self.random()
            return r, messages.Contribution(open=b64.encode(point.encode_scalar(r)))
        r, public = sealed.contribution(os.urandom(32), self.units[unit], txid=txid, hello_digest=digest)
        return r, messages.Contribution(sealed=b64.encode(public))

    def _enroll(self, call: Call, thumbprint: str) -> Any:
        enroll = messages.from_object(messages.Enroll, call.payload)
        transaction = self.book.transactions.get(enroll.txid)
        if transaction is None:
            raise Problem(ProblemType.UNKNOWN_TXID)
        csr = b64.decode(enroll.csr)
        if transaction.csr not in (None, csr):
            self.book.violations.append("one txid with two CSRs")
            raise Problem(ProblemType.TXID_CONFLICT)
        self._check_csr(csr, transaction)
        if thumbprint not in self.book.devices:
            self._check_binding(enroll, transaction, thumbprint)
        self._check_token(enroll, thumbprint)
        transaction.csr = csr
        if self.pendings:
            self.pendings -= 1
            return messages.Pending(reason="a person has to approve this box", retry_after_s=1, pairing_code="ABCDEFGH")
        token = b64.encode(os.urandom(32))
        if transaction.unit is not None:  # a unit is one device: the one before is retired
            for other in [known for known in self.book.devices.values() if known.unit == transaction.unit]:
                if other.thumbprint != thumbprint:
                    del self.book.devices[other.thumbprint]
        self.book.devices[thumbprint] = Device(
            name=transaction.name, thumbprint=thumbprint, token=token, unit=transaction.unit
        )
        if enroll.txid not in self.book.chains:
            self.book.chains[enroll.txid] = pki.issue(self.ca, csr)
        return messages.Granted(
            device_id=f"device-{thumbprint[:6]}",
            names=[transaction.name, f"*.{transaction.name}"],
            order=f"{self.url}{messages.PATH_ORDERS}{enroll.txid}",
            epoch_token=token,
            next_checkin_s=self.next_checkin_s,
            seed=b64.encode(os.urandom(32)),
        )

    def _check_csr(self, der: bytes, transaction: Transaction) -> None:
        csr = x509.load_der_x509_csr(der)
        names = csr.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        spki = csr.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
        if not csr.is_signature_valid or len(csr.subject) != 0:
            raise Problem(ProblemType.BAD_CSR)
        if names.get_values_for_type(x509.DNSName) != [transaction.name, f"*.{transaction.name}"]:
            raise Problem(ProblemType.BAD_CSR)
        if spki != point.contributed(transaction.d0, transaction.r):
            raise Problem(ProblemType.BAD_CONTRIBUTION)

    def _check_binding(self, enroll: messages.Enroll, transaction: Transaction, thumbprint: str) -> None:
        if enroll.binding is None:
            raise Problem(ProblemType.BAD_SIGNATURE)
        binding = jws.from_object(enroll.binding)
        binding.verify(self.book.keys[transaction.thumbprint])
        said = messages.from_object(messages.Binding, json.loads(binding.payload))
        if (binding.header["typ"], binding.header["kid"]) != (messages.TYP_BINDING, transaction.thumbprint):
            raise Problem(ProblemType.BAD_SIGNATURE)
        if (said.txid, said.thumbprint) != (enroll.txid, thumbprint):
            raise Problem(ProblemType.BAD_SIGNATURE)

    def _check_token(self, enroll: messages.Enroll, thumbprint: str) -> None:
        if self.token is None:
            return
        proof = b64.encode(kdf.token_proof(self.token.encode(), b64.decode(enroll.txid), thumbprint))
        if enroll.token_proof != proof:
            raise Problem(ProblemType.BAD_TOKEN)

    def _order(self, call: Call, thumbprint: str) -> messages.OrderState:
        txid = call.path.rpartition("/")[2]
        if call.request.payload or txid not in self.book.chains or thumbprint not in self.book.devices:
            raise Problem(ProblemType.NOT_FOUND)
        if self.waits:
            self.waits -= 1
            return messages.OrderState(status="waiting", why="the CA is validating", retry_after_s=0)
        return messages.OrderState(status="issued", chain=self.book.chains[txid])

    def _check_in(self, call: Call, thumbprint: str) -> messages.CheckInAnswer:
        check_in = messages.from_object(messages.CheckIn, call.payload)
        device = self._device(thumbprint, check_in.epoch_token)
        if device is None:
            raise Problem(ProblemType.START_OVER)
        device.token = b64.encode(os.urandom(32))
        device.check_ins += 1
        commands, self.book.commands = self.book.commands, []
        self.book.cmd_seq += bool(commands)
        return messages.CheckInAnswer(
            epoch_token=device.token,
            next_checkin_s=self.next_checkin_s,
            seed=b64.encode(os.urandom(32)),
            cmd_seq=self.book.cmd_seq,
            commands=[messages.Command(name=command) for command in commands],
        )

    def _device(self, thumbprint: str, token: str | None) -> Device | None:
        device = self.book.devices.get(thumbprint)
        if device is not None and device.token != token:
            raise Problem(ProblemType.STALE_EPOCH, retry_after_s=5)
        return device


def _first(faults: list[Fault], call: Call) -> bytes | None:
    for fault in faults:
        answer = fault(call)
        if answer is not None:
            faults.remove(fault)
            return answer
    return None


class _Unknown(PublicKey):
    """A kid that HQ has never seen: nothing can be verified under it."""

    def __init__(self, thumbprint: str) -> None:
        super().__init__("Ed25519", b"")
        object.__setattr__(self, "_thumbprint", thumbprint)

    def thumbprint(self) -> str:
        return str(self._thumbprint)  # type: ignore[attr-defined]  # set above

    def verify(self, signature: bytes, message: bytes) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A box that hangs up on a foreign HQ is what some tests want to see."""


def _handler(hq: FakeHq) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            answer = hq.respond(self.path, body)
            if answer is None:
                self.close_connection = True
                return
            kind = jws.CONTENT_TYPE if answer.startswith(b'{"protected"') else "application/problem+json"
            head = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(answer)}\r\n\r\n"
            self.wfile.write(head.encode() + answer)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class named it
            pass

    return Handler
