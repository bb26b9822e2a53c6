"""`otscert serve`: HQ in one process, until it is told to stop."""

from __future__ import annotations

import json

import typer

from otscert import app, log
from otscert.cli.options import ConfigOption, JsonOption, load_config


def serve(config: ConfigOption = None, *, as_json: JsonOption = False) -> None:
    """Run HQ: device API, DNS server and the worker that obtains certificates."""
    loaded = load_config(config)
    log.configure(level=loaded.log_level, style=loaded.log_format)

    def ready(listening: app.Listening) -> None:
        if as_json:
            typer.echo(json.dumps({"kind": "ready", "device": listening.device, "dns": listening.dns}))
            return
        shown = ", ".join(f"https://{host}:{port}" for host, port in listening.device)
        dns = ", ".join(f"{host}:{port}" for host, port in listening.dns)
        typer.echo(f"HQ is ready. Boxes call {loaded.public_url} (listening at {shown}); DNS at {dns}. Ctrl-C stops.")

    app.run(loaded, ready=ready)
