"""Boxes that say hello at a steady rate: `python -m bench.api_client CALLS` prints how many ms each answer took.

A call that the last ones delay is timed from when it was due, so that a server that stands still is seen.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp

from otscert_agent.wire import messages
from tests.harness.box import Box, open_session

MODEL = "bench-box"


@dataclass(frozen=True, slots=True, kw_only=True)
class Calls:
    """`per_s` calls for so many `seconds`, at HQ's `url`, trusted by the PEM file `roots`."""

    url: str
    roots: str
    per_s: int
    seconds: int


async def call(calls: Calls, roots: bytes) -> list[float]:
    hq: Any = SimpleNamespace(url=calls.url, roots_pem=roots)
    async with open_session(hq) as session:
        bodies = [_body(hq, session) for _ in range(calls.per_s * calls.seconds)]
        began_s = time.monotonic() + 0.2
        return list(
            await asyncio.gather(
                *(_post(session, calls.url, body, began_s + n / calls.per_s) for n, body in enumerate(bodies))
            )
        )


def _body(hq: Any, session: aiohttp.ClientSession) -> bytes:
    box = Box(hq=hq, session=session, model=MODEL)
    return box.sign(box.hello_key, messages.Hello.TYP, messages.PATH_HELLO, box.hello_message(), introduce=True)


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, due_s: float) -> float:
    await asyncio.sleep(due_s - time.monotonic())
    async with session.post(url + messages.PATH_HELLO, data=body) as response:
        await response.read()
        if response.status != 200:
            raise SystemExit(f"HQ says {response.status}")
    return (time.monotonic() - due_s) * 1000


def main() -> None:
    calls = Calls(**json.loads(sys.argv[1]))
    print(json.dumps({"ms": asyncio.run(call(calls, Path(calls.roots).read_bytes()))}), flush=True)


if __name__ == "__main__":
    main()
