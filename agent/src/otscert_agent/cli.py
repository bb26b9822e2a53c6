"""`otscert-agent run | enroll | status | seal | reset`: arguments, signals and exit status, nothing else.

Exit status: 0 done, 1 something in the surroundings failed, 2 a setting has to be changed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING

from otscert_agent import __version__, config, words
from otscert_agent.errors import AgentError, ConfigError

if TYPE_CHECKING:
    from otscert_agent.sealing import Forgotten, Sealed


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    try:
        status = _run(options)
        sys.stdout.flush()  # what is still to be written fails here, not after the last line of this file
    except KeyboardInterrupt:
        return 0
    except BrokenPipeError:  # nobody reads on, as behind `| head -1`; what was begun is as after a power cut
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ConfigError as error:
        print(f"otscert-agent: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
        return 2
    except AgentError as error:
        print(f"otscert-agent: {error}", file=sys.stderr)  # noqa: T201  # a person reads it
        return 1
    return status


def _run(options: argparse.Namespace) -> int:
    from otscert_agent import app, sealing  # noqa: PLC0415  # --help and typos do not pay for the rest

    handed = app.inherited(os.environ)
    settings = config.load(options.config)
    if options.command == "status":
        return _show(app.status(settings), as_json=options.json)
    if options.command == "seal":
        return _show_sealed(sealing.seal(settings.state_dir, hold=options.hold), as_json=options.json)
    if options.command == "reset":
        return _show_forgotten(sealing.reset(settings.state_dir), as_json=options.json)
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
        for line in words.status_lines(found, time.time()):
            print(line)  # noqa: T201  # the output
    return 0


def _show_sealed(sealed: Sealed, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(asdict(sealed)))  # noqa: T201  # the command's output
        return 0
    for name in sealed.removed:
        print(f"removed: {name}")  # noqa: T201  # same
    if not sealed.removed:
        print("nothing to remove")  # noqa: T201  # same
    if sealed.hold:
        print("on hold: a box with this image enrols when the file hold is removed")  # noqa: T201  # same
    return 0


def _show_forgotten(forgotten: Forgotten, *, as_json: bool) -> int:
    if as_json:
        print(json.dumps(asdict(forgotten)))  # noqa: T201  # the command's output
    elif forgotten.device_id is None and not forgotten.names:
        print("there was no identity to forget")  # noqa: T201  # same
    else:
        name = forgotten.names[0] if forgotten.names else forgotten.device_id
        print(f"forgotten: {name}; the next start enrols as a new box")  # noqa: T201  # same
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
        ("seal", "before an image is taken: remove everything that the agent has written"),
        ("reset", "factory reset: forget identity, name and key; the next start enrols as a new box"),
    ):
        command = commands.add_parser(name, help=sentence, description=sentence)
        command.add_argument("--config", type=Path, help="TOML file; every setting also as OTSCERT_AGENT_<NAME>")
        command.add_argument("--json", action="store_true", help="print JSON")
        if name == "seal":
            command.add_argument("--hold", action="store_true", help="leave the file hold: the image does not enrol")
    return parser


if __name__ == "__main__":
    sys.exit(main())
