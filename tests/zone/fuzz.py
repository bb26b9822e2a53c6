"""`make fuzz`: atheris looks for octets that break a target; `python -m tests.zone.fuzz TARGET FOLDER SECONDS`.

Coverage of otscert.zones leads it. A crash is written into FOLDER, and the exit status is not 0.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path


def main(arguments: list[str]) -> None:
    name, folder, seconds = arguments
    atheris = importlib.import_module("atheris")  # of requirements/fuzz.txt: not part of the environment of the tests
    with atheris.instrument_imports(include=["otscert.zones"]):
        found = importlib.import_module("tests.zone.targets")
    corpus, crashes = Path(folder) / name / "corpus", Path(folder) / name / "crashes"
    for each in (corpus, crashes):
        each.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(found.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    options = [f"-max_total_time={seconds}", "-max_len=4096", f"-artifact_prefix={crashes}/", "-timeout=5"]
    atheris.Setup([sys.argv[0], str(corpus), *options, "-verbosity=0", "-print_final_stats=1"], found.targets()[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main(sys.argv[1:])
