"""The nonces of one ACME server (RFC 8555 section 6.5): the pool that answers feed, and the HEAD requests for more.

It does not know what a nonce is used for, nor how one is asked for (`fetch` does).
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Awaitable, Callable

from otscert.ca.errors import CaError, CaUnreachableError

# A CA forgets nonces as others are redeemed (Boulder: a window of 65,536 for all clients), so old ones are not worth
# their try, and the youngest is the best.
MAX_AGE_S = 120.0
MAX_POOLED = 128
# Let's Encrypt's load balancer allows 20 new-nonce requests a second with a burst of 10.
HEADS_PER_S = 15.0
HEAD_BURST = 10
# RFC 8555 section 6.5.1: the value "MUST be a base64url-encoded string".
_NONCE = re.compile(r"[A-Za-z0-9_-]{1,1024}")


class NoncePool:
    """Nonces, youngest first. Who finds none waits for the next answer's or, at a limited rate, a HEAD request's."""

    def __init__(self, fetch: Callable[[], Awaitable[str | None]], clock: Callable[[], float]) -> None:
        """Use `fetch` to get a nonce from newNonce, `clock` for monotonic seconds."""
        self._fetch = fetch
        self._clock = clock
        self._pooled: deque[tuple[str, float]] = deque(maxlen=MAX_POOLED)
        self._waiting: deque[asyncio.Future[str]] = deque()
        self._refill: asyncio.Task[None] | None = None
        self._head_due_s = float("-inf")  # GCRA: when the next HEAD would be exactly on schedule

    def put(self, nonce: str | None) -> None:
        """Take the nonce of an answer; None and what is no nonce are ignored."""
        if nonce is None or _NONCE.fullmatch(nonce) is None:
            return
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(nonce)
                return
        self._pooled.append((nonce, self._clock()))  # the deque drops the oldest

    async def take(self) -> str:
        """Return a nonce that nobody else gets.

        Raises:
            CaError: when newNonce does not give one.
        """
        if self._pooled:
            nonce, since_s = self._pooled.pop()
            if self._clock() - since_s <= MAX_AGE_S:
                return nonce
            self._pooled.clear()  # the youngest is too old, so all are
        waiter: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        if self._refill is None or self._refill.done():
            self._refill = asyncio.create_task(self._refill_while_wanted())
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self.put(waiter.result())
            raise

    async def aclose(self) -> None:
        """Stop asking for nonces; those who wait get a CaError."""
        if self._refill is not None:
            self._refill.cancel()
            await asyncio.gather(self._refill, return_exceptions=True)
        self._fail_waiting(CaUnreachableError("the connection to the CA was closed"))

    async def _refill_while_wanted(self) -> None:
        while self._waiting:
            await asyncio.sleep(self._head_wait_s())
            if not self._waiting:
                return
            self._head_due_s = max(self._head_due_s, self._clock()) + 1 / HEADS_PER_S
            try:
                nonce = await self._fetch()
            except CaError as error:
                self._fail_waiting(error)
                return
            if nonce is None or _NONCE.fullmatch(nonce) is None:
                self._fail_waiting(CaUnreachableError("newNonce answered without a usable Replay-Nonce"))
                return
            self.put(nonce)

    def _head_wait_s(self) -> float:
        ahead_s = self._head_due_s - self._clock()
        return max(ahead_s - (HEAD_BURST - 1) / HEADS_PER_S, 0.0)

    def _fail_waiting(self, error: CaError) -> None:
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_exception(error)
