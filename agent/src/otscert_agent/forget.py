"""Forgetting who the box is: identity, name and pair go; what protects the next identity stays.

A reset that has begun is finished at the next start, however often the power is cut: the intention is durable before
the first file goes. What goes is overwritten where it lay, as far as the disk writes in place. Kept are the pool, the
counts of attempts and starts, and what is known about HQ.
"""

from __future__ import annotations

import dataclasses

from otscert_agent.disk import Disk
from otscert_agent.state import BoxState, Store


def forget(disk: Disk, store: Store) -> None:
    """Become a new box on the same board; a factory key goes on counting its messages."""
    store.begin_anew(_kept(store.state, forgetting=True))
    finish(disk, store)


def forget_foreign(disk: Disk, store: Store) -> None:
    """Become a new box on a board that this state was not made on: what it says of the other board goes too."""
    store.begin_anew(dataclasses.replace(_kept(store.state, forgetting=True), bound=None, hello=None))
    finish(disk, store)


def finish(disk: Disk, store: Store) -> None:
    """Carry out what `forgetting` announces; may be called again."""
    disk.drop_pairs(keep_current=False)
    store.begin_anew(_kept(store.state, forgetting=False))


def _kept(old: BoxState, *, forgetting: bool) -> BoxState:
    return BoxState(
        attempt=old.attempt,
        pool=old.pool,
        hq=old.hq,
        boots=old.boots,
        bound=old.bound,
        hello=old.hello if old.hello is not None and not old.hello.seed else None,
        forgetting=forgetting,
    )
