"""The protocol's steps for one box, in the order that `loop` calls them. Each makes durable what must be, then sends.

Knows what goes into each message and what of an answer is kept. Blocking; one thread per instance. Does not wait,
retry or decide what follows a failure: that is `loop` and `reactions`.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from otscert_agent import __version__, contribution, entropy, exchange, hardware, keys
from otscert_agent.config import Settings
from otscert_agent.disk import Disk
from otscert_agent.errors import ConfigError, UntrustedError
from otscert_agent.exchange import Exchange
from otscert_agent.facts import CHAIN_FILE, FACTS_FILE, KEY_FILE, CertificateFacts
from otscert_agent.signing import HELLO, IDENTITY, Signing
from otscert_agent.state import Bound, Pending, Sent, Store
from otscert_agent.transport import path_at
from otscert_agent.wire import b64, jws, kdf, messages, point
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import Signer


@dataclass(frozen=True)
class Introduced:
    """A challenge and what the box needs beside it: its half of the key, its secret for a new identity, H(hello)."""

    challenge: messages.Challenge
    d0: int
    id_seed: bytes
    hello_digest: bytes


class Conversation:
    """One box's side of protocol v1. `store` and `disk` belong to it alone."""

    def __init__(
        self,
        settings: Settings,
        *,
        store: Store,
        disk: Disk,
        hq: Exchange,
        kernel: entropy.Kernel,
        canary: str,
        factory: Factory | None = None,
    ) -> None:
        self._settings = settings
        self._store = store
        self._disk = disk
        self._hq = hq
        self._kernel = kernel
        self._canary = canary
        self._factory = factory
        self.signing = Signing(store, factory)
        self._ids = hardware.identifiers(settings.serial)

    def connect(self) -> None:
        """Open the connection to HQ, so that a network that is not there shows before anything is made."""
        self._hq.connect()

    def hello(self) -> Introduced:
        """Say hello with a fresh half of a key.

        A box without identity signs with its factory key, or else with a key of its own for this.
        """
        mix = self._prepare()
        state = self._store.state
        which = IDENTITY if state.device_id else HELLO
        signer = self.signing.signer(which)
        seq = self._store.next_seq(which)
        d0 = point.scalar_from_bytes(mix.d0_bytes(purpose=b"tls", attempt=state.attempt, seq=seq))
        hello = messages.Hello(
            model=self._settings.model,
            firmware=self._settings.firmware,
            hardware_fingerprint=hardware.fingerprint(self._ids),
            nonce=b64.encode(mix.nonce(messages.NONCE_BYTES)),
            d0=b64.encode(point.public_point(d0)),
            build_epoch=self._settings.build_epoch,
            report=_report(mix, self._kernel.since_boot_s()),
            canary=self._canary,
            serial=self._settings.serial or None,
            epoch_token=state.epoch_token,
            boot=state.boots,
        )
        url = self._settings.base_url + messages.PATH_HELLO
        body = exchange.request(
            signer, typ=hello.TYP, url=url, seq=seq, introduce=which == HELLO, payload=messages.to_json(hello)
        )
        answer = self._hq.send(url, body, signer.public.thumbprint(), (messages.Challenge,))
        assert isinstance(answer, messages.Challenge)  # noqa: S101  # the only type asked for
        return Introduced(challenge=answer, d0=d0, id_seed=mix.id_seed(), hello_digest=jws.parse(body).digest())

    def accept(self, introduced: Introduced) -> Pending:
        """Take HQ's half: make the TLS key, the CSR and (for a new box) the identity, all durable before use.

        Raises `ZeroKeyError`, `UntrustedError` for a challenge that breaks the protocol, `ConfigError` when HQ asks
        for a token that is not configured.
        """
        challenge = introduced.challenge
        try:
            txid = b64.decode(challenge.txid, length=messages.TXID_BYTES, what="txid")
            digest, opener = introduced.hello_digest, self._opener()
            r = contribution.opened(challenge.contribution, opener, txid=txid, hello_digest=digest)
            scalar = keys.combine(introduced.d0, r)
            csr = keys.csr(scalar, challenge.names)
        except (WireError, ValueError) as error:
            raise UntrustedError(f"HQ's challenge cannot be used: {error}") from None
        state = self._store.state
        identity, binding = state.identity, None
        if identity is None:  # not admitted yet: this transaction brings the identity
            identity = self._store.fresh_key(kdf.identity_seed(introduced.id_seed, point.encode_scalar(r), txid))
            binding = self.signing.binding(challenge.txid, Signer.from_seed(identity.seed))
        proof = self._token_proof(challenge, txid, Signer.from_seed(identity.seed))
        pending = Pending(
            txid=challenge.txid,
            names=list(challenge.names),
            scalar=point.encode_scalar(scalar),
            csr=csr,
            token_proof=proof,
            binding=binding,
        )
        self._store.save(identity=identity, pending=pending)
        return pending

    def enrol(self) -> messages.Granted | messages.Pending | messages.Refused:
        """Send the pending enrolment (again, with a new `seq`, as often as need be) and keep what `granted` brings."""
        state = self._store.state
        pending = state.pending
        assert pending is not None  # noqa: S101  # the loop comes here with a pending transaction only
        enroll = messages.Enroll(
            txid=pending.txid,
            csr=b64.encode(pending.csr),
            addresses=hardware.addresses(self._settings.addresses),
            token_proof=pending.token_proof,
            binding=pending.binding,
            epoch_token=state.epoch_token,
        )
        answer = self._ask(
            self._settings.base_url + messages.PATH_ENROLL,
            messages.Enroll.TYP,
            messages.to_json(enroll),
            (messages.Granted, messages.Pending, messages.Refused),
            introduce=pending.binding is not None,
        )
        if isinstance(answer, messages.Granted):
            self._keep_grant(pending, answer)
        assert isinstance(answer, (messages.Granted, messages.Pending, messages.Refused))  # noqa: S101  # as asked
        return answer

    def order(self) -> messages.OrderState:
        """Ask for the order's state; HQ answers when it changes, or after about 25 s."""
        pending = self._store.state.pending
        assert pending is not None  # noqa: S101  # as in `enrol`
        assert pending.order is not None  # noqa: S101  # the loop comes here after `granted`
        answer = self._ask(pending.order, messages.TYP_ORDER, b"", (messages.OrderState,), introduce=False)
        assert isinstance(answer, messages.OrderState)  # noqa: S101  # the only type asked for
        return answer

    def install(self, chain: str) -> CertificateFacts:
        """Check the chain, write key and chain as one version and make it current; then forget the transaction."""
        state = self._store.state
        pending = state.pending
        assert pending is not None  # noqa: S101  # as in `enrol`
        scalar = int.from_bytes(pending.scalar, "big")
        facts = keys.check_chain(chain, scalar, pending.names)
        self._disk.install_pair(
            {
                CHAIN_FILE: chain.encode("ascii"),
                KEY_FILE: keys.key_pem(scalar),
                FACTS_FILE: messages.to_json(facts),
            }
        )
        self._store.save(pending=None, rekey=False, names=pending.names)
        return facts

    def check_in(self, served_sha256: str | None) -> messages.CheckInAnswer:
        """Check in, or repeat the check-in whose answer was lost, byte by byte. Keeps token and seed."""
        sent = self._store.state.sent or self._new_check_in(served_sha256)
        audience = self.signing.signer(IDENTITY).public.thumbprint()
        url = self._settings.base_url + messages.PATH_CHECKIN
        answer = self._hq.send(url, sent.body, audience, (messages.CheckInAnswer,))
        assert isinstance(answer, messages.CheckInAnswer)  # noqa: S101  # the only type asked for
        b64.decode(answer.epoch_token, length=messages.EPOCH_TOKEN_BYTES, what="epoch_token")
        # Durable before anything in the answer is acted on: from now on HQ expects the new token.
        self._store.save(
            sent=None,
            epoch_token=answer.epoch_token,
            pool=self._refreshed_pool(answer.seed),
            next_checkin_s=answer.next_checkin_s,
        )
        return answer

    def forget_sent(self) -> None:
        """Give up on a check-in that HQ answered with a problem: the next one is a new message."""
        if self._store.state.sent is not None:
            self._store.save(sent=None)

    def become_unknown(self) -> None:
        """HQ does not know this box any more, which says hello as a new box does. The pair stays served."""
        self._store.save(
            hello=self.signing.hello_key_of_unknown(),
            identity=None,
            device_id=None,
            epoch_token=None,
            pending=None,
            sent=None,
        )

    def close(self) -> None:
        self._hq.close()

    def _prepare(self) -> entropy.Mix:
        state = self._store.state
        attempt = state.attempt + 1
        mix = self._gather(attempt)
        # The old pool is gone from the disk before anything derived from it is used (firstboot.md 1.6).
        changes: dict[str, Any] = {"attempt": attempt, "pool": mix.next_pool(), "pending": None}
        if state.device_id is None:
            changes["identity"] = None  # of a transaction that came to nothing
            changes["hello"] = self.signing.hello_key(mix)
            changes["bound"] = self._bound()
        self._store.save(**changes)
        return mix

    def _gather(self, attempt: int) -> entropy.Mix:
        secret = self._factory.mix(attempt) if self._factory else b""
        return entropy.gather(self._kernel, pool=self._store.state.pool, ids=self._ids, attempt=attempt, factory=secret)

    def _opener(self) -> Factory | None:
        """The secret that HQ's contribution has to be sealed to.

        None also for a device that had no secret when it enrolled: to HQ it is no unit until it starts over. Its half
        of the key has the secret in it all the same.
        """
        state = self._store.state
        is_unit = state.device_id is None or (state.bound is not None and state.bound.unit is not None)
        return self._factory if is_unit else None

    def _bound(self) -> Bound:
        """This board, as HQ is told of it."""
        unit = self._factory.signer().public.thumbprint() if self._factory else None
        return Bound(fingerprint=hardware.fingerprint(self._ids), unit=unit)

    def _token_proof(self, challenge: messages.Challenge, txid: bytes, identity: Signer) -> str | None:
        if "token" not in challenge.asks:
            return None
        if not self._settings.token:
            raise ConfigError("HQ asks for this model's claim token, and none is configured: set token_file")
        token = self._settings.token.encode()
        return b64.encode(kdf.token_proof(token, txid, identity.public.thumbprint()))

    def _keep_grant(self, pending: Pending, granted: messages.Granted) -> None:
        if granted.names != pending.names:
            raise UntrustedError("HQ granted other names than it had promised")
        path_at(granted.order, self._settings.base_url)  # before it is durable: it is what every start calls first
        self._store.save(
            device_id=granted.device_id,
            epoch_token=granted.epoch_token,
            pool=self._refreshed_pool(granted.seed),
            next_checkin_s=granted.next_checkin_s,
            pending=dataclasses.replace(pending, order=granted.order, binding=None, token_proof=None),
            hello=self.signing.hello_key_after_grant(),
        )

    def _new_check_in(self, served_sha256: str | None) -> Sent:
        state = self._store.state
        attempt = state.attempt + 1
        mix = self._gather(attempt)
        check_in = messages.CheckIn(
            epoch_token=state.epoch_token or "",
            txid=b64.encode(mix.nonce(messages.TXID_BYTES)),
            hardware_fingerprint=hardware.fingerprint(self._ids),
            addresses=hardware.addresses(self._settings.addresses),
            firmware=self._settings.firmware,
            agent=__version__,
            canary=self._canary,
            served_sha256=served_sha256,
            boot=state.boots,
        )
        body = exchange.request(
            self.signing.signer(IDENTITY),
            typ=check_in.TYP,
            url=self._settings.base_url + messages.PATH_CHECKIN,
            seq=self._store.next_seq(IDENTITY),
            introduce=False,
            payload=messages.to_json(check_in),
        )
        sent = Sent(body)
        self._store.save(
            attempt=attempt,
            pool=mix.next_pool(),
            sent=sent,
            served_sha256=served_sha256,
            # A state of an older agent: this is the board that HQ knows, and it knows no unit.
            bound=state.bound or Bound(fingerprint=hardware.fingerprint(self._ids)),
        )
        return sent

    def _ask(
        self, url: str, typ: str, payload: bytes, expected: tuple[type, ...], *, introduce: bool
    ) -> exchange.Answer:
        signer = self.signing.signer(IDENTITY)
        seq = self._store.next_seq(IDENTITY)
        body = exchange.request(signer, typ=typ, url=url, seq=seq, introduce=introduce, payload=payload)
        return self._hq.send(url, body, signer.public.thumbprint(), expected)

    def _refreshed_pool(self, seed: str) -> bytes:
        fresh = b64.decode(seed, length=messages.SEED_BYTES, what="seed")
        return entropy.refreshed_pool(self._store.state.pool, fresh)


def _report(mix: entropy.Mix, ready_s: float | None) -> messages.SourceReport:
    return messages.SourceReport(
        source=mix.source,
        crng=mix.crng,
        kernel=hardware.kernel_version(),
        crng_ready_s=ready_s,
        hwrng="hwrng" if mix.hwrng else None,
        used=mix.used,
    )
