"""A kernel that is not ready, or says what is not so, at the moments that nobody thinks of."""

from __future__ import annotations

import dataclasses
import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import FixedKernel, SleepyKernel, TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import entropy
from otscert_agent.disk import FileOps
from otscert_agent.loop import Agent
from otscert_agent.steps import Step

MakeBox = Callable[..., TestBox]


class FullDisk(FileOps):
    def write(self, path: Path, data: bytes) -> None:
        del path, data
        raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("ready", [True, False])
def test_a_full_disk_does_not_begin_tls_before_the_kernel_is_ready(box: MakeBox, ready: bool) -> None:  # noqa: FBT001  # a parameter of the test
    """Of the pair that is there: a server's context already draws randomness, and would block the whole box."""
    first = box()
    first.agent.run(until=Step.STEADY)
    first.close()
    served: list[str] = []
    one = box(ops=FullDisk(), kernel=FixedKernel() if ready else SleepyKernel(looks=100))
    one.agent = Agent(dataclasses.replace(one.agent._parts, start_page=lambda: served.append("TLS")))
    for _ in range(3):
        one.agent.advance()
    assert one.agent.step is Step.LOCK
    assert bool(served) is ready


@pytest.mark.parametrize(("drawn", "source"), [(b"\x07", "jitter"), (bytes(32), "jitter"), (bytes(range(32)), "hwrng")])
def test_a_hardware_generator_counts_only_when_it_generates(
    hq: FakeHq, box: MakeBox, drawn: bytes, source: str
) -> None:
    class Chip(FixedKernel):
        def hwrng(self, length: int) -> bytes:
            return drawn[:length]

    one = box(kernel=Chip())
    one.agent.run(until=Step.STEADY)
    assert hq.book.calls[0].payload["report"]["source"] == source


def test_a_machine_without_dev_random_is_waited_for_all_the_same(tmp_path: Path) -> None:
    class Bare(entropy.LinuxKernel):
        random_device = tmp_path / "none"

    Bare().wait_ready(0.0)
