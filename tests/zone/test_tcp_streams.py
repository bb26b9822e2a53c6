"""Any octets over TCP, cut anywhere: the answers are those of the same messages one by one, in their order.

RFC 7766 6.2.1.1 lets a server answer in any order; ours keeps it, so a client may rely on order or on ids.
"""

from __future__ import annotations

import asyncio
import tracemalloc

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.zone.targets import seeds, stream_front
from tests.zone.tcp_stream import cut, in_pieces, judge_stream, messages_of

FRONT = stream_front()
GOOD = seeds()
AXFR = GOOD[-1]


def framed(message: bytes) -> bytes:
    return len(message).to_bytes(2) + message


# Good messages, transfers between them, an answer (which ends the connection), empty ones, lengths that lie, octets.
_parts = st.one_of(
    st.sampled_from(GOOD).map(framed),
    st.just(framed(AXFR)),
    st.just(b"\0\0"),
    st.binary(max_size=40).map(framed),
    st.just(framed(GOOD[0][:2] + b"\x80" + GOOD[0][3:])),
    st.tuples(st.sampled_from(GOOD), st.integers(0, 300)).map(lambda pair: pair[1].to_bytes(2) + pair[0]),
    st.binary(max_size=8),
)


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    parts=st.lists(_parts, max_size=12),
    lengths=st.lists(st.integers(1, 90), max_size=5),
    gone_after=st.none() | st.integers(0, 30),
)
@example(parts=[framed(each) for each in GOOD * 6], lengths=[], gone_after=None)
@example(
    parts=[framed(GOOD[0]), framed(AXFR), framed(GOOD[1]), framed(AXFR), framed(GOOD[2])], lengths=[1], gone_after=None
)
@example(parts=[framed(AXFR)] * 3, lengths=[], gone_after=1)
@example(parts=[b"\xff\xff", GOOD[0]], lengths=[1], gone_after=None)
@example(parts=[b"\0\0"] * 200, lengths=[3], gone_after=None)
def test_any_pieces_get_what_their_messages_get_one_by_one(
    parts: list[bytes], lengths: list[int], gone_after: int | None
) -> None:
    asyncio.run(judge_stream(FRONT, cut(b"".join(parts), lengths), gone_after=gone_after))


def test_the_generated_streams_hold_what_they_should() -> None:
    stream = framed(GOOD[0]) + framed(AXFR) + framed(GOOD[1])
    got, left = messages_of(asyncio.run(in_pieces(FRONT, cut(stream, [5]))))
    assert [message[:2] for message in (got[0], got[1], got[-1])] == [GOOD[0][:2], AXFR[:2], GOOD[1][:2]]
    # The transfer is one: it begins with the SOA of some thirty records.
    assert (left, got[1][3] & 15, int.from_bytes(got[1][6:8]) > 30) == (0, 0, True)


def test_many_streams_leave_nothing_behind() -> None:
    pieces = cut(b"".join(map(framed, [*GOOD[:8], AXFR, b"x"])) + b"\xff\xff" + bytes(50), [7])

    async def some(number: int) -> None:
        for _ in range(number):
            await in_pieces(FRONT, pieces)
            await in_pieces(FRONT, pieces, gone_after=40)

    asyncio.run(some(5))
    tracemalloc.start()
    try:
        asyncio.run(some(5))
        before, _ = tracemalloc.get_traced_memory()
        asyncio.run(some(20))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 100_000
