"""What is left of the CAs' limits that boxes share, as metrics. The limits' subjects are no labels: a zone has one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client.core import Metric

from otscert.api.metrics.families import gauge
from otscert.domain.budget import Rank
from otscert.service.budget_levels import SharedLevel

_HIGHEST = 10**12
_RANKS = {rank: rank.name.lower() for rank in Rank}


def told(levels: Sequence[SharedLevel], *, now_s: int) -> Iterator[Metric]:
    room: dict[tuple[str, ...], float] = {}
    parked: dict[tuple[str, ...], float] = {}
    last: dict[tuple[str, ...], float] = {}
    waiting: Counter[tuple[str, ...]] = Counter()
    for level in levels:
        key = (level.bucket.issuer, level.bucket.kind.value)
        if level.room is not None:
            room[key] = min(room.get(key, _HIGHEST), level.room)
        parked[key] = max(parked.get(key, 0), (level.parked_until_s or now_s) - now_s)
        last[key] = max(last.get(key, 0), (level.last_served_at_s or now_s) - now_s)
        for rank, word in _RANKS.items():
            waiting[*key, word] += level.waiting.get(rank, 0)
    yield gauge("budget_room", "Orders that the CA's limit leaves room for now.", room, "issuer", "limit")
    yield gauge(
        "budget_parked_seconds",
        "For how long the CA has refused more of what a limit counts; 0: it has not.",
        parked,
        "issuer",
        "limit",
    )
    yield gauge(
        "budget_waiting", "Orders that wait for a limit of the CA, by rank.", waiting, "issuer", "limit", "rank"
    )
    yield gauge(
        "budget_last_turn_seconds",
        "In how long the last of those that wait for a limit now is served; 0 when nobody waits.",
        last,
        "issuer",
        "limit",
    )
