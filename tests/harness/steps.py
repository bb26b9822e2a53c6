"""Runs make targets one after the other, times each, and stops at the first that fails, with its status.

`python -m tests.harness.steps TARGET ...` is how `make test` ends with a table of seconds.
"""

from __future__ import annotations

import subprocess
import sys
import time


def main(targets: list[str]) -> int:
    seconds: dict[str, float] = {}
    status = 0
    for target in targets:
        print(f"== {target}", flush=True)  # noqa: T201 - this program's output is for a terminal
        start = time.monotonic()
        status = subprocess.run(
            ["make", "--no-print-directory", target], stdin=subprocess.DEVNULL, check=False
        ).returncode
        seconds[target] = time.monotonic() - start
        if status != 0:
            break
    for line in table(targets, seconds, failed=status != 0):
        print(line)  # noqa: T201 - see above
    return status


def table(targets: list[str], seconds: dict[str, float], *, failed: bool) -> list[str]:
    """Return the closing table: every target with its seconds, which one failed, which were not reached."""
    lines = ["", f"{'step':<16}{'seconds':>8}"]
    for target in targets:
        if target not in seconds:
            lines.append(f"{target:<16}{'-':>8}  not reached")
        else:
            last_and_failed = failed and target == list(seconds)[-1]
            lines.append(f"{target:<16}{seconds[target]:>8.1f}{'  FAILED' if last_and_failed else ''}")
    lines.append(f"{'total':<16}{sum(seconds.values()):>8.1f}")
    return lines


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
