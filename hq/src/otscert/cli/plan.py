"""`otscert plan`: what the CA's limits make of a launch, computed before it begins. Needs no HQ, no configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import JsonOption, examples, load_config
from otscert.cli.plan_view import as_document, facts_of, print_plan, title_of
from otscert.cli.progress import Progress
from otscert.cli.show import print_json
from otscert.domain.limits import BY_NAME, LETS_ENCRYPT, LimitKind, Limits, LimitTextError, parse_quota
from otscert.domain.registered_domain import is_public_suffix
from otscert.ops.plan import Plan, Profile, Renewals
from otscert.ops.plan_chart import draw
from otscert.ops.plan_model import simulate
from otscert.ops.plan_variants import run_variants

EXAMPLES = examples(
    "otscert plan --boxes 20000 --per-day 500",
    "otscert plan --boxes 1000000 --per-day 5000 --public-suffix --orders-per-account 100000/7d --svg launch.svg",
    "otscert plan --boxes 50000 --all-at-once --profile shortlived --json",
)
_MOST_BOXES = 100_000_000
_IN_FLIGHT = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ground:
    """What holds without options: Let's Encrypt's limits, or what a configuration says."""

    limits: Limits = LETS_ENCRYPT
    profile: Profile = Profile.TLSSERVER
    public_suffix: bool = False
    in_flight: int = _IN_FLIGHT


def plan(
    *,
    boxes: Annotated[int, typer.Option(min=1, max=_MOST_BOXES, help="How many boxes there will be.")],
    per_day: Annotated[
        int | None, typer.Option(min=1, max=_MOST_BOXES, help="How many are switched on for the first time each day.")
    ] = None,
    all_at_once: Annotated[bool, typer.Option("--all-at-once", help="All are switched on at the same moment.")] = False,
    profile: Annotated[Profile | None, typer.Option(help="The profile: how long certificates live.")] = None,
    limits: Annotated[str | None, typer.Option(help=f"Whose limits: {', '.join(BY_NAME)}.")] = None,
    public_suffix: Annotated[
        bool, typer.Option("--public-suffix", help="The zone is on the Public Suffix List.")
    ] = False,
    orders_per_account: Annotated[
        str | None, typer.Option(metavar="COUNT/TIME", help="An override, such as 100000/7d; none: no such limit.")
    ] = None,
    certificates_per_domain: Annotated[
        str | None, typer.Option(metavar="COUNT/TIME", help="An override, such as 25000/7d; none: no such limit.")
    ] = None,
    renewals: Annotated[
        Renewals, typer.Option(help="How the CA counts renewals: in its window, by their names, as new orders.")
    ] = Renewals.ARI,
    strangers: Annotated[
        bool, typer.Option("--strangers", help="Boxes are admitted by the policy open: they leave a reserve.")
    ] = False,
    in_flight: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="max_in_flight of the issuer; 100 unless said.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", "-c", help="Take limits, profile and zone from this configuration.")
    ] = None,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw the queue over time into this file.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Simulate a launch and the fleet after it by the budget that HQ itself keeps to; say what would shorten it."""
    if (per_day is None) != all_at_once:
        raise typer.BadParameter("say either --per-day N or --all-at-once")
    ground = _ground(config)
    chosen = profile or ground.profile
    asked = Plan(
        boxes=boxes,
        per_day=per_day,
        life_s=chosen.life_s,
        limits=_limits(ground, limits, orders_per_account, certificates_per_domain),
        public_suffix=public_suffix or ground.public_suffix,
        renewals=renewals,
        strangers=strangers,
        in_flight=in_flight or ground.in_flight,
    )
    progress = Progress()
    course = simulate(asked, tell=lambda done: progress("boxes with a certificate", done, boxes))
    variants = run_variants(asked, course, tell=lambda name, done: progress(f"with {name}: boxes", done, boxes))
    progress.finish()
    if svg is not None:
        _write(svg, draw(course, title=title_of(asked, chosen), facts=facts_of(asked, course)))
    if as_json:
        print_json(as_document(asked, chosen, course, variants))
    else:
        print_plan(asked, chosen, course, variants, svg=svg)


def _ground(config: Path | None) -> _Ground:
    if config is None:
        return _Ground()
    loaded = load_config(config)
    issuer = next(each for each in loaded.issuers if each.name == loaded.preference[0])
    told = loaded.zone.public_suffix
    profiles = {profile.value: profile for profile in Profile}
    return _Ground(
        limits=issuer.limits,
        profile=profiles.get(issuer.profile or "", Profile.CLASSIC),
        public_suffix=is_public_suffix(loaded.zone.origin) if told is None else told,
        in_flight=issuer.max_in_flight,
    )


def _limits(ground: _Ground, name: str | None, orders: str | None, certificates: str | None) -> Limits:
    if name is not None and name not in BY_NAME:
        raise typer.BadParameter(f"{name!r} is not one of {', '.join(BY_NAME)}", param_hint="--limits")
    base = BY_NAME[name] if name is not None else ground.limits
    told = {LimitKind.ORDERS_PER_ACCOUNT: orders, LimitKind.CERTIFICATES_PER_DOMAIN: certificates}
    try:
        changes = {kind: parse_quota(text) for kind, text in told.items() if text is not None}
    except LimitTextError as error:
        raise typer.BadParameter(str(error)) from error
    return base.with_quotas(changes)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"the chart cannot be written to {path}: {error.strerror}") from error
