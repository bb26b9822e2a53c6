from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from otscert.ca.errors import CaError, CaUnreachableError
from otscert.ca.nonces import HEAD_BURST, MAX_AGE_S, MAX_POOLED, NoncePool


class Clock:
    """Monotonic seconds that a test moves."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class NewNonce:
    """A newNonce resource that counts, waits until it may answer, and may be down."""

    def __init__(self) -> None:
        self.asked = 0
        self.down = False
        self.value: str | None = "head"
        self.open = asyncio.Event()
        self.open.set()

    async def __call__(self) -> str | None:
        self.asked += 1
        await self.open.wait()
        if self.down:
            raise CaUnreachableError("down")
        return None if self.value is None else f"{self.value}{self.asked}"


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def new_nonce() -> NewNonce:
    return NewNonce()


@pytest.fixture
async def pool(clock: Clock, new_nonce: NewNonce) -> AsyncIterator[NoncePool]:
    pool = NoncePool(new_nonce, clock)
    yield pool
    await pool.aclose()


async def test_the_youngest_nonce_comes_first_and_each_once(pool: NoncePool, new_nonce: NewNonce) -> None:
    for nonce in ("a", "b", "c"):
        pool.put(nonce)
    assert [await pool.take() for _ in range(3)] == ["c", "b", "a"]
    assert new_nonce.asked == 0
    assert await pool.take() == "head1"


async def test_nonces_that_are_too_old_are_thrown_away(pool: NoncePool, clock: Clock) -> None:
    pool.put("old")
    clock.now_s += MAX_AGE_S - 1
    pool.put("young")
    clock.now_s += 2
    assert await pool.take() == "young"
    assert await pool.take() == "head1"


async def test_the_pool_is_bounded_and_drops_the_oldest(pool: NoncePool, new_nonce: NewNonce) -> None:
    for number in range(MAX_POOLED + 5):
        pool.put(f"n{number}")
    taken = [await pool.take() for _ in range(MAX_POOLED)]
    assert taken[-1] == "n5"
    assert new_nonce.asked == 0


@pytest.mark.parametrize("junk", [None, "", "a b", "a\r\nX: y", "=", "\u00e4", "x" * 1025])
async def test_what_is_no_nonce_is_not_pooled(pool: NoncePool, junk: str | None) -> None:
    pool.put(junk)
    assert await pool.take() == "head1"


async def test_who_waits_gets_the_next_answers_nonce_in_order(pool: NoncePool, new_nonce: NewNonce) -> None:
    new_nonce.open.clear()
    waiting = [asyncio.create_task(pool.take()) for _ in range(3)]
    await asyncio.sleep(0)
    for nonce in ("a", "b", "c"):
        pool.put(nonce)
    assert await asyncio.gather(*waiting) == ["a", "b", "c"]
    assert new_nonce.asked <= 1


async def test_heads_come_in_a_burst_and_then_at_their_rate(pool: NoncePool, clock: Clock, new_nonce: NewNonce) -> None:
    """Time stands still, so what comes after the burst has to wait."""
    waiting = [asyncio.create_task(pool.take()) for _ in range(HEAD_BURST + 5)]
    await asyncio.wait(waiting[:HEAD_BURST])
    await asyncio.sleep(0.2)
    assert HEAD_BURST <= new_nonce.asked <= HEAD_BURST + 2, "the next are due 1/15 s apart, and 0.2 s went by"
    clock.now_s += 10
    await asyncio.gather(*waiting)
    assert new_nonce.asked == HEAD_BURST + 5


async def test_when_new_nonce_is_down_all_who_wait_are_told_and_later_it_is_tried_again(
    pool: NoncePool, new_nonce: NewNonce
) -> None:
    new_nonce.down = True
    results = await asyncio.gather(*(pool.take() for _ in range(3)), return_exceptions=True)
    assert all(isinstance(result, CaUnreachableError) for result in results)
    new_nonce.down = False
    assert await pool.take() == "head2"


@pytest.mark.parametrize("value", [None, "not a nonce "])
async def test_new_nonce_without_a_nonce_is_an_error_not_a_loop(
    pool: NoncePool, new_nonce: NewNonce, value: str | None
) -> None:
    new_nonce.value = value
    with pytest.raises(CaError, match="Replay-Nonce"):
        await pool.take()
    assert new_nonce.asked == 1


async def test_a_nonce_handed_to_somebody_who_gave_up_is_not_lost(pool: NoncePool, new_nonce: NewNonce) -> None:
    new_nonce.open.clear()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    pool.put("a")
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await pool.take() == "a"


async def test_closing_ends_the_waiting(pool: NoncePool, new_nonce: NewNonce) -> None:
    new_nonce.open.clear()
    waiting = asyncio.create_task(pool.take())
    await asyncio.sleep(0)
    await pool.aclose()
    with pytest.raises(CaUnreachableError):
        await waiting
