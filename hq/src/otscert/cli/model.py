"""`otscert model`: product lines, who may enrol as one of them, and what HQ holds against one."""

from __future__ import annotations

import asyncio
import os
import re
import secrets
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from otscert.cli import config_file, database, running, show
from otscert.cli.config_file import ConfigFile
from otscert.cli.errors import CommandFailed
from otscert.cli.model_view import model_fields, model_views
from otscert.cli.options import ConfigOption, JsonOption, config_path, examples, load_config
from otscert.config import Config, parse
from otscert.config_values import ConfigError, from_text, known
from otscert.domain.admission import Policy
from otscert.service.canary import RNG_REPEATS
from otscert.settings import Kind
from otscert.store.transaction import Transaction

_NAME = re.compile(r"[A-Za-z0-9_-]{1,60}")
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The model's name, as the firmware says it.")]
SettingsArgument = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="[KEY=VALUE]...", help="Settings of docs/settings.md; lists with commas; KEY= takes one out."
    ),
]
ReloadOption = Annotated[bool, typer.Option("--reload", help="Tell the running HQ to read its configuration again.")]


def commands() -> typer.Typer:
    group = typer.Typer(help="Product lines: who may enrol, and how.", no_args_is_help=True)
    group.command("list", short_help="List the models.", epilog=examples("otscert model list"))(list_models)
    group.command(
        "show",
        short_help="Everything that holds for a model.",
        epilog=examples("otscert model show camera", "otscert model show --json"),
    )(show_model)
    group.command(
        "add",
        short_help="Add a model to the configuration.",
        epilog=examples(
            "otscert model add camera --policy factory --policy approval",
            "otscert model add sensor --policy token rekey_after_days=30 --reload",
        ),
    )(add)
    group.command(
        "set",
        short_help="Change a model's settings.",
        epilog=examples("otscert model set camera policies=factory,approval waiting_per_address_per_day=50"),
    )(change)
    group.command(
        "trust-rng",
        short_help="Take back that a model's random numbers repeat.",
        epilog=examples("otscert model trust-rng camera"),
    )(trust_rng)
    group.command(
        "test-webhook",
        short_help="Ask a model's webhook, and say what came back.",
        epilog=examples("otscert model test-webhook camera"),
    )(try_webhook)
    return group


def list_models(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """List the models with their policies, and how many boxes each has."""
    loaded = load_config(config)
    views = model_views(loaded, sorted(loaded.models))
    if as_json:
        show.print_json({"models": views})
        return
    rows = [
        (
            view["name"],
            ", ".join(view["policies"]) + (" + webhook" if view["webhook"] else ""),
            view["min_contribution"],
            "-" if view["devices"] is None else str(view["devices"]["total"]),
            ", ".join(mark["what"] for mark in view["marks"] or ()),
        )
        for view in views
    ]
    show.print_table(("model", "policies", "contribution", "boxes", "marks"), rows)


def show_model(
    name: Annotated[str, typer.Argument(metavar="[NAME]", help="The model's name; may be left out.")] = "",
    config: ConfigOption = None,
    *,
    as_json: JsonOption = False,
) -> None:
    """Show everything that holds for a model, defaults included, and what its boxes are like."""
    loaded = load_config(config)
    views = model_views(loaded, [_known(loaded, name)] if name else sorted(loaded.models))
    if as_json:
        show.print_json(views[0] if name else {"models": views})
        return
    for number, view in enumerate(views):
        if number:
            typer.echo()
        show.print_fields(f"Model {view['name']}", model_fields(view))


def add(
    *,
    name: NameArgument,
    settings: SettingsArgument = None,
    config: ConfigOption = None,
    policy: Annotated[
        list[str] | None, typer.Option("--policy", help=f"Who is let in, in order: {', '.join(Policy)}; else token.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option("--network", help="Networks whose addresses may stand in DNS.")
    ] = None,
    naming: Annotated[str, typer.Option("--naming", help="opaque or readable.")] = "",
    min_contribution: Annotated[
        str, typer.Option("--min-contribution", help="HQ's least contribution to a key: none, open or sealed.")
    ] = "",
    reload: ReloadOption = False,
) -> None:
    """Add a model to the configuration file, whose comments stay; secrets that it needs are made."""
    if not _NAME.fullmatch(name):
        raise typer.BadParameter(f"{name!r} is not a name of letters, digits, - and _", param_hint="NAME")
    options = {"policies": policy, "networks": network, "naming": naming, "min_contribution": min_contribution}
    values = {key: value for key, value in options.items() if value} | _values(name, settings or [])
    values.setdefault("policies", [Policy.TOKEN.value])
    path = config_path(config)
    file, loaded = ConfigFile.read(path), load_config(config)
    made = _missing_secrets(loaded, path, name, values)
    text = config_file.with_model(file.text, name, {**values, **{key: told for key, (told, _) in made.items()}})
    _replace(file, text, path, made=made, owner_of=loaded.data_dir)
    typer.echo(f"Wrote [model.{name}] to {path}.")
    if "token_file" in made:
        typer.echo(f"Put the token in {made['token_file'][1]} into the firmware.")
    if "webhook_secret_file" in made:
        typer.echo(f"Give the secret in {made['webhook_secret_file'][1]} to the server of webhook_url.")
    typer.echo(running.next_step(loaded, reload=reload))


def change(
    name: NameArgument, settings: SettingsArgument = None, config: ConfigOption = None, *, reload: ReloadOption = False
) -> None:
    """Change settings of a model in the configuration file, whose comments stay."""
    values = _values(name, settings or [], may_take_out=True)
    if not values:
        raise typer.BadParameter("nothing to change: write KEY=VALUE", param_hint="[KEY=VALUE]...")
    path = config_path(config)
    file = ConfigFile.read(path)
    text = config_file.with_changes(file.text, name, values)
    loaded = _replace(file, text, path, made={}, owner_of=path)
    typer.echo(f"Wrote [model.{name}] to {path}.")
    typer.echo(running.next_step(loaded, reload=reload))


def trust_rng(name: NameArgument, config: ConfigOption = None) -> None:
    """Take the mark from a model whose random numbers repeated: its firmware was mended, or it was a false alarm."""

    def clear(transaction: Transaction) -> bool:
        cleared = transaction.canaries.clear(name, RNG_REPEATS)
        if cleared:
            transaction.events.append("model.rng_trusted", now_s=int(time.time()), data={"model": name})
        return cleared

    if not database.write(load_config(config), clear):
        raise CommandFailed(f"model {name} is not marked: no two starts of its boxes had the same random bytes")
    typer.echo(f"Model {name} is trusted again. The next two equal starts mark it anew.")


def try_webhook(name: NameArgument, config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Send the webhook of a model one event "test", signed as always, and say what came back."""
    from otscert.cli.webhook_test import ask_webhook  # noqa: PLC0415 - aiohttp: half a second for other commands

    loaded = load_config(config)
    webhook = loaded.webhooks.get(_known(loaded, name))
    if webhook is None:
        raise CommandFailed(f"model {name} has no webhook: otscert model set {name} webhook_url=... gives it one")
    result = asyncio.run(ask_webhook(name, webhook))
    if as_json:
        show.print_json(result)
    elif result["ok"]:
        said = "would be let in" if result["decision"] == "allow" else "would be refused"
        reason = f" ({show.printable(result['reason'])})" if result["reason"] else ""
        tags = f", with the tags {' '.join(result['tags'])}" if result["tags"] else ""
        typer.echo(f"The webhook answered in {result['ms']} ms: {result['decision']}{reason}. A box {said}{tags}.")
    if not result["ok"]:
        if not as_json:
            raise CommandFailed(
                f"the webhook did not answer as docs/webhook.md says: {show.printable(result['problem'])}."
                " Until it does, boxes of this model wait"
            )
        raise typer.Exit(1)


def _known(config: Config, name: str) -> str:
    if name not in config.models:
        raise CommandFailed(f"there is no model {name!r} in the configuration, but {', '.join(sorted(config.models))}")
    return name


def _values(model: str, settings: Sequence[str], *, may_take_out: bool = False) -> dict[str, Any]:
    """Read KEY=VALUE words; None stands for a setting that is to be taken out."""
    values: dict[str, Any] = {}
    for word in settings:
        key, equals, text = word.partition("=")
        key = key.strip().replace("-", "_")
        name = f"model.{model}.{key}"
        if not equals:
            raise typer.BadParameter(f"{word!r} is not KEY=VALUE", param_hint="[KEY=VALUE]...")
        if "." in key:
            raise ConfigError(f"{name} is not a setting: write the last part of its name alone")
        setting = known(name)
        if may_take_out and text == "":
            values[key] = None
        elif setting is None or key.endswith("_file") or setting.kind is Kind.SECRET:
            values[key] = text if key.endswith("_file") else ""  # refused by its name; no secret goes on from here
        else:
            values[key] = from_text(setting, name, text)
    return values


def _missing_secrets(config: Config, path: Path, model: str, values: dict[str, Any]) -> dict[str, tuple[str, Path]]:
    """Files for the secrets that the model needs and nobody has named: setting, what to write there, where it is."""
    files: dict[str, tuple[str, Path]] = {}
    wanted = {
        "token_file": Policy.TOKEN.value in values["policies"],
        "webhook_secret_file": bool(values.get("webhook_url")),
    }
    for key, needed in wanted.items():
        if needed and not values.get(key):
            place = config.data_dir / f"{key.split('_')[0]}-{model}"
            told = str(place) if place.is_absolute() else os.path.relpath(place, path.parent)
            files[key] = told, place
    return files


def _replace(file: ConfigFile, text: str, path: Path, *, made: dict[str, tuple[str, Path]], owner_of: Path) -> Config:
    """Check the text and write it; a secret that was made for it goes away again when it is not written."""
    fresh: list[Path] = []
    try:
        for _, place in made.values():
            if config_file.make_secret(place, secrets.token_urlsafe(24), owner_of=owner_of):
                fresh.append(place)
        loaded = parse(text, path=path, environment=os.environ)
        file.replace(text)
    except BaseException:
        for place in fresh:
            place.unlink(missing_ok=True)
        raise
    return loaded
