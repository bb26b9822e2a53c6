"""A box enrolls: its CSR is checked, a policy admits it, its order is put into the queue.

Everything is one transaction: a box is admitted with its name, its keys and its order, or not at all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from otscert.domain.assurance import Contribution, Source, judge_assurance
from otscert.domain.budget import Rank
from otscert.domain.csr import CheckedCsr, ContributionMismatch, CsrRefused, check_csr, may_use_rsa
from otscert.domain.device import Device, DeviceState, may_order
from otscert.domain.key_index import KeyIndex, index_of_device_key
from otscert.domain.names import certificate_names
from otscert.domain.order import Order, OrderState
from otscert.domain.ranking import rank_order
from otscert.domain.ratchet import Ratchet
from otscert.domain.renewal import judge_renewal
from otscert.service.admitting import Admitted, Admitting
from otscert.service.canary import watch_canary
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.enroll_checks import (
    addresses_of_a_new_box,
    check_binding,
    open_transaction,
    refuse_known_key,
)
from otscert.service.hello import check_epoch, hash_token, known_model
from otscert.service.key_checks import KeyChecks
from otscert.service.notes import note
from otscert.service.ports import Signals, ZonePublisher
from otscert.service.presence import welcome_back
from otscert.service.publish import published_addresses, shown, sort_addresses
from otscert.service.recalls import recall_of
from otscert.service.refusal import Refusal, make_problem
from otscert.service.standing import refuse_retired
from otscert.service.starting_over import Left, device_before, take_place
from otscert.service.topics import DUE
from otscert.service.units import ASK_AGAIN_S, UnitRefused, refuse_unwelcome
from otscert.service.waiting import WAITING_S
from otscert.store.hellos import HelloRow
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.messages import EPOCH_TOKEN_BYTES, PATH_ORDERS, SEED_BYTES, Enroll, Granted, Refused
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
    admitting: Admitting
    keys: KeyChecks

    def __call__(self, transaction: Transaction, request: Request[Enroll]) -> Reply:
        row = open_transaction(transaction, request)
        if row.device_id is None:
            check_binding(transaction, request, row)
        elif request.known is not None and request.known.device_id == row.device_id:
            renewing = transaction.devices.get(row.device_id)
            if renewing is not None:
                refuse_retired(renewing)
        try:
            refuse_unwelcome(transaction, row, now_s=request.now_s)
        except UnitRefused as refused:  # what it wrote stays: a unit on two boards is quarantined now
            return Reply(message=make_problem(ProblemType.BLOCKED_UNIT, str(refused), retry_after_s=ASK_AGAIN_S))
        order = transaction.orders.by_txid(row.txid)
        csr = self._checked_csr(transaction, request, row, granted=order is not None)
        if order is not None:
            return self._granted_again(transaction, request, row, order)
        if row.device_id is None:
            return self._admit(transaction, request, row, csr)
        return self._renew(transaction, request, row, csr)

    def _checked_csr(
        self, transaction: Transaction, request: Request[Enroll], row: HelloRow, *, granted: bool
    ) -> CheckedCsr:
        model = known_model(self.hq, row.model)
        try:
            csr = check_csr(
                b64.decode(request.message.csr, what="csr"),
                names=certificate_names(row.label, self.hq.zone),
                expected_point=row.expected_point,
                contribution=Contribution(row.contribution),
                rsa_allowed=may_use_rsa(model),
            )
        except ContributionMismatch as error:
            raise Refusal(ProblemType.BAD_CONTRIBUTION, str(error)) from error
        except (CsrRefused, WireError) as error:
            raise Refusal(ProblemType.BAD_CSR, str(error)) from error
        if row.csr_sha256 is not None and row.csr_sha256 != csr.sha256:
            raise Refusal(ProblemType.TXID_CONFLICT, "this transaction was enrolled with another CSR; say hello again")
        if not granted:
            refuse_known_key(transaction, csr.index, row)
            assurance = judge_assurance(
                csr.contribution,
                Source(row.source),
                min_contribution=model.min_contribution,
                min_source=model.min_source,
            )
            if not assurance.enough:
                raise Refusal(ProblemType.LOW_ASSURANCE, assurance.reason, retry_after_s=24 * 3600)
            self.keys.refuse(transaction, csr, row)  # last, for it is slow; before a person is asked
        return csr

    def _admit(self, transaction: Transaction, request: Request[Enroll], row: HelloRow, csr: CheckedCsr) -> Reply:
        model = known_model(self.hq, row.model)
        if request.known is not None and request.known.device_id is not None:
            # It was waiting in two transactions, and has become a box by the other one.
            raise Refusal(ProblemType.BAD_CONTRIBUTION, "this identity key belongs to a device already")
        admitted = self.admitting(transaction, request, row, model)
        if not isinstance(admitted, Admitted):
            if not isinstance(admitted.message, Refused):
                # From now on the transaction is this CSR's and this identity's, however long the decision takes.
                transaction.hellos.enrolled(
                    row.txid,
                    csr_sha256=csr.sha256,
                    identity=request.thumbprint,
                    expires_at_s=request.now_s + WAITING_S,
                )
            return admitted
        addresses = addresses_of_a_new_box(model, request.message.addresses, caller=request.caller)
        epoch_token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        before = device_before(transaction, row, now_s=request.now_s)
        fresh = self._new_device(
            request=request,
            row=row,
            csr=csr,
            admitted=admitted,
            addresses=addresses.allowed,
            epoch_token=epoch_token,
        )
        device, left = take_place(transaction, before, fresh, row, revoke=model.revoke_replaced, now_s=request.now_s)
        if row.unit is not None:
            transaction.units.enrolled(row.unit, device_id=device.id, fingerprint=row.fingerprint)
        self._enter_identity(transaction, request, row, device)
        watch_canary(transaction, device, sha256=row.canary, boot=row.boot, now_s=request.now_s)
        # The first certificate counts among those that the CA allows for this set of names.
        spent = transaction.quotas.spend(
            f"orders:device:{device.id}", self.hq.orders_per_device, now_ms=request.now_s * 1000
        )
        if not spent.allowed:  # a unit that starts over again and again under its old name
            raise Refusal(
                ProblemType.OVER_QUOTA,
                f"this name already had {self.hq.orders_per_device.count} certificates lately",
                retry_after_s=spent.retry_after_s,
            )
        transaction.events.append(
            "device.admitted",
            now_s=request.now_s,
            device_id=device.id,
            data={
                "policy": admitted.policy,
                "label": row.label,
                "address": request.address,
                "refused": addresses.refused,
                "contribution": device.contribution,
                "unit": row.unit,
                "name": "kept" if row.keeps else "new",
            },
        )
        return self._granted(transaction, request, row, csr, device=device, epoch_token=epoch_token, left=left)

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
        addresses = sort_addresses(
            known_model(self.hq, device.model),
            request.message.addresses,
            caller=request.caller,
            before=device.addresses,
        )
        epoch_token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        renewed = replace(
            device,
            firmware=row.firmware,
            source=row.source,
            contribution=csr.contribution,
            last_seen_s=request.now_s,
            addresses=addresses.allowed or device.addresses,
            in_dns=True,
            ratchet=replace(
                device.ratchet,
                token_hash=hash_token(epoch_token),
                previous_hash=device.ratchet.token_hash,
                last_txid=_enrolled_by(row),
            ),
        )
        welcome_back(transaction, device, now_s=request.now_s)
        transaction.devices.save(renewed, seen_token_hash=device.ratchet.token_hash)
        watch_canary(transaction, renewed, sha256=row.canary, boot=row.boot, now_s=request.now_s)
        transaction.events.append("device.renewing", now_s=request.now_s, device_id=device.id)
        return self._granted(transaction, request, row, csr, device=renewed, epoch_token=epoch_token)

    def _granted_again(self, transaction: Transaction, request: Request[Enroll], row: HelloRow, order: Order) -> Reply:
        """The same enrolment under a new seq: its answer was lost. The order stands; the epoch token is made anew."""
        device = transaction.devices.get(order.device_id)
        # Only while this enrolment is the last thing that turned the ratchet: neither a check-in nor a later enrolment
        # came since, so an old copy of the state cannot get around it here.
        if device is not None:
            refuse_retired(device)
        if device is None or device.ratchet.last_txid != _enrolled_by(row):
            raise Refusal(ProblemType.UNKNOWN_TXID, "this transaction has ended; check in or say hello")
        if request.known is None or request.known.last_answer is None:
            # The key's last message was a poll, whose answer is not stored: whoever polls has the grant, on his disk.
            raise Refusal(
                ProblemType.UNKNOWN_TXID,
                "the certificate of this enrolment was asked for already; say hello",
                event=("clone.seen", device.id, {"reason": "an enrolment was repeated after its order was polled"}),
            )
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
        left: Left | None = None,
    ) -> Reply:
        transaction.hellos.enrolled(
            row.txid,
            csr_sha256=csr.sha256,
            identity=request.thumbprint,
            expires_at_s=request.now_s + ENROLLED_S,
        )
        transaction.verified_keys.add(
            csr.index,
            device_id=device.id,
            kind="certificate",
            contribution=device.contribution,
            source=device.source,
            now_s=request.now_s,
        )
        self.keys.enter(transaction, csr, device_id=device.id)
        rank = _rank(transaction, device, now_s=request.now_s)
        order = self._new_order(row, csr, device, rank, now_s=request.now_s)
        transaction.orders.add(order)
        return Reply(
            message=self._granted_message(order, epoch_token),
            after=lambda: self._after_commit(device, left or Left()),
        )

    def _after_commit(self, device: Device, left: Left) -> None:
        if left.label is not None:
            self.zone.withdraw(left.label)
        for label, value in left.values:
            self.zone.drop_txt(label, value)
        model = known_model(self.hq, device.model)
        policy = shown(model, serves=device.serving_since_s is not None)
        self.zone.activate(device.label, published_addresses(model, device.addresses), policy)
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

    def _new_order(self, row: HelloRow, csr: CheckedCsr, device: Device, rank: Rank, *, now_s: int) -> Order:
        model = self.hq.models.get(device.model)
        return Order(
            id=self.hq.randomness(_ID_BYTES).hex(),
            device_id=device.id,
            txid=row.txid,
            label=row.label,
            names=certificate_names(row.label, self.hq.zone),
            csr_der=csr.der,
            state=OrderState.WAITING,
            issuer=self.hq.issuers_of(model)[0],  # the choice is made when its turn comes
            profile=model.profile if model is not None else None,
            attempt=0,
            url=None,
            reason="waiting for its turn",
            created_at_s=now_s,
            next_at_s=now_s,
            certificate_sha256=None,
            rank=rank,
        )

    def _new_device(
        self,
        *,
        request: Request[Enroll],
        row: HelloRow,
        csr: CheckedCsr,
        admitted: Admitted,
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
            policy=admitted.policy,
            contribution=csr.contribution,
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
            unit=row.unit,
            tags=admitted.tags,
        )

    def _enter_identity(
        self, transaction: Transaction, request: Request[Enroll], row: HelloRow, device: Device
    ) -> None:
        index: KeyIndex = index_of_device_key(request.key)
        refuse_known_key(transaction, index, row)
        transaction.verified_keys.add(
            index,
            device_id=device.id,
            kind="identity",
            contribution=device.contribution,
            source=device.source,
            now_s=request.now_s,
        )
        # The key's row is written with the answer, after this; binding it here would find none.
        transaction.keys.record(
            request.thumbprint,
            alg=request.key.alg,
            raw=request.key.raw,
            seq=0,
            digest=b"",
            answer=None,
            now_s=request.now_s,
        )
        transaction.keys.bind(request.thumbprint, device.id)


def _rank(transaction: Transaction, device: Device, *, now_s: int) -> Rank:
    """Who the order goes before, by how urgent it is at this moment."""
    newest = transaction.certificates.newest(device.id)
    if newest is None:
        return rank_order(policy=device.policy, lane=None).rank
    # As at a check-in: it is the end of the certificate that is served that has to be prevented.
    served = transaction.certificates.of_device(device.served_sha256, device_id=device.id)
    certificate = served if served is not None and not served.replaced else newest
    renewal = judge_renewal(
        not_before_s=certificate.not_before_s,
        not_after_s=certificate.not_after_s,
        now_s=now_s,
        window=certificate.window,
        recall=recall_of(transaction, certificate) or recall_of(transaction, newest),
    )
    return rank_order(policy=device.policy, lane=renewal.lane).rank


def _enrolled_by(row: HelloRow) -> str:
    """What the ratchet remembers as its last transaction after an enrolment; never the txid of a check-in."""
    return f"enrolment {row.txid}"
