"""Whether an order may be placed at a CA now, without the CA having to refuse it. Knows the CA's limits as data.

Who goes first while a limit is short, which buckets an order draws from, and until when it waits. Pure: `now` and the
levels of the buckets are given; they are kept by `store.buckets`.
"""

from __future__ import annotations

from enum import IntEnum


class Rank(IntEnum):
    """Who goes first while a limit is short; the lower the sooner."""

    FIRST_BOOT = 0  # a box that has no certificate yet
    EXPIRING = 1  # so little of the life is left that something has gone wrong
    INCIDENT = 2  # the CA or the operator wants it replaced now
    STRANGER = 3  # a first boot that nobody vouched for (policy open): must not starve the others
    ROUTINE = 4
