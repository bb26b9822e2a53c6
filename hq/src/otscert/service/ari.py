"""Asks the CA when certificates are to be renewed (RFC 9773, "ARI"), and keeps what it says beside them.

Asked for is the newest certificate of each box in good standing. The next question is on disk before the present one
is sent, so that a certificate is asked for once at a time, and a CA is not stormed by an HQ that ends again and again.
What cannot be had changes nothing: `domain.renewal` decides without a window too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from otscert.acme.fault import Remedy
from otscert.ca.errors import CaError, CaUnreachableError
from otscert.ca.issuer import RenewalAdvice
from otscert.domain.budget import Rank
from otscert.domain.device import may_work
from otscert.domain.renewal import (
    ASK_AGAIN_S,
    LONGEST_ASK_S,
    Window,
    ask_again_s,
    choose_moment,
    judge_renewal,
    why_unusable,
)
from otscert.service.context import Hq
from otscert.service.notes import note
from otscert.service.ports import RenewalSource, Store
from otscert.service.replacing import ari_id_of
from otscert.store.certificates import Certificate
from otscert.store.errors import StoreUnavailable
from otscert.store.transaction import Transaction

EVERY_S = 10.0
AT_ONCE = 16
"""Questions at the CA at a time."""
ANSWER_WITHIN_S = 30.0
_RETRY_S = 15 * 60
"""After an error that passes; the next questions of all certificates wait too, see `_Silence`."""
_LONGEST_PAUSE_S = 600.0
_LONGEST_PARK_S = 3600.0
_STRAYED_S = 3 * LONGEST_ASK_S
_PASSES = frozenset({Remedy.BACK_OFF, Remedy.PARK, Remedy.RETRY_NOW})
_log = logging.getLogger(__name__)
Answered = tuple[Certificate, RenewalAdvice | CaError | None]


@dataclass(slots=True)
class _Silence:
    """An issuer that answered none of its last questions, in so many rounds; asked again from `until_s`."""

    rounds: int = 0
    until_s: int = 0


@dataclass(slots=True, kw_only=True)
class AskingWhen:
    """Takes due questions to the issuers that gave the certificates; `sources` are those that can be asked, by name."""

    hq: Hq
    store: Store
    sources: Mapping[str, RenewalSource]
    answer_within_s: float = ANSWER_WITHIN_S
    _silent: dict[str, _Silence] = field(default_factory=dict)

    async def work(self) -> None:
        """Ask for ever."""
        while True:
            wait_s = EVERY_S
            try:
                await self._bring_back()
                while not self._all_silent_s() and await self.once():
                    pass
                wait_s = max(wait_s, self._all_silent_s())
            except StoreUnavailable as error:
                _log.error("ari.store_unavailable", extra={"reason": str(error)})
            except Exception:  # noqa: BLE001
                # Renewal goes on without the CA's windows; HQ must not end because of them.
                _log.exception("ari.crashed")
                wait_s = _LONGEST_PAUSE_S
            await asyncio.sleep(wait_s)

    async def once(self) -> int:
        """Ask what is due, a few at a time; returns how many certificates were looked at."""
        now_s = self.hq.now_s()
        if not await self.store.read(lambda transaction: transaction.certificates.ari_due(now_s=now_s, limit=1)):
            self._silent.clear()
            return 0
        looked_at, claimed = await self.store.write(lambda transaction: self._claim(transaction, now_s=now_s))
        results = await asyncio.gather(*map(self._ask, claimed))
        if claimed:
            answered = list(zip(claimed, results, strict=True))
            for name in {certificate.issuer for certificate in claimed}:
                self._listen(name, [result for certificate, result in answered if certificate.issuer == name])
            await self.store.write(partial(self._take_up_all, answered=answered))
        return looked_at

    def _listen(self, name: str, results: Sequence[RenewalAdvice | CaError | None]) -> None:
        """Note an issuer that answered none of the questions of a round: it is left in peace for a while."""
        passing = [error for error in results if isinstance(error, CaError) and error.fault.remedy in _PASSES]
        if len(passing) < len(results):
            self._silent.pop(name, None)
            return
        silence = self._silent.setdefault(name, _Silence())
        silence.rounds += 1
        grown_s = min(EVERY_S * 2.0 ** min(silence.rounds, 10), _LONGEST_PAUSE_S) * (0.5 + self.hq.jitter() / 2)
        asked_for_s = max(error.fault.retry_after_s or 0.0 for error in passing)
        silence.until_s = self.hq.now_s() + round(min(max(grown_s, asked_for_s), _LONGEST_PARK_S))

    def _silent_s(self, name: str) -> float:
        """How long nothing is asked of an issuer yet."""
        left_s = self._silent[name].until_s - self.hq.now_s() if name in self._silent else 0
        return left_s if 0 < left_s <= _LONGEST_PARK_S else 0  # more: the clock was set back meanwhile

    def _all_silent_s(self) -> float:
        """How long nothing at all is asked, because every issuer is silent."""
        return min(map(self._silent_s, self.sources), default=0)

    def _claim(self, transaction: Transaction, *, now_s: int) -> tuple[int, list[Certificate]]:
        due = transaction.certificates.ari_due(now_s=now_s, limit=AT_ONCE)
        claimed = []
        for certificate in due:
            asks, next_s = self._whether(transaction, certificate, now_s=now_s)
            if transaction.certificates.ari_claim(certificate, next_poll_s=next_s) and asks:
                claimed.append(certificate)
        return len(due), claimed

    def _whether(self, transaction: Transaction, certificate: Certificate, *, now_s: int) -> tuple[bool, int | None]:
        """Whether the CA is asked for this certificate now, and when it is looked at again (None: never)."""
        newest = transaction.certificates.newest(certificate.device_id)
        if newest is None or newest.sha256 != certificate.sha256 or certificate.not_after_s <= now_s:
            return False, None
        device = transaction.devices.get(certificate.device_id)
        if device is None or not may_work(device).allowed or certificate.issuer not in self.sources:
            return False, now_s + self._spread(ASK_AGAIN_S)
        if self._silent_s(certificate.issuer):
            return False, now_s + self._spread(_RETRY_S)
        return True, now_s + self._spread(_RETRY_S)

    async def _ask(self, certificate: Certificate) -> RenewalAdvice | CaError | None:
        """Ask; returns the error instead of raising it, None when it cannot even be asked."""
        try:
            ari_id = ari_id_of(certificate)
            if ari_id is None:
                return None
            async with asyncio.timeout(self.answer_within_s):
                return await self.sources[certificate.issuer].renewal_info(ari_id)
        except CaError as error:
            return error
        except TimeoutError:
            return CaUnreachableError("the CA did not answer within the time limit")
        except Exception:  # noqa: BLE001
            # One poisoned certificate must not keep the others from being asked for.
            _log.exception("ari.not_asked", extra={"sha256": certificate.sha256})
            return None

    def _take_up_all(self, transaction: Transaction, *, answered: Sequence[Answered]) -> None:
        for certificate, result in answered:
            self._take_up(transaction, certificate, result)

    def _take_up(
        self, transaction: Transaction, certificate: Certificate, result: RenewalAdvice | CaError | None
    ) -> None:
        now_s = self.hq.now_s()
        if not isinstance(result, RenewalAdvice):
            self._ask_later(transaction, certificate, result, now_s=now_s)
            return
        info = result.info
        next_s = now_s + ask_again_s(result.retry_after_s, jitter=self.hq.jitter())
        why_not = why_unusable(
            start_s=info.start_s,
            end_s=info.end_s,
            not_before_s=certificate.not_before_s,
            not_after_s=certificate.not_after_s,
        )
        if why_not is not None:
            transaction.certificates.ari_ask_at(certificate.sha256, next_poll_s=next_s)
            _log.warning("ari.unusable", extra={"sha256": certificate.sha256, "reason": why_not})
            return
        before = certificate.window
        window = choose_moment(start_s=info.start_s, end_s=info.end_s, kept=before, now_s=now_s, dice=self.hq.jitter())
        transaction.certificates.ari_told(
            certificate.sha256, window, explanation=info.explanation_url, next_poll_s=next_s
        )
        self._note_change(transaction, certificate, before, window, explanation=info.explanation_url, now_s=now_s)

    def _note_change(
        self,
        transaction: Transaction,
        certificate: Certificate,
        before: Window | None,
        window: Window,
        *,
        explanation: str | None,
        now_s: int,
    ) -> None:
        if before is not None and (before.start_s, before.end_s) == (window.start_s, window.end_s):
            return
        decision = judge_renewal(
            not_before_s=certificate.not_before_s, not_after_s=certificate.not_after_s, now_s=now_s, window=window
        )
        recalled = decision.recalled
        if before is None and not recalled:
            return
        if recalled:  # an order that waits for its turn already is as urgent as one that is made now
            transaction.orders.raise_rank(certificate.device_id, Rank.INCIDENT)
        data = {
            "sha256": certificate.sha256,
            "from_s": window.start_s,
            "until_s": window.end_s,
            "explanation": explanation,
        }
        note(
            transaction,
            "renewal.incident" if recalled else "renewal.moved",
            now_s=now_s,
            device_id=certificate.device_id,
            data=data,
        )
        _log.warning("ari.moved", extra={**data, "recalled": recalled})

    def _ask_later(
        self, transaction: Transaction, certificate: Certificate, error: CaError | None, *, now_s: int
    ) -> None:
        """Leave what was known as it is. What a claim wrote holds for errors that pass (RFC 9773 section 4.3.3)."""
        if error is not None:
            _log.info("ari.not_told", extra={"sha256": certificate.sha256, "reason": error.fault.reason})
        retry_after_s = error.fault.retry_after_s if error is not None else None
        if error is not None and error.fault.remedy in _PASSES and retry_after_s is None:
            return
        next_s = now_s + ask_again_s(retry_after_s, jitter=self.hq.jitter())
        transaction.certificates.ari_ask_at(certificate.sha256, next_poll_s=next_s)

    async def _bring_back(self) -> None:
        """Ask where HQ's clock was ahead when the next question was planned, and has been set right since."""
        now_s = self.hq.now_s()
        strayed = await self.store.read(
            lambda transaction: transaction.certificates.ari_strayed(from_s=now_s + _STRAYED_S)
        )
        if strayed:
            await self.store.write(
                lambda transaction: transaction.certificates.ari_bring_back(from_s=now_s + _STRAYED_S, now_s=now_s)
            )

    def _spread(self, wait_s: int) -> int:
        return round(wait_s * (1 + self.hq.jitter()))
