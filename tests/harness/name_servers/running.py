"""Runs a name server's process until a block ends, and waits until it answers. Knows no configuration."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import dns.exception
import dns.flags
import dns.message
import dns.query
import dns.rcode

from parts.catalog import Command
from tests.harness.ports import LOOPBACK

START_S = 30.0
STOP_S = 15.0
_LOOK_S = 0.05


@contextmanager
def running(
    command: Command, arguments: Sequence[str], *, log: Path, answers: Callable[[], bool]
) -> Iterator[subprocess.Popen[bytes]]:
    """Start it, wait until `answers` says that it does, and end it by its process id.

    Raises:
        RuntimeError: it ended or did not answer in time, with the end of its log.
    """
    with log.open("ab") as out:
        process = subprocess.Popen(
            [str(command.path), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | dict(command.env),
        )
    try:
        deadline_s = time.monotonic() + START_S
        while not answers():
            if process.poll() is not None or time.monotonic() > deadline_s:
                raise RuntimeError(f"{command.path.name} does not answer: {log.read_text()[-2000:]}")
            time.sleep(_LOOK_S)
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def serves(port: int, zone: str) -> bool:
    """Whether the server at this port of loopback has the zone now."""
    try:
        answer = dns.query.udp(dns.message.make_query(zone, "SOA"), LOOPBACK, port=port, timeout=0.5)
    except (OSError, dns.exception.DNSException):
        return False
    return answer.rcode() == dns.rcode.NOERROR and bool(answer.flags & dns.flags.AA) and bool(answer.answer)
