"""ENTROPY: what is credited, what is waited for, and that the waiting is said and costs nothing."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import FixedKernel, HeldTime, SleepyKernel, TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import app, entropy, state
from otscert_agent.errors import NotReadyError
from otscert_agent.loop import Agent, Handed
from otscert_agent.report import REPEAT_S, Report
from otscert_agent.steps import Step
from otscert_agent.wire.factory import Factory

MakeBox = Callable[..., TestBox]
UNIT = Factory.from_bytes(bytes(range(32)))
CAP_SYS_ADMIN = 21


class CreditedKernel(FixedKernel):
    """Ready as soon as it was given a credit, or from the beginning."""

    def __init__(self, *, is_ready: bool, may: bool = True) -> None:
        super().__init__()
        self.is_ready, self.may = is_ready, may
        self.credits: list[bytes] = []
        self.durable: list[int] = []
        self.disk_of: TestBox | None = None

    def random(self, length: int) -> bytes:
        if not self.is_ready:
            raise NotReadyError("not yet")
        return hashlib.shake_128(b"".join([self.seed, *self.credits])).digest(length)

    def credit(self, seed: bytes) -> bool:
        self.credits.append(seed)
        if self.disk_of is not None:
            self.durable.append(state.load(self.disk_of.disk).boots)
        self.is_ready = self.is_ready or self.may
        return self.may


def canaries(hq: FakeHq) -> list[str]:
    return [call.payload["canary"] for call in hq.book.calls if "canary" in call.payload]


@pytest.fixture
def hq(hq: FakeHq) -> FakeHq:
    hq.stamp(UNIT)
    return hq


def test_a_stamped_box_makes_its_kernel_ready(hq: FakeHq, box: MakeBox) -> None:
    kernel = CreditedKernel(is_ready=False)
    one = box(factory=UNIT, kernel=kernel)
    kernel.disk_of = one
    one.agent.run(until=Step.STEADY)
    assert kernel.credits == [UNIT.credit_seed(1)]
    assert kernel.durable == [1]  # the count was on disk before the seed was used
    assert one.lines("waiting") == []
    hq.book.commands = ["renew"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    one.agent.advance()
    assert canaries(hq) == ["", "", "", ""]  # what is drawn after a credit says nothing about the model's generator


def test_each_start_credits_another_seed_once(hq: FakeHq, box: MakeBox) -> None:
    kernel = CreditedKernel(is_ready=True)
    for _ in range(2):
        one = box(factory=UNIT, kernel=kernel)
        one.agent.run(until=Step.STEADY)
        hq.book.commands = ["renew"]
        one.agent.advance()
        one.agent.run(until=Step.STEADY)
        one.close()
    assert kernel.credits == [UNIT.credit_seed(1), UNIT.credit_seed(2)]


def test_a_ready_kernel_is_sampled_before_it_is_credited(hq: FakeHq, box: MakeBox) -> None:
    kernel = CreditedKernel(is_ready=True)
    box(factory=UNIT, kernel=kernel).agent.run(until=Step.STEADY)
    assert canaries(hq) == [hashlib.sha256(FixedKernel().random(16)).hexdigest()]


def test_the_image_after_a_handover_credits_nothing(box: MakeBox) -> None:
    first = box(factory=UNIT)
    first.agent.run(until=Step.STEADY)
    first.close()
    kernel = CreditedKernel(is_ready=True)
    again = box(factory=UNIT, kernel=kernel)
    again.agent = Agent(again.agent._parts, Handed(due=again.time.now(), canary=""))
    again.agent.step = Step.ENTROPY  # as when HQ asks for a renewal
    again.agent.advance()
    assert kernel.credits == []


def test_a_box_without_a_secret_credits_nothing(box: MakeBox) -> None:
    kernel = CreditedKernel(is_ready=True)
    box(kernel=kernel).agent.run(until=Step.STEADY)
    assert kernel.credits == []


def test_a_process_that_may_not_credit_waits_until_the_kernel_is_ready(hq: FakeHq, box: MakeBox) -> None:
    kernel = CreditedKernel(is_ready=False, may=False)
    one = box(factory=UNIT, kernel=kernel)
    for _ in range(5):
        one.agent.advance()
    assert one.agent.step is Step.ENTROPY
    assert hq.book.calls == []
    kernel.is_ready = True
    one.agent.run(until=Step.STEADY)
    assert len(kernel.credits) == 1


# ---- waiting


def test_a_poll_that_says_ready_when_getrandom_does_not_is_no_busy_loop(box: MakeBox) -> None:
    one = box(kernel=SleepyKernel(looks=10))
    for _ in range(12):
        one.agent.advance()
    assert one.time.waits == [0.2] * 10


def test_a_kernel_that_was_waited_for_is_not_waited_for_twice(box: MakeBox) -> None:
    time = HeldTime()

    class PollingKernel(SleepyKernel):
        def wait_ready(self, timeout_s: float) -> None:
            time.wait(timeout_s)

    one = box(kernel=PollingKernel(looks=3), time=time)
    for _ in range(5):
        one.agent.advance()
    assert [wait for wait in one.time.waits if wait] == [5.0] * 3


def test_the_waiting_is_said_again_every_ten_minutes_and_noted_once(box: MakeBox) -> None:
    one = box(kernel=SleepyKernel(looks=1000))
    said = io.StringIO()
    report = Report(one.disk, as_json=True, stream=said, now=one.time.now)
    one.agent = Agent(dataclasses.replace(one.agent._parts, report=report))
    one.time.most_waits = 10_000
    began, note = one.time.now(), one.disk.root / "status.json"
    while one.agent.step is not Step.ENTROPY:
        one.agent.advance()
    one.agent.advance()
    written = note.stat().st_ino
    while one.time.now() - began < 3 * REPEAT_S:
        one.agent.advance()
        one.time.wait(5.0)
    lines = [json.loads(line) for line in said.getvalue().splitlines() if "waiting" in line]
    assert len(lines) == 3
    assert {line["why"] for line in lines} == {"waiting for randomness: the kernel's generator is not ready"}
    assert note.stat().st_ino == written
    shown = app.status(one.settings)
    assert (shown["step"], shown["why"]) == ("ENTROPY", lines[0]["why"])


# ---- the real kernel


def may_credit() -> bool:
    effective = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("CapEff"))
    first = Path("/proc/self/uid_map").read_text().split()
    in_first_namespace = first == ["0", "0", "4294967295"]
    return in_first_namespace and bool(int(effective.split()[1], 16) >> CAP_SYS_ADMIN & 1)


def test_the_real_kernel_takes_a_credit_from_those_who_may_give_it() -> None:
    assert entropy.LinuxKernel().credit(os.urandom(32)) is may_credit()


def test_the_real_kernel_takes_none_from_others() -> None:
    program = (
        "import os; from otscert_agent.entropy import LinuxKernel\n"
        "os.geteuid() or os.setuid(65534); print(LinuxKernel().credit(os.urandom(32)))"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"


@pytest.mark.parametrize(
    ("machine", "numbers"),
    [
        ("x86_64", (0x40085203, 0x5207)),
        ("aarch64", (0x40085203, 0x5207)),
        ("armv7l", (0x40085203, 0x5207)),
        ("mips", (0x80085203, 0x20005207)),
        ("mips64", (0x80085203, 0x20005207)),
        ("ppc64le", (0x80085203, 0x20005207)),
    ],
)
def test_the_requests_have_the_numbers_of_the_architecture(machine: str, numbers: tuple[int, int]) -> None:
    assert entropy._ioctl_numbers(machine) == numbers
