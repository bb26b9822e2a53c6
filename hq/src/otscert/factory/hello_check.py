"""Does HQ know a stamped unit? What its answer to the unit's hello means."""

from __future__ import annotations

from otscert.factory.checks import Check, Verdict, bad, good
from otscert.factory.errors import FactoryError
from otscert.factory.hq_hello import Trusted, opened, say_hello
from otscert.factory.verifying import StampedUnit
from otscert_agent.wire.messages import Problem
from otscert_agent.wire.problems import ProblemType

_IMPORT = "otscert factory import the manifest of its batch, or ask whoever runs HQ"


def check_hello(unit: StampedUnit, hq: Trusted) -> Check:
    """A real hello, signed by the unit's key, and HQ's sealed answer opened with its secret."""
    name, facts = "hq.hello", unit.facts
    try:
        answered = say_hello(hq, unit.factory, model=facts.model, serial=facts.serial)
        if isinstance(answered.message, Problem):
            return _judge_problem(name, answered.message)
        if answered.message.contribution.sealed is None:
            what = "HQ answers this unit as a box that was never stamped"
            return bad(name, what, why="the box would refuse that", mend=_IMPORT)
        opened(unit.factory, answered.message, answered.hello_digest)
    except FactoryError as error:
        mend = "look at the line's network, HQ's URL and its root"
        return bad(name, str(error), why="nobody can say whether HQ knows this unit", mend=mend)
    return good(
        name,
        "HQ answered this unit's signed hello, and the answer was opened with its secret;"
        " no certificate was spent, and the reserved name is free again in 10 minutes",
    )


def _judge_problem(name: str, problem: Problem) -> Check:
    if problem.type in {ProblemType.UNKNOWN_UNIT, ProblemType.BLOCKED_UNIT, ProblemType.UNKNOWN_MODEL}:
        return bad(name, f"HQ refuses this unit: {problem.detail}", why="the box would be refused, too", mend=_IMPORT)
    mend = "ask again later: a unit may say 30 hellos an hour, and HQ may be busy with other things"
    return Check(name=name, verdict=Verdict.UNKNOWN, what=f"HQ did not judge the unit: {problem.detail}", mend=mend)
