"""Changes of names on their way to one server elsewhere: a name that it refuses holds up no other.

Knows which names are refused, since when and why. Does not know where changes come from, nor what is in them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol

from otscert.counting import Tally
from otscert.domain.setting_aside import Step, after_refusal, may_be_one_name, rest_s
from otscert.store.zone_changes import TOP
from otscert.zones.errors import UpdateError
from otscert.zones.update import Change

_AT_ONCE = 10
_log = logging.getLogger(__name__)


class TakesUpdates(Protocol):
    """The server. Raises `UpdateError` with what to do; what was sent before that may have been taken."""

    @property
    def shown(self) -> str: ...

    async def update(self, changes: Sequence[Change]) -> int: ...


class _Aside(NamedTuple):
    """How often a name was refused, and when it is to be tried again."""

    refused: int
    due_s: float


@dataclass(slots=True, kw_only=True)
class ZoneSender:
    """For one server. A name is a label, or `TOP`. `now_s` is a clock that never goes back."""

    server: TakesUpdates
    updates: Tally
    now_s: Callable[[], float]
    _aside: dict[str, _Aside] = field(default_factory=dict)

    @property
    def aside(self) -> dict[str, int]:
        """The names that the server refuses, and how often it did."""
        return {name: each.refused for name, each in self._aside.items()}

    def remember(self, aside: Mapping[str, int]) -> None:
        """Begin with these names set aside, as they were kept before; each is tried again soon."""
        self._aside = {name: _Aside(refused, self.now_s()) for name, refused in aside.items()}

    def due(self) -> list[str]:
        """A few names that were refused and are to be tried again now."""
        now_s = self.now_s()
        return [name for name, each in self._aside.items() if each.due_s <= now_s][:_AT_ONCE]

    def forget(self, names: Iterable[str]) -> None:
        """These have nothing that could be sent."""
        for name in names:
            self._aside.pop(name, None)

    async def send(self, changes: Mapping[str, Change], *, top: Change | None) -> None:
        """Have the server make these changes; `top` is what asks it whether it takes anything at all.

        Raises:
            UpdateError: the server takes nothing now; nothing was set aside.
        """
        together = [name for name in changes if name not in self._aside]
        refused = await self._halving(together, changes, top)
        for name, error in refused.items():
            self._put_aside(name, error)
        for name in changes:
            if name not in together:
                await self._again(name, changes[name])

    async def _halving(
        self, names: list[str], changes: Mapping[str, Change], top: Change | None
    ) -> dict[str, UpdateError]:
        """The names that are refused by themselves while something else is taken."""
        waiting = [names] if names else []
        refused: dict[str, UpdateError] = {}
        refusals, taken = 0, False
        while waiting:
            part = waiting.pop()
            try:
                await self._update([changes[name] for name in part])
            except UpdateError as error:
                refusals += 1
                aside = len(self._aside) + len(refused)
                decision = after_refusal(error.kind, names=len(part), refusals=refusals, taken=taken, aside=aside)
                if decision.step is Step.REST:
                    raise
                if decision.step is Step.PUT_ASIDE:
                    refused[part[0]] = error
                else:
                    half = len(part) // 2
                    waiting += [part[half:], part[:half]]
            else:
                taken = True
        if refused and not taken:
            if top is None or TOP in refused:
                raise next(iter(refused.values()))
            # All that there is to send is refused. The top never changes by this, so it shows whose doing that is.
            await self._update([top])
        return refused

    async def _again(self, name: str, change: Change) -> None:
        """Try a refused name by itself: at once when its content has changed, else after its rest."""
        try:
            await self._update([change])
        except UpdateError as error:
            if not may_be_one_name(error.kind):
                raise
            self._put_aside(name, error)
        else:
            del self._aside[name]
            _log.info("zone.name_taken", extra={"server": self.server.shown, "label": name})

    async def _update(self, changes: Sequence[Change]) -> None:
        try:
            await self.server.update(changes)
        except UpdateError as error:
            self.updates.count(self.server.shown, error.kind)
            raise
        self.updates.count(self.server.shown, "taken")

    def _put_aside(self, name: str, error: UpdateError) -> None:
        before = self._aside.get(name)
        refused = before.refused + 1 if before else 1
        self._aside[name] = _Aside(refused, self.now_s() + rest_s(refused))
        if before is None:
            self.updates.count(self.server.shown, "set aside")
            _log.error("zone.name_refused", extra={"server": self.server.shown, "label": name, "reason": str(error)})
