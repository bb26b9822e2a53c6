"""`make bench`: every figure in one run; prints them, writes docs/benchmarks.json and the table of its page."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import Any

from bench import machine, report
from bench.errors import BenchError
from bench.figures import Section
from bench.sections import FULL, QUICK, SECTIONS
from otscert.ops.demo_hq import DemoError
from otscert.ops.pebble import PebbleError

DOCS = Path(__file__).resolve().parent.parent / "docs"
CORES = 2


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parser().parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    # The targets are for two cores; on a larger machine the run, and all it starts, keeps to two.
    os.sched_setaffinity(0, set(sorted(os.sched_getaffinity(0))[:CORES]))
    run: dict[str, Any] = {
        "began": datetime.now(UTC).isoformat(timespec="seconds"),
        "quick": options.quick,
        "machine": machine.facts(),
        "parts": machine.parts(),
        "load_before": machine.load(),
        "loads": {},
    }
    began_s, sections = time.monotonic(), []
    try:
        for name in options.only or SECTIONS:
            run["loads"][name] = machine.load()
            sections += _measure(name, quick=options.quick)
    except (BenchError, DemoError, PebbleError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    run |= {"took_s": round(time.monotonic() - began_s, 1), "load_after": machine.load()}
    _write(options, sections, run)
    return 0


def _stop(_number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)  # through every context: what the run started ends with it


def _measure(name: str, *, quick: bool) -> list[Section]:
    with tempfile.TemporaryDirectory(prefix="otscert-bench-") as folder:
        sections = SECTIONS[name](Path(folder), QUICK if quick else FULL)
    for section in sections:
        print("\n".join(report.lines(section)), flush=True)
    return sections


def _write(options: argparse.Namespace, sections: Sequence[Section], run: dict[str, Any]) -> None:
    """A whole run replaces the published figures; anything less is written only where it is asked for."""
    whole = not options.only and not options.quick
    path = options.json or (DOCS / "benchmarks.json" if whole else None)
    if path is not None:
        report.write_json(path, report.document(sections, run=run))
    if whole:
        page = DOCS / "benchmarks.md"
        text = page.read_text(encoding="utf-8")
        page.write_text(report.into_page(text, report.table(sections, run=run)), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--only", action="append", choices=list(SECTIONS), help="only this section (may be repeated)")
    parser.add_argument("--quick", action="store_true", help="a smoke run: tiny numbers that say nothing")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the JSON there instead of docs/benchmarks.json"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
