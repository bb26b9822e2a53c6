"""Runs a module under cProfile, all its threads included: `python -m bench.profiled OUT MODULE ARGUMENTS...`."""

from __future__ import annotations

import cProfile
import pstats
import runpy
import sys
import threading
import time
from types import FrameType


def main() -> None:
    out, module = sys.argv[1:3]
    profiles: list[cProfile.Profile] = []

    def in_thread(_frame: FrameType, _event: str, _argument: object) -> None:
        profiles.append(cProfile.Profile(time.thread_time))
        profiles[-1].enable()  # takes the place of this function in the thread

    threading.setprofile(in_thread)
    sys.argv = sys.argv[2:]
    profiles.append(cProfile.Profile(time.thread_time))
    profiles[0].enable()
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    finally:
        profiles[0].disable()
        threading.setprofile(None)
        stats = pstats.Stats(profiles[0])
        for profile in profiles[1:]:
            stats.add(profile)
        stats.dump_stats(out)


if __name__ == "__main__":
    main()
