"""A box checks in: the ratchet turns, addresses and the served certificate are noted, commands are given."""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass, replace

from otscert.domain.addresses import AddressPolicy, IPAddress
from otscert.domain.assurance import Contribution, judge_rekey
from otscert.domain.device import Device, DeviceEvent, may_order, move
from otscert.domain.ratchet import RatchetVerdict, judge_checkin
from otscert.domain.renewal import judge_renewal, next_checkin_s
from otscert.service.canary import watch_canary
from otscert.service.context import Hq
from otscert.service.conversation import Reply, Request
from otscert.service.hello import LAST_BOOT, hash_token, known_model
from otscert.service.notes import note
from otscert.service.ports import Seal, Signals, ZonePublisher
from otscert.service.presence import welcome_back
from otscert.service.publish import published_addresses, shown, sort_addresses, without_global
from otscert.service.recalls import call_within_s, recall_of, settle
from otscert.service.refusal import Refusal, make_problem
from otscert.service.standing import refuse_retired
from otscert.service.topics import DUE
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction
from otscert_agent.wire import b64
from otscert_agent.wire.errors import WireError
from otscert_agent.wire.messages import (
    EPOCH_TOKEN_BYTES,
    SEED_BYTES,
    TXID_BYTES,
    CheckIn,
    CheckInAnswer,
    Command,
    from_object,
)
from otscert_agent.wire.problems import ProblemType

_PURPOSE = "check-in"
_LONGEST_TEXT = 200
_SHA256_HEX = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckingIn:
    """The use case with what it works on outside the store."""

    hq: Hq
    zone: ZonePublisher
    seal: Seal
    signals: Signals

    def __call__(self, transaction: Transaction, request: Request[CheckIn]) -> Reply:
        checkin = request.message
        device = _device(transaction, request)
        decision = judge_checkin(
            device.ratchet,
            token_hash=hash_token(checkin.epoch_token),
            txid=checkin.txid,
            fingerprint=checkin.hardware_fingerprint,
            now_s=request.now_s,
        )
        if decision.verdict is RatchetVerdict.REPEAT:
            return self._again(transaction, device)
        if decision.verdict is RatchetVerdict.START_OVER:
            note(transaction, "clone.seen", now_s=request.now_s, device_id=device.id, data={"reason": decision.reason})
            return Reply(message=make_problem(ProblemType.START_OVER, f"{decision.reason}; enrol as a new box"))
        if decision.verdict is RatchetVerdict.FREEZE:
            return self._freeze(transaction, device, decision.reason, now_s=request.now_s)
        if decision.verdict is RatchetVerdict.RESYNC:
            transaction.events.append("device.resync", now_s=request.now_s, device_id=device.id)
        return self._advance(transaction, request, device, resynced=decision.verdict is RatchetVerdict.RESYNC)

    def _advance(self, transaction: Transaction, request: Request[CheckIn], device: Device, *, resynced: bool) -> Reply:
        checkin = request.message
        model = known_model(self.hq, device.model)
        sorted_addresses = sort_addresses(model, checkin.addresses, caller=request.caller, before=device.addresses)
        # A box that sends nothing usable keeps the old ones: it must go on to be told to renew.
        addresses = sorted_addresses.allowed
        if checkin.addresses and not addresses:
            addresses = without_global(device.addresses)
        was_away = welcome_back(transaction, device, now_s=request.now_s)
        self._note_served(transaction, device, checkin, now_s=request.now_s)
        newest = transaction.certificates.newest(device.id)
        served_newest = newest is not None and newest.sha256 == checkin.served_sha256
        if newest is not None and served_newest and checkin.served_sha256 != device.served_sha256:
            settle(transaction, device.id, newest, now_s=request.now_s)
        token = b64.encode(self.hq.randomness(EPOCH_TOKEN_BYTES))
        changed = replace(
            device,
            firmware=checkin.firmware,
            last_seen_s=request.now_s,
            addresses=addresses,
            served_sha256=checkin.served_sha256,
            # An older one of its own does not count: a box that never installs would be given certificates for ever.
            unserved=0 if served_newest else device.unserved,
            serving_since_s=(device.serving_since_s or request.now_s) if served_newest else None,
            in_dns=True,
            ratchet=replace(
                device.ratchet,
                token_hash=hash_token(token),
                previous_hash=hash_token(checkin.epoch_token),
                last_txid=checkin.txid,
                last_resync_s=request.now_s if resynced else device.ratchet.last_resync_s,
            ),
        )
        # A box that lost its newest pair's answer serves an older one: that one's end is what has to be prevented.
        served = transaction.certificates.of_device(checkin.served_sha256, device_id=device.id)
        answer = self._answer(transaction, changed, served or newest, newest, token, now_s=request.now_s)
        transaction.devices.save(replace(changed, cmd_seq=answer.cmd_seq), seen_token_hash=device.ratchet.token_hash)
        sealed = self.seal.close(json.dumps(asdict(answer)).encode(), purpose=_PURPOSE)
        transaction.devices.remember_checkin(device.id, sealed)
        watch_canary(transaction, device, sha256=checkin.canary, boot=checkin.boot, now_s=request.now_s)
        if addresses != device.addresses:
            note(
                transaction,
                "device.moved",
                now_s=request.now_s,
                device_id=device.id,
                data={"addresses": addresses, "refused": sorted_addresses.refused},
            )
        elif checkin.addresses and not sorted_addresses.allowed:
            refused = {"refused": sorted_addresses.refused}
            note(transaction, "address.refused", now_s=request.now_s, device_id=device.id, data=refused)
        publish = published_addresses(model, addresses)
        policy = shown(model, serves=served_newest)
        return Reply(message=answer, after=lambda: self._after(device.label, publish, policy, was_away=was_away))

    def _after(self, label: str, addresses: tuple[IPAddress, ...], policy: AddressPolicy, *, was_away: bool) -> None:
        self.zone.activate(label, addresses, policy)
        if was_away:
            self.signals.publish(DUE)

    def _answer(
        self,
        transaction: Transaction,
        device: Device,
        certificate: Certificate | None,
        newest: Certificate | None,
        token: str,
        *,
        now_s: int,
    ) -> CheckInAnswer:
        commands: list[Command] = []
        due_at_s = incident_s = None
        # A device that may not order, or is being served already, has no reason to call more often than usual.
        if certificate is not None and may_order(device).allowed and not transaction.orders.unfinished(device.id):
            renewal = judge_renewal(
                not_before_s=certificate.not_before_s,
                not_after_s=certificate.not_after_s,
                now_s=now_s,
                window=certificate.window,
                recall=recall_of(transaction, certificate) or recall_of(transaction, newest),
            )
            rekey = judge_rekey(
                Contribution(device.contribution),
                first=transaction.certificates.count(device.id) == 1,
                issued_at_s=certificate.issued_at_s,
                rekey_after_s=known_model(self.hq, device.model).rekey_after_s,
                now_s=now_s,
            )
            due_at_s = min(renewal.at_s, rekey.at_s or renewal.at_s)
            incident_s = call_within_s(transaction, device, newest or certificate, usual_s=self.hq.checkin_s)
            if (renewal.due or rekey.due) and _is_blocked(transaction, device):
                due_at_s = incident_s = None  # its hello would be refused: nothing to call more often for
            elif renewal.due:
                commands.append(Command(name="renew", reason=renewal.reason))
            elif rekey.due:
                commands.append(Command(name="rekey", reason=rekey.reason))
        return CheckInAnswer(
            epoch_token=token,
            next_checkin_s=next_checkin_s(
                life_s=certificate.not_after_s - certificate.not_before_s if certificate else None,
                due_at_s=due_at_s,
                now_s=now_s,
                usual_s=self.hq.checkin_s,
                jitter=self.hq.jitter(),
                incident_s=incident_s,
            ),
            seed=b64.encode(self.hq.randomness(SEED_BYTES)),
            cmd_seq=device.cmd_seq + (1 if commands else 0),
            commands=commands,
        )

    def _again(self, transaction: Transaction, device: Device) -> Reply:
        sealed = transaction.devices.checkin_answer(device.id)
        if sealed is None:
            raise Refusal(ProblemType.STALE_EPOCH, "HQ does not remember its last answer; check in with a new txid")
        stored = json.loads(self.seal.open(sealed, purpose=_PURPOSE))
        return Reply(message=from_object(CheckInAnswer, stored))

    def _freeze(self, transaction: Transaction, device: Device, reason: str, *, now_s: int) -> Reply:
        state = move(device.state, DeviceEvent.FREEZE)
        if state is not device.state:
            transaction.devices.set_state(device.id, state)
            transaction.events.append("clone.frozen", now_s=now_s, device_id=device.id, data={"reason": reason})
        return Reply(
            message=make_problem(
                ProblemType.STALE_EPOCH,
                f"{reason}; its certificate goes on working, HQ's operator decides which box keeps the name",
                retry_after_s=24 * 3600,
            )
        )

    def _note_served(self, transaction: Transaction, device: Device, checkin: CheckIn, *, now_s: int) -> None:
        """Note which certificate the box's web server presents; an event says when it starts to be a foreign one."""
        sha256 = checkin.served_sha256
        if sha256 is None or transaction.certificates.seen_served(sha256, device_id=device.id, now_s=now_s):
            return
        if sha256 != device.served_sha256:
            note(transaction, "served.other", now_s=now_s, device_id=device.id, data={"sha256": sha256})


def _device(transaction: Transaction, request: Request[CheckIn]) -> Device:
    checkin = request.message
    texts = (checkin.firmware, checkin.agent, checkin.txid, checkin.hardware_fingerprint, checkin.served_sha256 or "")
    if not 0 <= checkin.boot <= LAST_BOOT:
        raise Refusal(ProblemType.MALFORMED, "boot is not a number from 0 to 2^53-1")
    if any(len(text) > _LONGEST_TEXT for text in texts):
        raise Refusal(ProblemType.MALFORMED, f"a text of the check-in is longer than {_LONGEST_TEXT} characters")
    if checkin.served_sha256 is not None and _SHA256_HEX.match(checkin.served_sha256) is None:
        raise Refusal(ProblemType.MALFORMED, "served_sha256 is not 64 hexadecimal digits in lower case")
    try:
        b64.decode(checkin.txid, length=TXID_BYTES, what="txid")
    except WireError as error:
        raise Refusal(ProblemType.MALFORMED, str(error)) from error
    device_id = request.known.device_id if request.known else None
    device = transaction.devices.get(device_id) if device_id else None
    if device is None:
        raise Refusal(ProblemType.UNKNOWN_KEY, "this key is not a device's identity; say hello")
    refuse_retired(device)
    if device.thumbprint != request.thumbprint:
        raise Refusal(
            ProblemType.START_OVER,
            "the unit has enrolled again since under the same name: this identity is over",
            event=("clone.seen", device.id, {"fingerprint": checkin.hardware_fingerprint, "identity": "replaced"}),
        )
    return device


def _is_blocked(transaction: Transaction, device: Device) -> bool:
    return device.serial is not None and transaction.units.blocked(device.model, device.serial) is not None
