"""`otscert serve`: HQ in one process, until it is told to stop."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config

if TYPE_CHECKING:
    from otscert.app import Listening

EXAMPLES = examples("otscert serve", "otscert serve --config /etc/otscert/otscert.toml --json")


def serve(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Run HQ: device API, DNS server and the worker that obtains certificates. Ctrl-C or SIGTERM ends it."""
    # All of HQ is behind these: 0.7 s that `otscert --help` and the lists do not have to wait for.
    from otscert import app, log  # noqa: PLC0415 - see above

    loaded = load_config(config)
    log.configure(level=loaded.log_level, style=loaded.log_format)

    def ready(listening: Listening) -> None:
        if as_json:
            typer.echo(json.dumps({"kind": "ready", "device": listening.device, "dns": listening.dns}))
            return
        shown = ", ".join(f"https://{host}:{port}" for host, port in listening.device)
        dns = ", ".join(f"{host}:{port}" for host, port in listening.dns)
        typer.echo(f"HQ is ready. Boxes call {loaded.public_url} (listening at {shown}); DNS at {dns}. Ctrl-C stops.")

    try:
        app.run(loaded, ready=ready)
    except app.CannotStart as error:
        raise CommandFailed(str(error)) from error
