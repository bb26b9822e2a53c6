"""`otscert-agent run | enroll | status`: arguments, signals and exit status, nothing else.

Exit status: 0 done, 1 something in the surroundings failed, 2 a setting has to be changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from otscert_agent import __version__, config
from otscert_agent.errors import AgentError, ConfigError


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        return _run(options)
    except KeyboardInterrupt:
        return 0
    except ConfigError as error:
        print(f"otscert-agent: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
        return 2
    except AgentError as error:
        print(f"otscert-agent: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
        return 1


def _run(options: argparse.Namespace) -> int:
    from otscert_agent import app  # noqa: PLC0415  # --help and typos do not pay for the rest

    handed = app.inherited(os.environ)
    settings = config.load(options.config)
    if options.command == "status":
        return _show(app.status(settings), as_json=options.json)
    if options.command == "run":
        box = app.Box(settings, report_json=options.json, page=True, patient=True, handed=handed)
        try:
            box.agent.run()
        finally:
            box.close()
        return 0
    return _enroll(app.Box(settings, report_json=options.json, page=False, patient=False))


def _enroll(box: object) -> int:
    from otscert_agent.app import Box  # noqa: PLC0415  # loaded by then
    from otscert_agent.steps import Step  # noqa: PLC0415

    assert isinstance(box, Box)  # noqa: S101  # tells the type checker
    try:
        box.agent.run(until=Step.STEADY)
        return 0 if box.web is None or box.agent.served_as_issued else 1
    finally:
        box.close()


def _show(found: dict[str, object], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(found))  # noqa: T201  # the command's output
    else:
        for name, value in found.items():
            text = ", ".join(value) if isinstance(value, list) else value
            print(f"{name.replace('_', ' ')}: {'-' if text in (None, '') else text}")  # noqa: T201  # the output
    return 0


def _stop(_signal: int, _frame: FrameType | None) -> None:
    # Wherever this interrupts, the state folder is as a power cut would leave it, and that is a promise anyway.
    raise SystemExit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="otscert-agent", description="Get this box a name and a certificate that browsers trust, and keep them."
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, sentence in (
        ("run", "boot, serve, renew: until stopped"),
        ("enroll", "once, until the certificate is installed (and served, with served_at)"),
        ("status", "show name, certificate and what the box waits for"),
    ):
        command = commands.add_parser(name, help=sentence, description=sentence)
        command.add_argument("--config", type=Path, help="TOML file; every setting also as OTSCERT_AGENT_<NAME>")
        command.add_argument("--json", action="store_true", help="print JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
