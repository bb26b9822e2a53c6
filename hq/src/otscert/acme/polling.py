"""How long to wait before an order is looked at again; it rolls no dice and holds no clock."""

from __future__ import annotations

FIRST_S = 0.02
GROWTH = 1.5
QUICK_UNTIL_S = 1.0
SLOW_SPAN_S = 2.0
# An order lives for hours (8 h in Let's Encrypt's short profiles): a CA that asks for more is looked at after one.
MAX_S = 3600.0


def next_poll_s(attempt: int, retry_after_s: float | None, jitter: float = 0.5) -> float:
    """Return the seconds until poll number `attempt` (from 0).

    RFC 8555 section 7.4: "The client SHOULD ... poll ... waiting for the time specified in the Retry-After header
    field". Without one: 20 ms, growing by half up to 1 s, then 1 s to 3 s by `jitter` (0..1, the caller's dice).
    """
    if retry_after_s is not None:
        return min(max(retry_after_s, FIRST_S), MAX_S)
    wait_s = FIRST_S * GROWTH ** min(max(attempt, 0), 50)
    return wait_s if wait_s <= QUICK_UNTIL_S else QUICK_UNTIL_S + SLOW_SPAN_S * min(max(jitter, 0.0), 1.0)
