"""The agent's errors: one class per thing that the loop does differently."""

from __future__ import annotations

from otscert_agent.wire.messages import Problem


class AgentError(Exception):
    """Base of everything that the agent raises on purpose."""


class ConfigError(AgentError):
    """The settings cannot be used as they are; a person has to change them."""


class StateError(AgentError):
    """The state folder cannot be read, written or locked."""


class DamagedError(StateError):
    """The state's file holds no state that this agent can read. It is left as it is until a person asks for a reset."""

    def __init__(self, cause: str) -> None:
        super().__init__(
            "the box's memory is damaged: its maker's `otscert-agent reset` makes it enrol as a new box"
            f" (until then it serves what it has; {cause})"
        )


class UnreachableError(AgentError):
    """HQ gave no signed answer. `retry_after_s` is its unsigned wish, believed for back-off only."""

    def __init__(self, why: str, retry_after_s: int | None = None) -> None:
        super().__init__(why)
        self.retry_after_s = retry_after_s


class UntrustedError(AgentError):
    """Something answered that is not this maker's HQ, or HQ's answer breaks a rule of protocol v1."""


class ProblemError(AgentError):
    """HQ's signed answer is a problem; `problem.type` says which."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail or problem.title)  # the detail says the same of this box
        self.problem = problem


class SpentKeyError(AgentError):
    """A key has no `seq` left: HQ remembers, or the box has used, the highest that protocol v1 allows."""


class NotReadyError(AgentError):
    """The kernel's random number generator is not ready, and nothing that needs it may run."""


class ZeroKeyError(AgentError):
    """HQ's contribution and the box's half cancel out (d = 0); a new hello is due."""
