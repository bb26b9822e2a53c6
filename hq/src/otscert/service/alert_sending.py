"""Sends what lies in the outbox, each channel by itself, until the channel has taken it.

A message is claimed before it is sent, and entered as sent after: a kill in between sends it once more when the claim
has run out, with the same id, so that who receives it can tell. A channel that hangs holds up no other.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from otscert.domain.alert_message import Message, moment
from otscert.domain.alerts import clean, plural
from otscert.notify.errors import NotDelivered
from otscert.service.context import Hq
from otscert.service.ports import Signals, Store
from otscert.service.topics import OUTBOX
from otscert.store.errors import StoreUnavailable
from otscert.store.outbox import Posted
from otscert.store.transaction import Transaction

CLAIMED_S = 180
"""Longer than any channel takes to send or to say that it cannot."""
LONGEST_BACK_OFF_S = 3600
_FIRST_BACK_OFF_S = 30
_LOOK_AGAIN_S = 15.0
_log = logging.getLogger(__name__)


class Channel(Protocol):
    """Takes one message to people, in bounded time, or raises `NotDelivered`: the text says why and what to do.

    Sending the same message again is harmless; its id tells that it is the same. No secret is in the error.
    """

    async def send(self, message: Message) -> None: ...


@dataclass(slots=True, kw_only=True)
class Sending:
    """`channels` by name may change while it runs."""

    hq: Hq
    store: Store
    signals: Signals
    channels: Mapping[str, Channel]
    _running: dict[str, asyncio.Task[None]] = field(default_factory=dict)

    async def work(self) -> None:
        """Send what is due, for ever."""
        with self.signals.listen(OUTBOX) as heard:
            while True:
                for name in self.channels:
                    if name not in self._running:
                        self._running[name] = asyncio.create_task(self._drain(name))
                await heard(_LOOK_AGAIN_S)

    async def stop(self) -> None:
        """End what is being sent; it is sent again."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _drain(self, name: str) -> None:
        try:
            while await self.once(name):
                pass
        except StoreUnavailable as error:
            _log.warning("alerting.sending_postponed", extra={"reason": str(error)})
        except Exception:  # noqa: BLE001 - one channel's failure is not the others'; it is logged, and tried again
            _log.exception("alerting.sending_failed", extra={"channel": name})
        finally:
            del self._running[name]

    async def once(self, name: str) -> bool:
        """Send the next message of a channel; False when none is due or the channel has refused it."""
        channel = self.channels.get(name)
        claimed = await self.store.write(lambda transaction: self._claim(transaction, name))
        if channel is None or claimed is None:
            return False
        posted, message = claimed
        try:
            await channel.send(message)
        except NotDelivered as error:
            await self._failed(posted, clean(str(error)))
            return False
        except Exception as error:  # noqa: BLE001 - logged; a message that HQ fails at must not hold up those behind it
            _log.exception("alerting.sending_failed", extra={"channel": name})
            await self._failed(posted, f"HQ itself failed ({type(error).__name__}); its log has the details")
            return False
        now_s = self.hq.now_s()
        await self.store.write(lambda transaction: transaction.outbox.sent(posted.id, now_s=now_s))
        _log.info("alert.sent", extra={"channel": name, "subject": message.subject, "id": message.id})
        return True

    def _claim(self, transaction: Transaction, name: str) -> tuple[Posted, Message] | None:
        now_s = self.hq.now_s()
        for posted in transaction.outbox.due(name, now_s=now_s, limit=1):
            if not transaction.outbox.claim(posted, until_s=now_s + CLAIMED_S):
                return None
            lost = transaction.outbox.given_up(name, after_s=transaction.outbox.last_sent_s(name) or 0)
            return replace(posted, attempt=posted.attempt + 1), _with_lost(Message.read(posted.message), lost)
        return None

    async def _failed(self, posted: Posted, problem: str) -> None:
        wait_s = back_off_s(posted.attempt, jitter=self.hq.jitter())
        next_at_s = self.hq.now_s() + wait_s
        await self.store.write(
            lambda transaction: transaction.outbox.failed(posted.id, problem=problem, next_at_s=next_at_s)
        )
        _log.warning("alert.not_sent", extra={"channel": posted.channel, "reason": problem, "wait_s": wait_s})


def back_off_s(attempt: int, *, jitter: float) -> int:
    """Seconds after the `attempt`-th failure (from 1): 30 s, doubled up to an hour, a quarter spread."""
    wait_s = min(LONGEST_BACK_OFF_S, _FIRST_BACK_OFF_S << min(attempt - 1, 20))
    return max(1, round(wait_s * (1 - jitter / 4)))


def _with_lost(message: Message, lost: list[Posted]) -> Message:
    """Say in the message that earlier ones were given up."""
    if not lost:
        return message
    since_s = min(posted.created_s for posted in lost)
    text = (
        f"NOTE: {plural(len(lost), 'earlier message')} to this channel since {moment(since_s)}"
        f" could not be delivered and will not come: {lost[0].problem}"
    )
    return replace(message, text=f"{text}\n\n{message.text}")
