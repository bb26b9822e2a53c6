"""Who is let in, by which policy (docs/protocol.md, "Admission").

Policies are asked in the model's order; the first that admits is recorded. The webhook comes after them and may only
refuse or tag. Knows no box, no code and no token: what was found out about them is handed in.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum

from otscert.domain.addresses import AddressPolicy
from otscert.domain.assurance import Contribution, Source
from otscert.domain.quota import Quota


class Policy(StrEnum):
    FACTORY = "factory"  # a stamped unit of an imported manifest
    TOKEN = "token"  # noqa: S105 - the policy's name, not a secret
    APPROVAL = "approval"  # a person confirms the pairing code
    OPEN = "open"  # everybody, within quotas


class Naming(StrEnum):
    OPAQUE = "opaque"
    READABLE = "readable"


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
    admissions_per_token: Quota
    waiting_per_address: Quota
    """Enrolments of boxes without a proof of their own that ask for a decision, from one address."""
    min_contribution: Contribution
    min_source: Source
    rekey_after_s: int
    """Age at which a box's first certificate is replaced when `r` was not sealed; 0: never before it renews."""
    allow_rsa: bool
    webhook: bool
    """Whether a webhook is asked about every box that a policy admitted."""
    revoke_replaced: bool
    """Whether the certificate of a name that was taken back is revoked, or left to expire."""
    issuers: tuple[str, ...] = ()
    """The issuers of its certificates, in order of preference; empty: all, in the order of the configuration."""
    profile: str | None = None
    """The certificate profile, where the issuer offers it; None: the issuer's own."""

    @property
    def computed_names(self) -> bool:
        """Whether names that say an address are answered below a box's name."""
        return self.addresses.computed_names

    @property
    def global_ipv6(self) -> bool:
        """Whether a box's own global IPv6 address is published, once HQ saw it call from there."""
        return self.addresses.own_global

    @property
    def https_record(self) -> bool:
        """Whether an HTTPS record is published while the box serves its newest certificate."""
        return self.addresses.https_record


class Answer(Enum):
    """What a person or a webhook has said so far."""

    NOT_ASKED = "not asked"
    WAITING = "waiting"
    YES = "yes"
    NO = "no"


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """What is known about a box that enrols. `token_valid` is None when it sent no proof."""

    stamped: bool = False
    token_valid: bool | None = None
    approval: Answer = Answer.NOT_ASKED
    webhook: Answer = Answer.NOT_ASKED


class Verdict(Enum):
    ADMIT = "admit"
    ASK_PERSON = "ask a person"
    ASK_WEBHOOK = "ask the webhook"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """`policy` is the one that admitted, None when none did (yet); `final`: asking again as it is cannot help."""

    verdict: Verdict
    policy: Policy | None
    reason: str
    final: bool = False


def judge_admission(model: Model, evidence: Evidence) -> Admission:
    """Ask the model's policies in order, then the webhook if the model has one."""
    admission = _by_policy(model, evidence)
    if admission.verdict is not Verdict.ADMIT or not model.webhook:
        return admission
    if evidence.webhook is Answer.YES:
        return admission
    if evidence.webhook is Answer.NO:
        reason = "the maker's own systems refused this box"
        return Admission(verdict=Verdict.REFUSE, policy=admission.policy, reason=reason, final=True)
    reason = "the maker's own systems are asked about this box"
    return Admission(verdict=Verdict.ASK_WEBHOOK, policy=admission.policy, reason=reason)


def _by_policy(model: Model, evidence: Evidence) -> Admission:
    if evidence.approval is Answer.NO:  # whatever else the box brings by now: a person has looked at it
        return Admission(verdict=Verdict.REFUSE, policy=None, reason="a person refused this box", final=True)
    reasons: list[str] = []
    for policy in model.policies:
        admitted, reason = _asked(policy, evidence)
        if admitted:
            return Admission(verdict=Verdict.ADMIT, policy=policy, reason=reason)
        reasons.append(reason)
    if Policy.APPROVAL in model.policies:
        return Admission(verdict=Verdict.ASK_PERSON, policy=None, reason="a person has to approve this box")
    reason = "; ".join(reasons) or "the model admits nobody"
    return Admission(verdict=Verdict.REFUSE, policy=None, reason=reason)


def _asked(policy: Policy, evidence: Evidence) -> tuple[bool, str]:
    """Whether this policy admits, and why or why not."""
    return {
        Policy.OPEN: lambda _: (True, "the model is open to every box, within quotas"),
        Policy.FACTORY: _ask_factory,
        Policy.APPROVAL: _ask_approval,
        Policy.TOKEN: _ask_token,
    }[policy](evidence)


def _ask_factory(evidence: Evidence) -> tuple[bool, str]:
    if evidence.stamped:
        return True, "the unit is in an imported manifest"
    return False, "the model wants a stamped unit and this box has no factory secret that HQ knows"


def _ask_approval(evidence: Evidence) -> tuple[bool, str]:
    if evidence.approval is Answer.YES:
        return True, "a person approved it"
    return False, "nobody has approved it"


def _ask_token(evidence: Evidence) -> tuple[bool, str]:
    if evidence.token_valid:
        return True, "the claim token is valid"
    if evidence.token_valid is None:
        return False, "the model wants a claim token and the enrolment has no proof of one"
    return False, "the claim token is not one of this model's"


def proves_itself(policy: Policy | None) -> bool:
    """Whether a box that this policy admitted has shown something that is its own and nobody else's."""
    return policy is Policy.FACTORY


def asks(model: Model, *, stamped: bool) -> tuple[str, ...]:
    """What enrolment will ask for, told in the challenge: nothing of a box that its factory key admits already."""
    asked: list[str] = []
    for policy in model.policies:
        if policy is Policy.OPEN or (policy is Policy.FACTORY and stamped):
            break
        if policy is not Policy.FACTORY:
            asked.append(policy.value)
    return tuple(asked)
