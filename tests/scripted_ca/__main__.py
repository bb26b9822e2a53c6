"""Runs the scripted CA as a process of its own until it is terminated: `python -m tests.scripted_ca --json`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import msgspec

from tests.scripted_ca.script import Script
from tests.scripted_ca.server import start_scripted_ca


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.scripted_ca", description=__doc__)
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT")
    parser.add_argument("--dns", type=_address, metavar="HOST:PORT", help="ask this server (UDP); else pass everything")
    parser.add_argument("--folder", type=Path, required=True, help="where https-root.pem and issuing-roots.pem go")
    parser.add_argument("--script", default="{}", help="a Script as JSON")
    parser.add_argument("--json", action="store_true", help="print the ready line as JSON")
    return parser.parse_args()


async def run(arguments: argparse.Namespace) -> None:
    script = msgspec.json.decode(arguments.script, type=Script)
    host, port = arguments.listen
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with start_scripted_ca(script, dns_server=arguments.dns, host=host, port=port) as ca:
        arguments.folder.mkdir(parents=True, exist_ok=True)
        trust, roots = arguments.folder / "https-root.pem", arguments.folder / "issuing-roots.pem"
        trust.write_text(ca.trust_pem)
        roots.write_text("".join(ca.roots))
        ready = {
            "kind": "ready",
            "pid": os.getpid(),
            "directory_url": ca.directory_url,
            "management_url": f"{ca.state.base_url}/management",
            "trust_file": str(trust),
            "issuing_roots_file": str(roots),
        }
        line = json.dumps(ready) if arguments.json else f"scripted CA: {ca.directory_url} (trust {trust})"
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        await stop.wait()


if __name__ == "__main__":
    asyncio.run(run(_arguments()))
