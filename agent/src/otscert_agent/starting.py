"""LOCK: what comes before everything else at each start of the agent.

A reset that was cut off is finished, the start is counted, and a state that was made on another board is forgotten.
Knows no network and no randomness. The folder is locked by whoever made the store.
"""

from __future__ import annotations

from otscert_agent.binding import Belongs, Verdict, judge
from otscert_agent.errors import ConfigError
from otscert_agent.forget import finish, forget_foreign
from otscert_agent.parts import Parts

HARDWARE_LOOKS = 6  # a driver that is still starting must not cost the box its name
HARDWARE_LOOK_S = 5.0


class Start:
    """One start of the agent. `begin` again until it returns None."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._looks = 0
        self.at_home = False  # the state is this board's: what it has may be served whatever else goes wrong

    def begin(self) -> str | None:
        """Do it; returns what is waited for, or None when the start is on disk."""
        store, report = self._parts.store, self._parts.report
        if store.state.forgetting:
            finish(self._parts.disk, store)
        verdict = self._judge()
        self.at_home = verdict.belongs is not Belongs.ELSEWHERE
        if verdict.belongs is Belongs.ELSEWHERE:
            if self._looks < HARDWARE_LOOKS:
                self._looks += 1
                return f"{verdict.reason}; looking again, a part of this board may still be starting"
            report.problem(f"{verdict.reason}: identity, name and key are forgotten, this box enrols as a new one")
            forget_foreign(self._parts.disk, store)
        store.save(boots=store.state.boots + 1)
        return None

    def _judge(self) -> Verdict:
        board, state = self._parts.board, self._parts.store.state
        if board is None:
            return Verdict(Belongs.HERE, "nobody asks")
        try:
            unit = board.unit()
        except ConfigError as error:
            if state.device_id is None:
                raise
            self._parts.report.problem(str(error))  # it is said again when HQ is called; until then the page is served
            unit = None
        return judge(state.bound, fingerprint=board.fingerprint(), unit=unit)
