"""Asks the CA to revoke what is to be revoked, until it has, it will not, or the certificate has ended by itself.

Who asks for it is `retirement`. Each try is on disk before the next one; asked twice, a CA says `alreadyRevoked`, which
is as good as done, so a kill between the CA's answer and the commit costs one request.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.acme.fault import Fault, Remedy, Whose
from otscert.ca.errors import CaError
from otscert.domain.order import back_off_s
from otscert.service.context import Hq
from otscert.service.ports import Revoker, Store
from otscert.store.certificates import Certificate
from otscert.store.errors import StoreUnavailable
from otscert.store.revocations import Revocation
from otscert.store.transaction import Transaction

EVERY_S = 5.0
AT_ONCE = 8
_TAKEN_OUT_S = 3600.0
_ALREADY_REVOKED = "alreadyRevoked"
# `unauthorized` (which orders read as a failed validation) says here that the certificate is not this account's.
_FOR_GOOD = frozenset({Remedy.PERMANENT, Remedy.DNS, Remedy.WITHOUT_REPLACES})
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Revoking:
    """Takes due revocations to the issuers that gave the certificates; `revokers` are those that can be asked."""

    hq: Hq
    store: Store
    revokers: Mapping[str, Revoker]

    async def work(self) -> None:
        """Take due revocations for ever."""
        while True:
            try:
                while await self.once():
                    pass
            except StoreUnavailable as error:
                _log.error("revocations.store_unavailable", extra={"reason": str(error)})
            await asyncio.sleep(EVERY_S)

    async def once(self) -> int:
        """Try what is due, a few at a time; returns how many."""
        now_s = self.hq.now_s()
        due = await self.store.read(lambda transaction: transaction.revocations.due(now_s=now_s, limit=AT_ONCE))
        for revocation in due:
            await self._try(revocation)
        return len(due)

    async def _try(self, revocation: Revocation) -> None:
        certificate = await self.store.read(
            lambda transaction: transaction.certificates.get(revocation.certificate_sha256)
        )
        if certificate is None or certificate.not_after_s <= self.hq.now_s():
            await self._end(revocation, certificate, problem="it had ended by itself")
            return
        revoker = self.revokers.get(certificate.issuer)
        if revoker is None:
            await self._postpone(revocation, _taken_out(certificate.issuer))
            return
        try:
            await revoker.revoke(_leaf(certificate), revocation.reason)
        except CaError as error:
            await self._after(revocation, certificate, error.fault)
        else:
            await self._end(revocation, certificate)

    async def _after(self, revocation: Revocation, certificate: Certificate, fault: Fault) -> None:
        if fault.problem is not None and fault.problem.name == _ALREADY_REVOKED:
            await self._end(revocation, certificate)
        elif fault.remedy in _FOR_GOOD:
            await self._end(revocation, certificate, problem=fault.reason)
        else:
            await self._postpone(revocation, fault)

    async def _postpone(self, revocation: Revocation, fault: Fault) -> None:
        wait_s = back_off_s(revocation.attempt + 1, retry_after_s=fault.retry_after_s, jitter=self.hq.jitter())
        sha256 = revocation.certificate_sha256
        next_at_s = self.hq.now_s() + wait_s
        await self.store.write(
            lambda transaction: transaction.revocations.failed(sha256, problem=fault.reason, next_at_s=next_at_s)
        )
        _log.warning("revocation.waits", extra={"sha256": sha256, "reason": fault.reason, "wait_s": wait_s})

    async def _end(self, revocation: Revocation, certificate: Certificate | None, *, problem: str = "") -> None:
        now_s = self.hq.now_s()

        def write(transaction: Transaction) -> None:
            transaction.revocations.done(revocation.certificate_sha256, now_s=now_s, problem=problem)
            data = {"sha256": revocation.certificate_sha256, "reason": revocation.reason}
            device_id = certificate.device_id if certificate else None
            if problem:
                failed = {**data, "problem": problem}
                transaction.events.append("revocation.failed", now_s=now_s, device_id=device_id, data=failed)
            else:
                transaction.events.append("certificate.revoked", now_s=now_s, device_id=device_id, data=data)

        await self.store.write(write)
        _log.info("revocation.ended", extra={"sha256": revocation.certificate_sha256, "problem": problem})


def _taken_out(issuer: str) -> Fault:
    """Only the account that ordered a certificate can have it revoked, and HQ does not have the device's key."""
    reason = f"its issuer {issuer} is not in the configuration any more: put [issuer.{issuer}] back to have it revoked"
    return Fault(remedy=Remedy.BACK_OFF, reason=reason, retry_after_s=_TAKEN_OUT_S, about=Whose.OURS)


def _leaf(certificate: Certificate) -> bytes:
    return x509.load_pem_x509_certificates(certificate.chain_pem.encode("ascii"))[0].public_bytes(Encoding.DER)
