"""`make lab`: boots the twins, says what it does, and ends with a table; status 1 when a claim does not hold."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from pathlib import Path
from types import FrameType

from lab import findings, twins
from lab.errors import LabError
from lab.headquarters import run_headquarters


async def run(folder: Path) -> list[findings.Finding]:
    """Carry out every experiment; the folder takes what a run leaves behind."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"lab: {time.monotonic() - began:5.1f} s  {text}", flush=True)

    found = await twins.plain_twins(folder, say)
    found += await twins.numbered_twins(folder, say)
    async with run_headquarters(folder) as hq:
        found += await twins.agent_twins(folder, hq, say)
        found += await twins.factory_twins(folder, hq, say)
    say("done")
    return found


def main() -> int:
    signal.signal(signal.SIGTERM, _stop)
    try:
        with tempfile.TemporaryDirectory(prefix="otscert-lab-") as folder:
            found = asyncio.run(run(Path(folder)))
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    print("\n".join(findings.table(found)))
    return 0 if all(finding.holds for finding in found) else 1


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # through every context: the guests that were started end with it


if __name__ == "__main__":
    sys.exit(main())
