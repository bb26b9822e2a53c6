"""A box enrolls: its CSR is checked, a policy admits it, its order is put into the queue.

Everything is one transaction: a box is admitted with its name, its keys and its order, or not at all.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, replace

from otscert.domain.admission import Admission, Contribution, Model, Policy, judge_admission
from otscert.domain.callers import buckets
from otscert.domain.csr import CheckedCsr, ContributionMismatch, CsrRefused, check_csr
from otscert.domain.device import Device, DeviceState, may_order
from otscert.domain.names import certificate_names
from otscert.domain.order import Order, OrderState
from otscert.domain.ratchet import Ratchet
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.enroll_checks import (
    addresses_of_a_new_box,
    check_binding,
    open_transaction,
    refuse_known_key,
)
from otscert.service.hello import check_epoch, hash_token, known_model
from otscert.service.notes import note
from otscert.service.ports import Signals, ZonePublisher
from otscert.service.publish import published_addresses, sort_addresses
from otscert.service.refusal import Refusal
from otscert.service.topics import DUE
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64, kdf
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.messages import (
    EPOCH_TOKEN_BYTES,
    PATH_ORDERS,
    SEED_BYTES,
    TXID_BYTES,
    Enroll,
    Granted,
    Refused,
)
from otscert_agent.wire.problems import ProblemType

ENROLLED_S = 30 * 24 * 3600
"""How long an enrolment can be asked for again by a box that lost the answer and was switched off."""
FIRST_CHECKIN_S = 30
_ID_BYTES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """The use case with what it works on outside the store."""

    hq: Hq
    zone: ZonePublisher
    signals: Signals

    def __call__(self, transaction: Transaction, request: Request[Enroll]) -> Reply:
        row = open_transaction(transaction, request)
        if row.device_id is None:
            check_binding(transaction, request, row)
        csr = self._checked_csr(transaction, request, row)
        if row.csr_sha256 is not None:
            return self._granted_again(transaction, request, row)
        if row.device_id is None:
            return self._admit(transaction, request, row, csr)
        return self._renew(transaction, request, row, csr)

    def _checked_csr(self, transaction: Transaction, request: Request[Enroll], row: HelloRow) -> CheckedCsr:
        try:
            csr = check_csr(
                b64.decode(request.message.csr, what="csr"),
                names=certificate_names(row.label, self.hq.zone),
                expected_point=row.expected_point,
            )
        except ContributionMismatch as error:
            raise Refusal(ProblemType.BAD_CONTRIBUTION, str(error)) from error
        except (CsrRefused, WireError) as error:
            raise Refusal(ProblemType.BAD_CSR, str(error)) from error
        if row.csr_sha256 is not None and row.csr_sha256 != csr.sha256:
            raise Refusal(ProblemType.TXID_CONFLICT, "this transaction was enrolled with another CSR; say hello again")
        if row.csr_sha256 is None:
            refuse_known_key(transaction, csr.spki_sha256, csr.x_coordinate, row)
        return csr

    def _admit(self, transaction: Transaction, request: Request[Enroll], row: HelloRow, csr: CheckedCsr) -> Reply:
        model = known_model(self.hq, row.model)
        token = self._token_bucket(request, row.model)
        admission = judge_admission(
            model, token_valid=None if request.message.token_proof is None else token is not None
        )
        if admission.policy is None:
            return Reply(message=Refused(reason=admission.reason, final=False, retry_after_s=3600))
        self._spend_admission(transaction, request, model, admission)
        addresses = addresses_of_a_new_box(model, request.message.addresses)
        epoch_token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        device = self._new_device(request, row, admission, addresses.allowed, epoch_token)
        transaction.devices.add(device)
        transaction.names.give(row.label, device_id=device.id)
        self._enter_identity(transaction, request, row, device)
        # The first certificate counts among those that the CA allows for this set of names.
        transaction.quotas.spend(f"orders:device:{device.id}", self.hq.orders_per_device, now_ms=request.now_s * 1000)
        transaction.events.append(
            "device.admitted",
            now_s=request.now_s,
            device_id=device.id,
            data={
                "policy": admission.policy,
                "label": row.label,
                "address": request.address,
                "refused": addresses.refused,
            },
        )
        return self._granted(transaction, request, row, csr, device=device, epoch_token=epoch_token)

    def _renew(self, transaction: Transaction, request: Request[Enroll], row: HelloRow, csr: CheckedCsr) -> Reply:
        if request.known is None or request.known.device_id != row.device_id:
            raise Refusal(ProblemType.TXID_CONFLICT, "this transaction belongs to another key")
        device = transaction.devices.get(row.device_id or "")
        if device is None:
            raise Refusal(ProblemType.UNKNOWN_KEY, "HQ does not know this device any more")
        check_epoch(device, request.message.epoch_token)
        permission = may_order(device)
        if not permission.allowed:
            return Reply(message=Refused(reason=permission.reason, final=False, retry_after_s=24 * 3600))
        decision = transaction.quotas.spend(
            f"orders:device:{device.id}", self.hq.orders_per_device, now_ms=request.now_s * 1000
        )
        if not decision.allowed:
            reason = f"this box already had {self.hq.orders_per_device.count} certificates lately"
            return Reply(message=Refused(reason=reason, final=False, retry_after_s=decision.retry_after_s))
        addresses = sort_addresses(known_model(self.hq, device.model), request.message.addresses)
        epoch_token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        renewed = replace(
            device,
            firmware=row.firmware,
            source=row.source,
            contribution=Contribution.OPEN,
            last_seen_s=request.now_s,
            addresses=addresses.allowed or device.addresses,
            ratchet=replace(
                device.ratchet,
                token_hash=hash_token(epoch_token),
                previous_hash=device.ratchet.token_hash,
                last_txid=_enrolled_by(row),
            ),
        )
        transaction.devices.save(renewed, seen_token_hash=device.ratchet.token_hash)
        transaction.events.append("device.renewing", now_s=request.now_s, device_id=device.id)
        return self._granted(transaction, request, row, csr, device=renewed, epoch_token=epoch_token)

    def _granted_again(self, transaction: Transaction, request: Request[Enroll], row: HelloRow) -> Reply:
        """The same enrolment under a new seq: its answer was lost. The order stands; the epoch token is made anew."""
        order = transaction.orders.by_txid(row.txid)
        device = transaction.devices.get(order.device_id) if order else None
        # Only while this enrolment is the last thing that turned the ratchet: neither a check-in nor a later enrolment
        # came since, so an old copy of the state cannot get around it here.
        if order is None or device is None or device.ratchet.last_txid != _enrolled_by(row):
            raise Refusal(ProblemType.UNKNOWN_TXID, "this transaction has ended; check in or say hello")
        note(transaction, "enrolment.repeated", now_s=request.now_s, device_id=device.id)
        epoch_token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        ratchet = replace(device.ratchet, token_hash=hash_token(epoch_token))
        transaction.devices.save(replace(device, ratchet=ratchet), seen_token_hash=device.ratchet.token_hash)
        return Reply(message=self._granted_message(order, epoch_token))

    def _granted(
        self,
        transaction: Transaction,
        request: Request[Enroll],
        row: HelloRow,
        csr: CheckedCsr,
        *,
        device: Device,
        epoch_token: str,
    ) -> Reply:
        transaction.hellos.enrolled(
            row.txid,
            csr_sha256=csr.sha256,
            identity=request.thumbprint,
            expires_at_s=request.now_s + ENROLLED_S,
        )
        transaction.verified_keys.add(
            spki_sha256=csr.spki_sha256,
            x_coordinate=csr.x_coordinate,
            device_id=device.id,
            kind="certificate",
            contribution=device.contribution,
            source=device.source,
            now_s=request.now_s,
        )
        order = self._new_order(row, csr, device, now_s=request.now_s)
        transaction.orders.add(order)
        return Reply(
            message=self._granted_message(order, epoch_token),
            after=lambda: self._after_commit(device),
        )

    def _after_commit(self, device: Device) -> None:
        model = known_model(self.hq, device.model)
        self.zone.activate(device.label, published_addresses(model, device.addresses), model.addresses)
        self.signals.publish(DUE)

    def _granted_message(self, order: Order, epoch_token: str) -> Granted:
        return Granted(
            device_id=order.device_id,
            names=list(order.names),
            order=f"{self.hq.public_url}{PATH_ORDERS}{order.id}",
            epoch_token=epoch_token,
            # Soon: it is the first check-in that tells whether the certificate is really served.
            next_checkin_s=min(self.hq.checkin_s, round(FIRST_CHECKIN_S * (1 + self.hq.jitter()))),
            seed=b64.encode(self.hq.randomness(SEED_BYTES)),
        )

    def _new_order(self, row: HelloRow, csr: CheckedCsr, device: Device, *, now_s: int) -> Order:
        return Order(
            id=self.hq.randomness(_ID_BYTES).hex(),
            device_id=device.id,
            txid=row.txid,
            label=row.label,
            names=certificate_names(row.label, self.hq.zone),
            csr_der=csr.der,
            state=OrderState.WAITING,
            issuer=self.hq.issuer,
            profile=self.hq.profile,
            attempt=0,
            url=None,
            reason="waiting for its turn",
            created_at_s=now_s,
            next_at_s=now_s,
            certificate_sha256=None,
        )

    def _new_device(
        self,
        request: Request[Enroll],
        row: HelloRow,
        admission: Admission,
        addresses: tuple[str, ...],
        epoch_token: str,
    ) -> Device:
        return Device(
            id=self.hq.randomness(_ID_BYTES).hex(),
            thumbprint=request.thumbprint,
            model=row.model,
            serial=row.serial,
            firmware=row.firmware,
            label=row.label,
            state=DeviceState.ACTIVE,
            policy=str(admission.policy),
            contribution=Contribution.OPEN,
            source=row.source,
            admitted_at_s=request.now_s,
            last_seen_s=request.now_s,
            addresses=addresses,
            served_sha256=None,
            unserved=0,
            cmd_seq=0,
            ratchet=Ratchet(
                token_hash=hash_token(epoch_token),
                previous_hash=b"",
                last_txid=_enrolled_by(row),
                fingerprint=row.fingerprint,
                last_resync_s=None,
            ),
        )

    def _enter_identity(
        self, transaction: Transaction, request: Request[Enroll], row: HelloRow, device: Device
    ) -> None:
        raw = request.key.raw
        x_coordinate = raw[1:33] if len(raw) == 65 else raw
        spki_sha256 = hashlib.sha256(raw).digest()
        refuse_known_key(transaction, spki_sha256, x_coordinate, row)
        transaction.verified_keys.add(
            spki_sha256=spki_sha256,
            x_coordinate=x_coordinate,
            device_id=device.id,
            kind="identity",
            contribution=device.contribution,
            source=device.source,
            now_s=request.now_s,
        )
        # The key's row is written with the answer, after this; binding it here would find none.
        transaction.keys.record(
            request.thumbprint, alg=request.key.alg, raw=raw, seq=0, digest=b"", answer=None, now_s=request.now_s
        )
        transaction.keys.bind(request.thumbprint, device.id)

    def _token_bucket(self, request: Request[Enroll], model: str) -> str | None:
        """A name for the valid token (for its quota), None when the proof fits no token of the model."""
        try:
            proof = b64.decode(request.message.token_proof or "", what="token_proof")
            txid = b64.decode(request.message.txid, length=TXID_BYTES, what="txid")
        except WireError as error:
            raise Refusal(ProblemType.BAD_TOKEN, str(error)) from error
        found = None
        for token in self.hq.tokens.get(model, ()):
            # Every token is tried, so that time tells nothing about which one fits.
            if hmac.compare_digest(kdf.token_proof(token, txid, request.thumbprint), proof):
                found = hashlib.sha256(token).hexdigest()[:16]
        return found

    def _spend_admission(
        self, transaction: Transaction, request: Request[Enroll], model: Model, admission: Admission
    ) -> None:
        of_address = model.admissions_per_address
        charged = [
            (f"admit:address:{model.name}:{bucket}", replace(of_address, count=of_address.count * share))
            for bucket, share in buckets(request.address)
        ]
        charged.append((f"admit:model:{model.name}", model.admissions_per_model))
        if admission.policy is Policy.TOKEN:
            charged.append((f"admit:token:{self._token_bucket(request, model.name)}", model.admissions_per_model))
        for bucket, quota in charged:
            decision = transaction.quotas.spend(bucket, quota, now_ms=request.now_s * 1000)
            if not decision.allowed:
                raise Refusal(
                    ProblemType.OVER_QUOTA,
                    f"policy {admission.policy} of model {model.name} admits {quota.count} boxes in {quota.period_s} s",
                    retry_after_s=decision.retry_after_s,
                )


def _enrolled_by(row: HelloRow) -> str:
    """What the ratchet remembers as its last transaction after an enrolment; never the txid of a check-in."""
    return f"enrolment {row.txid}"
