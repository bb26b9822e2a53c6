"""`make year`: lives through a year and prints the CAs' ledger; exit status 1 when the year was not a good one."""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
import time
from pathlib import Path

from tests.year.story import Options, run_year


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--boxes", type=int, default=1000)
    parser.add_argument("--short-share", type=float, default=0.1, help="share of boxes with 6-day certificates")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--break-renewal", action="store_true", help="tell nobody to renew: the verdict must notice")
    parser.add_argument("--checkin-hours", type=int, default=24)
    parser.add_argument("--ask-hours", type=int, default=12, help="how often the CA is asked for windows")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)
    began_s = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began_s:6.1f} s  {text}", file=sys.stderr)  # noqa: T201

    with tempfile.TemporaryDirectory(prefix="otscert-year-") as folder:
        verdict = run_year(
            Options(
                boxes=asked.boxes,
                folder=Path(folder),
                short_share=asked.short_share,
                seed=asked.seed,
                days=asked.days,
                checkin_s=asked.checkin_hours * 3600,
                ask_again_s=asked.ask_hours * 3600,
                break_renewal=asked.break_renewal,
                say=say,
            )
        )
    print(verdict)  # noqa: T201
    return 1 if verdict.faults else 0


sys.exit(main())
