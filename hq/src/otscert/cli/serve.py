"""`otscert serve`: HQ in one process, until it is told to stop."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer

from otscert.cli.errors import CommandFailed
from otscert.cli.options import ConfigOption, JsonOption, examples, load_config
from otscert.config import Config
from otscert.ops.doctor_config import file_warnings
from otscert.pki.files import PkiFolder
from otscert.roles.role import read_roles

if TYPE_CHECKING:
    from otscert.app import Listening

_log = logging.getLogger(__name__)
EXAMPLES = examples(
    "otscert serve",
    "otscert serve --config /etc/otscert/otscert.toml --json",
    "otscert serve --role worker",
)


RoleOption = Annotated[
    str, typer.Option("--role", help="What this process does of it: api, worker, dns, separated by commas.")
]


def serve(config: ConfigOption = None, *, role: RoleOption = "api,worker,dns", as_json: JsonOption = False) -> None:
    """Run HQ: device API, DNS server and the worker that obtains certificates. Ctrl-C or SIGTERM ends it."""
    # All of HQ is behind these: 0.7 s that `otscert --help` and the lists do not have to wait for.
    from otscert import app, log  # noqa: PLC0415 - see above
    from otscert.process import CannotStart  # noqa: PLC0415 - see above

    try:
        roles = read_roles(role)
    except ValueError as error:
        raise CommandFailed(f"--role: {error}") from error
    loaded = load_config(config)
    log.configure(level=loaded.log_level, style=loaded.log_format)
    _warn(loaded)

    def ready(listening: Listening) -> None:
        if as_json:
            where = {"device": listening.device, "dns": listening.dns, "metrics": listening.metrics}
            typer.echo(json.dumps({"kind": "ready", **where}))
            return
        typer.echo(f"HQ is ready. {_listening(loaded, listening)} Ctrl-C stops.")

    try:
        app.run(loaded, roles=roles, ready=ready, read=lambda: load_config(config))
    except CannotStart as error:
        raise CommandFailed(str(error)) from error


def _listening(config: Config, listening: Listening) -> str:
    shown = ", ".join(f"https://{host}:{port}" for host, port in listening.device)
    dns = ", ".join(f"{host}:{port}" for host, port in listening.dns)
    parts = [f"Boxes call {config.public_url} (listening at {shown})" if shown else "", f"DNS at {dns}" if dns else ""]
    return ("; ".join(filter(None, parts)) or "It obtains certificates and listens to nobody") + "."


def _warn(config: Config) -> None:
    """Log what does not keep HQ from running, but should not stay so."""
    root = PkiFolder(folder=config.pki_dir).root_pem
    if not root.exists():
        mend = "put it back from a copy of the folder: firmware is given it, and HQ's certificates are renewed with it"
        _log.warning("pki.root_missing", extra={"file": str(root), "mend": mend})
    for finding in file_warnings(config):
        _log.warning("file.open_to_others", extra={"what": finding.what, "why": finding.why, "mend": finding.mend})
