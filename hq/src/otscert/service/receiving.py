"""A certificate has come: it is checked, and written down with all that follows from it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert.acme.certificate import Chain
from otscert.acme.fault import Fault, Remedy, Whose
from otscert.domain.device import Device, DeviceState
from otscert.domain.order import Order, OrderEvent
from otscert.service.context import Hq
from otscert.service.learning import learn_success
from otscert.service.outcomes import IssuanceError
from otscert.service.ports import Store, ZonePublisher
from otscert.service.publish import published_addresses, shown
from otscert.service.retirement import SUPERSEDED, ask_to_revoke
from otscert.service.standing import is_nobodys
from otscert.store.certificates import Certificate
from otscert.store.transaction import Transaction

_FIRST_QUESTION_S = 600


@dataclass(frozen=True, slots=True, kw_only=True)
class Receiving:
    hq: Hq
    store: Store
    zone: ZonePublisher

    async def take(self, order: Order, chain: Chain) -> Order:
        """Write the certificate down; raise `IssuanceError` for one that the box could not use."""
        check_chain(order, chain)
        now_s = self.hq.now_s()
        certificate = self._certificate(order, chain, now_s=now_s)

        def finish(transaction: Transaction) -> tuple[Order, Device | None, list[tuple[str, str]]]:
            behind = None
            issued = transaction.orders.advance(
                order, OrderEvent.ISSUE, certificate_sha256=certificate.sha256, reason="issued"
            )
            nobodys = is_nobodys(transaction, order)
            if nobodys:  # its box was retired or has started over meanwhile: no one can use it, nobody waits for it
                transaction.certificates.add(replace(certificate, replaced=True, ari_next_poll_s=None))
                self._revoke_by_policy(transaction, order, certificate, now_s=now_s)
            else:
                behind = self._behind(transaction, order)
                transaction.certificates.add(certificate)
                transaction.devices.count_unserved(order.device_id)
            learn_success(transaction, order.issuer, names=order.names, now_s=now_s)
            transaction.events.append(
                "order.issued",
                now_s=now_s,
                device_id=order.device_id,
                order_id=order.id,
                data={
                    "sha256": certificate.sha256,
                    "issuer": order.issuer,
                    "not_after_s": certificate.not_after_s,
                    "too_late": nobodys,
                },
            )
            return issued, behind, transaction.challenges.drop(order.id)

        issued, behind, values = await self.store.write(finish)
        # Nothing is awaited from here on: a box that calls after that commit is entered into the zone after this.
        if behind is not None:
            model = self.hq.models[behind.model]
            addresses = published_addresses(model, behind.addresses)
            self.zone.activate(behind.label, addresses, shown(model, serves=False))
        for label, value in values:
            self.zone.drop_txt(label, value)
        return issued

    def _behind(self, transaction: Transaction, order: Order) -> Device | None:
        """The box, if the zone says that it can be reached by HTTPS: what it presents is not the newest any more."""
        device = transaction.devices.get(order.device_id)
        model = self.hq.models.get(device.model) if device else None
        if device is None or model is None or not model.https_record or device.serving_since_s is None:
            return None
        return device if device.in_dns and device.state is not DeviceState.RETIRED else None

    def _certificate(self, order: Order, chain: Chain, *, now_s: int) -> Certificate:
        return Certificate(
            sha256=chain.leaf.sha256.hex(),
            device_id=order.device_id,
            order_id=order.id,
            issuer=order.issuer,
            serial=f"{chain.leaf.serial:x}",
            spki_sha256=chain.leaf.spki_sha256,
            not_before_s=int(chain.leaf.not_before.timestamp()),
            not_after_s=int(chain.leaf.not_after.timestamp()),
            chain_pem=chain.pem,
            issued_at_s=now_s,
            served_at_s=None,
            ari_next_poll_s=self._first_question_s(chain, now_s=now_s),
        )

    def _first_question_s(self, chain: Chain, *, now_s: int) -> int | None:
        """When the CA is first asked when to renew: soon, but not at once for all that a launch has issued."""
        if chain.leaf.ari_id is None:
            return None
        life_s = (chain.leaf.not_after - chain.leaf.not_before).total_seconds()
        return now_s + round(min(_FIRST_QUESTION_S, life_s / 100) * self.hq.jitter())

    def _revoke_by_policy(
        self, transaction: Transaction, order: Order, certificate: Certificate, *, now_s: int
    ) -> None:
        device = transaction.devices.get(order.device_id)
        model = self.hq.models.get(device.model) if device else None
        if model is None or model.revoke_replaced:
            ask_to_revoke(transaction, [certificate], reason=SUPERSEDED, now_s=now_s)


def check_chain(order: Order, chain: Chain) -> None:
    """Refuse a certificate that the box could not use, before it is told that there is one.

    It is issued, so this order has ended whatever it is worth; and an issuer that gives such certificates is not well.
    """
    csr = x509.load_der_x509_csr(order.csr_der)
    spki = csr.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if chain.leaf.spki_sha256 != hashlib.sha256(spki).digest():
        raise _unusable("the CA's certificate is for another key")
    if chain.leaf.names != set(order.names):
        raise _unusable(f"the CA's certificate is for other names: {', '.join(sorted(chain.leaf.names))}")


def _unusable(reason: str) -> IssuanceError:
    return IssuanceError(Fault(remedy=Remedy.PERMANENT, reason=reason, about=Whose.ISSUER))
