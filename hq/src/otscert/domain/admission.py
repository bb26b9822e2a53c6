"""Who is let in, by which policy (docs/protocol.md, "Admission").

Policies are asked in the model's order; the first that admits is recorded. `open` and `token` are here; factory
manifests, approval and the webhook come with the first-boot work.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from otscert.domain.addresses import AddressPolicy
from otscert.domain.quota import Quota


class Policy(StrEnum):
    OPEN = "open"
    TOKEN = "token"  # noqa: S105 - the policy's name, not a secret


class Naming(StrEnum):
    OPAQUE = "opaque"
    READABLE = "readable"


class Contribution(StrEnum):
    NONE = "none"
    OPEN = "open"
    SEALED = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A product line with its policies. `admissions_*` quotas hold for policies without a per-unit proof."""

    name: str
    policies: tuple[Policy, ...]
    addresses: AddressPolicy
    naming: Naming
    static_address: bool
    admissions_per_address: Quota
    admissions_per_model: Quota


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """`policy` is None when nobody admitted; `missing` then says what the box could add."""

    policy: Policy | None
    reason: str


def judge_admission(model: Model, *, token_valid: bool | None) -> Admission:
    """Ask the model's policies in order. `token_valid` is None when the box sent no proof."""
    reasons: list[str] = []
    for policy in model.policies:
        if policy is Policy.OPEN:
            return Admission(policy=policy, reason="the model is open to every box, within quotas")
        if token_valid:
            return Admission(policy=policy, reason="the claim token is valid")
        reasons.append(
            "the model wants a claim token and the enrolment has no proof of one"
            if token_valid is None
            else "the claim token is not one of this model's"
        )
    return Admission(policy=None, reason="; ".join(reasons) or "the model admits nobody")


def asks(model: Model) -> tuple[str, ...]:
    """What enrolment will ask for, told in the challenge."""
    return ("token",) if Policy.TOKEN in model.policies else ()
