"""ENTROPY: until the kernel's random generator is ready, nothing that needs it runs, and the box says so.

Knows the one thing that may be credited to the kernel: a seed of the factory secret, which is secret, and different
at each start because the count of starts is durable before. Everything else is only mixed in (`entropy`).
"""

from __future__ import annotations

import hashlib

from otscert_agent import entropy
from otscert_agent.errors import ConfigError
from otscert_agent.parts import Parts

WAITING = "waiting for randomness: the kernel's generator is not ready"
LOOK_S = 5.0
# poll(/dev/random) and getrandom may differ (a filter, an odd kernel): a busy loop would be no source of randomness.
LEAST_PAUSE_S = 0.2


class Readiness:
    """One start of the agent. `canary` is None until it was drawn, and empty where none can be."""

    def __init__(self, parts: Parts, *, canary: str | None) -> None:
        self._parts = parts
        self.canary = canary
        self._credited = canary is not None  # the image of the process before has done it at this start

    def ready(self) -> bool:
        """Ask without blocking, after giving the kernel what may be given."""
        crng, drawn = entropy.look(self._parts.kernel, entropy.CANARY_BYTES)
        if crng != entropy.Crng.NOT_READY:
            if self.canary is None:  # before anything is credited or mixed: it is the model's generator that is judged
                self.canary = hashlib.sha256(drawn).hexdigest() if drawn else ""
            self._credit()
            return True
        if not self._credit():
            return False
        self.canary = ""  # what the kernel gives from now on says nothing about the model
        return entropy.look(self._parts.kernel, 1)[0] != entropy.Crng.NOT_READY

    def wait(self) -> None:
        """Wait for the kernel, at most `LOOK_S`, and never for no time at all."""
        waiter = self._parts.waiter
        began = waiter.now()
        self._parts.kernel.wait_ready(LOOK_S)
        waiter.wait(max(LEAST_PAUSE_S - (waiter.now() - began), 0.0))

    def _credit(self) -> bool:
        """Credit this start's seed, once; whether the kernel took it."""
        if self._credited or self._parts.board is None:
            return False
        self._credited = True
        try:
            factory = self._parts.board.factory()
        except ConfigError:  # LOCK has said it, and HQ will not be called without it
            return False
        return factory is not None and self._parts.kernel.credit(factory.credit_seed(self._parts.store.state.boots))
