"""`otscert` commands as processes of their own that need not import HQ first: forks of one process that has.

Run as `python -m tests.harness.preloaded`: it forks a child for every line on its stdin (`Order`), has it be `otscert`
with those arguments, folder, environment and files, and says on its stdout how it ended. What a start itself does
(`python -m otscert`, its imports, `PYTHON...` variables) is not seen this way: some tests start the real command.
"""

from __future__ import annotations

import gc
import importlib
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
_LOADED = ("otscert.cli", "otscert.roles", "otscert.ops", "otscert.notify")
TIMEOUT_S = 60


class Order(msgspec.Struct, frozen=True, kw_only=True):
    arguments: list[str]
    folder: str
    environment: dict[str, str]
    files: list[str]
    """Of standard input, output and error."""


@dataclass(slots=True)
class Preloaded:
    """The process that forks; one command at a time."""

    _process: subprocess.Popen[bytes]
    _alone: threading.Lock = field(default_factory=threading.Lock)

    def run(
        self, arguments: Sequence[str], *, folder: Path, environment: Mapping[str, str], stdin: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end; raises `subprocess.TimeoutExpired`."""
        with tempfile.TemporaryDirectory() as name, self._alone:
            paths = [Path(name, each) for each in ("stdin", "stdout", "stderr")]
            paths[0].write_text(stdin)
            status = self._ask(
                Order(
                    arguments=list(arguments),
                    folder=str(folder),
                    environment=dict(environment),
                    files=[str(path) for path in paths],
                )
            )
            return subprocess.CompletedProcess(list(arguments), status, paths[1].read_text(), paths[2].read_text())

    def _ask(self, order: Order) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        late = threading.Timer(TIMEOUT_S, self._process.kill)
        late.start()
        try:
            line = self._process.stdout.readline()
        finally:
            late.cancel()
        if not line:
            raise subprocess.TimeoutExpired(order.arguments, TIMEOUT_S)
        return int(line)


@contextmanager
def preloaded(environment: Mapping[str, str]) -> Iterator[Preloaded]:
    """Start the process that forks, and end it after the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.harness.preloaded"],
        cwd=ROOT,
        env=dict(environment),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        try:
            yield Preloaded(process)
        finally:
            process.kill()


def _be(order: Order) -> None:
    """Become `otscert`; in the child, which ends as a started one does."""
    os.chdir(order.folder)
    os.environ.clear()
    os.environ.update(order.environment)
    for number, name in enumerate(order.files):
        file = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, number)
        os.close(file)
    sys.stdin, sys.stdout = open(0, closefd=False), open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.argv = ["otscert", *order.arguments]
    from otscert.cli import main as otscert  # noqa: PLC0415

    otscert()


def main() -> None:
    for name in _LOADED:
        package = importlib.import_module(name)
        for module in pkgutil.walk_packages(package.__path__, f"{name}."):
            importlib.import_module(module.name)
    importlib.import_module("otscert.app")
    gc.collect()
    gc.freeze()
    while line := sys.stdin.readline():
        pid = os.fork()
        if pid == 0:
            _be(msgspec.json.decode(line, type=Order))
            return
        _, status = os.waitpid(pid, 0)
        os.write(1, b"%d\n" % os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main()
