"""A box says hello: names to ask a certificate for, and HQ's half of its key.

Nothing is admitted here and nothing is published; the row and the reserved name are gone after ten minutes.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from otscert.domain.admission import Model, asks
from otscert.domain.assurance import Contribution as Contributed
from otscert.domain.assurance import Source, judge_assurance
from otscert.domain.callers import buckets
from otscert.domain.device import Device, DeviceState
from otscert.domain.names import RANDOM_BYTES, certificate_names, make_label
from otscert.domain.quota import Quota
from otscert.domain.unit import Unit, judge_name
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.refusal import Refusal, make_problem
from otscert.service.standing import refuse_retired
from otscert.service.units import UnitRefused, serial_of, stamped_unit
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64, point, sealed
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.messages import NONCE_BYTES, TXID_BYTES, Challenge, Contribution, Hello
from otscert_agent.wire.problems import ProblemType

TRANSACTION_S = 600
HELLOS_PER_DEVICE = Quota(count=30, period_s=3600)
KNOWN_D0_S = 400 * 24 * 3600
STRANGER_D0_S = 30 * 24 * 3600
"""How long a D0 is remembered. No key can come twice anyway (`refuse_known_key`); this keeps recorded hellos from being
said again, and strangers' rows from staying for ever."""
MOST_OPEN = 4
"""Open transactions of one key: the twins of a cloned image share a hello key until HQ's r tells them apart."""
_NAME_TRIES = 8
_LONGEST_TEXT = 200
LAST_BOOT = 2**53 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SayingHello:
    """The use case: answers with a challenge, or raises `Refusal` when there is nothing to challenge."""

    hq: Hq

    def __call__(self, transaction: Transaction, request: Request[Hello]) -> Reply:
        hello = request.message
        model = known_model(self.hq, hello.model)
        d0 = _check(hello)
        device = _renewing_device(transaction, request)
        try:
            unit = stamped_unit(transaction, request, device)
        except UnitRefused as refused:  # what it wrote stays: a unit on two boards is quarantined now
            return Reply(message=make_problem(ProblemType.BLOCKED_UNIT, str(refused), retry_after_s=24 * 3600))
        self._check_assurance(model, hello, unit)
        self._spend(transaction, request, model, device or unit)
        transaction.hellos.end_oldest(request.thumbprint, keep=MOST_OPEN - 1)
        txid = self.hq.randomness(TXID_BYTES)
        label, keeps = self._label(transaction, request, model, device or unit, txid)
        r, contribution = self._contribute(unit, txid=txid, hello_digest=request.digest)
        row = HelloRow(
            txid=b64.encode(txid),
            thumbprint=request.thumbprint,
            model=model.name,
            serial=serial_of(hello, unit, device),
            firmware=hello.firmware,
            fingerprint=hello.hardware_fingerprint,
            source=hello.report.source,
            canary=hello.canary,
            boot=hello.boot,
            label=label,
            contribution=Contributed.SEALED if unit else Contributed.OPEN,
            unit=unit.thumbprint if unit else None,
            keeps=keeps,
            expected_point=_contributed(d0, r),
            address=request.address,
            device_id=device.id if device else None,
            expires_at_s=request.now_s + TRANSACTION_S,
            csr_sha256=None,
            identity=None,
        )
        self._remember_d0(transaction, request, d0, known=device is not None or unit is not None)
        transaction.hellos.add(row)
        return Reply(
            message=Challenge(
                txid=row.txid,
                names=list(certificate_names(label, self.hq.zone)),
                contribution=contribution,
                asks=[] if device else list(asks(model, stamped=unit is not None)),
                ttl_s=TRANSACTION_S,
            )
        )

    def _contribute(self, unit: Unit | None, *, txid: bytes, hello_digest: bytes) -> tuple[int, Contribution]:
        """HQ's `r`, and how the box learns it: sealed to its factory key, or in the challenge."""
        if unit is None:
            r = point.scalar_from_bytes(self.hq.randomness(48))
            return r, Contribution(open=b64.encode(point.encode_scalar(r)))
        try:
            r, e_public = sealed.contribution(
                self.hq.randomness(sealed.KEY_BYTES), unit.seal_key, txid=txid, hello_digest=hello_digest
            )
        except WireError as error:
            raise Refusal(
                ProblemType.BLOCKED_UNIT, f"the manifest's seal key of unit {unit.serial}: {error}"
            ) from error
        return r, Contribution(sealed=b64.encode(e_public))

    def _check_assurance(self, model: Model, hello: Hello, unit: Unit | None) -> None:
        """Refuse now what enrolment would refuse anyway: no name is reserved for it."""
        # A key that HQ's randomness cannot be put into (RSA) is judged at enrolment, where the CSR shows it.
        assurance = judge_assurance(
            Contributed.SEALED if unit else Contributed.OPEN,
            Source(hello.report.source),
            min_contribution=model.min_contribution,
            min_source=model.min_source,
        )
        if not assurance.enough:
            raise Refusal(ProblemType.LOW_ASSURANCE, assurance.reason, retry_after_s=24 * 3600)

    def _spend(
        self, transaction: Transaction, request: Request[Hello], model: Model, who: Device | Unit | None
    ) -> None:
        """Charge who has proved who it is by itself: strangers who spend what they share do not keep it out."""
        if who is not None:
            name = f"device:{who.id}" if isinstance(who, Device) else f"unit:{who.thumbprint}"
            _spend(transaction, f"hello:{name}", HELLOS_PER_DEVICE, request)
            return
        for bucket, share in buckets(request.address):
            quota = self.hq.hellos_per_address
            _spend(transaction, f"hello:address:{bucket}", replace(quota, count=quota.count * share), request)
        _spend(transaction, f"hello:model:{model.name}", self.hq.hellos_per_model, request)

    def _label(
        self, transaction: Transaction, request: Request[Hello], model: Model, who: Device | Unit | None, txid: bytes
    ) -> tuple[str, str | None]:
        """The label that is offered, and the device that keeps it when a unit has had its share of new ones."""
        if isinstance(who, Device):
            return who.label, None
        if who is not None and who.device_id is not None:
            devices = transaction.devices.of_unit(who.thumbprint)
            current = transaction.devices.get(who.device_id)
            decision = judge_name([device.admitted_at_s for device in devices], now_s=request.now_s)
            # A name that was taken back is never given again: what an operator ended goes on under a new one.
            if not decision.new_name and current is not None and current.state is not DeviceState.RETIRED:
                return current.label, current.id
        return _reserve_label(self.hq, transaction, model, b64.encode(txid)), None

    def _remember_d0(self, transaction: Transaction, request: Request[Hello], d0: bytes, *, known: bool) -> None:
        """Refuse a D0 that came before; the same message again is answered with another r, so it may.

        Of `known` ones it is remembered for longer: their recorded hellos, replayed, would spend a quota of their own.
        """
        again = request.known is not None and request.known.last_digest == request.digest
        until_s = request.now_s + (KNOWN_D0_S if known else STRANGER_D0_S)
        if not transaction.hellos.remember_d0(hashlib.sha256(d0).digest(), until_s=until_s) and not again:
            raise Refusal(ProblemType.USED_D0, "HQ has seen this D0 before; derive a new one")


def known_model(hq: Hq, name: str) -> Model:
    model = hq.models.get(name)
    if model is None:
        raise Refusal(
            ProblemType.UNKNOWN_MODEL,
            f"this HQ has no model {name[:60]!r}: its operator adds it to the configuration,"
            " or the firmware is given the right name",
            retry_after_s=3600,
        )
    return model


def _check(hello: Hello) -> bytes:
    """Check what a later step relies on; returns D0."""
    texts = (hello.model, hello.firmware, hello.hardware_fingerprint, hello.serial or "", hello.canary)
    if any(len(text) > _LONGEST_TEXT for text in texts):
        raise Refusal(ProblemType.MALFORMED, f"a text of the hello is longer than {_LONGEST_TEXT} characters")
    if hello.report.source not in set(Source):
        raise Refusal(ProblemType.MALFORMED, f"report.source is not one of {', '.join(sorted(Source))}")
    if not 0 <= hello.boot <= LAST_BOOT:
        raise Refusal(ProblemType.MALFORMED, "boot is not a number from 0 to 2^53-1")
    try:
        b64.decode(hello.nonce, length=NONCE_BYTES, what="nonce")
        d0 = b64.decode(hello.d0, length=point.POINT_BYTES, what="d0")
        point.coordinates(d0, what="d0")
    except WireError as error:
        raise Refusal(ProblemType.MALFORMED, str(error)) from error
    return d0


def _contributed(d0: bytes, r: int) -> bytes:
    try:
        return point.contributed(d0, r)
    except WireError as error:  # D0 = -r*G: cannot be aimed at, r was drawn after D0 was sent
        raise Refusal(ProblemType.USED_D0, "this D0 cannot be used; derive a new one") from error


def _renewing_device(transaction: Transaction, request: Request[Hello]) -> Device | None:
    """The device whose identity key signed, None for a first enrolment."""
    if request.known is None or request.known.device_id is None:
        return None
    if transaction.units.by_thumbprint(request.thumbprint) is not None:
        return None  # who had a unit's secret before its manifest was imported, and enrolled with it, keeps nobody out
    device = transaction.devices.get(request.known.device_id)
    if device is None or device.thumbprint != request.thumbprint or device.model != request.message.model:
        raise Refusal(ProblemType.START_OVER, "this identity is not the one that HQ knows for this model")
    refuse_retired(device)
    check_epoch(device, request.message.epoch_token)
    if request.message.hardware_fingerprint != device.ratchet.fingerprint:
        raise Refusal(
            ProblemType.START_OVER,
            "the hardware is not the one that was enrolled: forget this identity and enrol as a new box",
            event=("clone.seen", device.id, {"fingerprint": request.message.hardware_fingerprint}),
        )
    return device


def check_epoch(device: Device, token: str | None) -> None:
    """Raise `Refusal` unless `token` is the device's current epoch token."""
    if token is None or hash_token(token) != device.ratchet.token_hash:
        raise Refusal(ProblemType.STALE_EPOCH, "the epoch token is not the current one; check in first, then ask again")


def hash_token(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _reserve_label(hq: Hq, transaction: Transaction, model: Model, txid: str) -> str:
    for _ in range(_NAME_TRIES):
        label = make_label(model.naming, hq.randomness(RANDOM_BYTES))
        if transaction.names.reserve(label, txid=txid):
            return label
    raise Refusal(ProblemType.UNAVAILABLE, "HQ found no free name; its operator should use opaque names")


def _spend(transaction: Transaction, bucket: str, quota: Quota, request: Request[Hello]) -> None:
    decision = transaction.quotas.spend(bucket, quota, now_ms=request.now_s * 1000)
    if not decision.allowed:
        raise Refusal(
            ProblemType.OVER_QUOTA,
            f"more than {quota.count} hellos in {quota.period_s} s; ask again later",
            retry_after_s=decision.retry_after_s,
        )
