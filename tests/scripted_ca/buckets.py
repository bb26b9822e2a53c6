"""Token buckets: so many at once, refilled evenly. No clock of their own, and no idea what they count."""

from __future__ import annotations


class TokenBuckets:
    """Buckets by key, full when first seen. A limit is (count, seconds in which an empty bucket fills)."""

    def __init__(self) -> None:
        self._left: dict[tuple[str, str], tuple[float, float]] = {}  # tokens, and when that was so

    def wait_s(self, key: tuple[str, str], limit: tuple[int, float], now_s: float) -> float:
        """Seconds until a whole token is there; 0 when one is."""
        count, period_s = limit
        return max(0.0, (1 - self.tokens(key, limit, now_s)) * period_s / count)

    def spend(self, key: tuple[str, str], limit: tuple[int, float], now_s: float) -> None:
        """Take one token; an empty bucket stays empty."""
        self._left[key] = (max(0.0, self.tokens(key, limit, now_s) - 1), now_s)

    def tokens(self, key: tuple[str, str], limit: tuple[int, float], now_s: float) -> float:
        count, period_s = limit
        tokens, at_s = self._left.get(key, (float(count), now_s))
        whole = tokens + max(0.0, now_s - at_s) * count / period_s
        return min(float(count), round(whole, 9))  # so that ten tenths are one
