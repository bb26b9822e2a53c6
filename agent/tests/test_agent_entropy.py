from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import FixedKernel, SleepyKernel, TestBox
from agent.tests.harness.hq import FakeHq
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from otscert_agent import entropy
from otscert_agent.errors import NotReadyError
from otscert_agent.steps import Step
from otscert_agent.wire import b64

MakeBox = Callable[..., TestBox]


class OldKernel(FixedKernel):
    """Before 3.17 there is no getrandom to ask."""

    def random(self, length: int) -> bytes:
        raise OSError(38, "Function not implemented")


def hello_of(hq: FakeHq) -> dict[str, Any]:
    return next(call.payload for call in hq.book.calls if call.path.endswith("hello"))


def leaf_key(box: TestBox) -> bytes:
    folder = box.disk.current_pair()
    assert folder is not None
    leaf = x509.load_pem_x509_certificate((folder / "chain.pem").read_bytes())
    return leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def test_twins_send_the_same_d0_and_end_with_different_keys(tmp_path: Path, box: MakeBox) -> None:
    d0s, spkis, names = set(), set(), set()
    for twin in ("a", "b"):
        (tmp_path / f"hq-{twin}").mkdir()
        hq = FakeHq().start(tmp_path / f"hq-{twin}")
        try:
            # Both believe to be the same box at the same moment; only HQ can tell them apart.
            one = box(twin, hq=hq, kernel=FixedKernel())
            one.agent.run(until=Step.STEADY)
        finally:
            hq.stop()
        d0s.add(hello_of(hq)["d0"])
        spkis.add(leaf_key(one))
        names.add(one.store.state.names[0])
    assert (len(d0s), len(spkis), len(names)) == (1, 2, 2)


def test_a_d0_is_never_sent_twice_although_the_sources_never_change(hq: FakeHq, box: MakeBox) -> None:
    one = box(kernel=FixedKernel())
    one.agent.run(until=Step.CHALLENGE)
    one.close()
    two = box(kernel=FixedKernel())
    two.agent.run(until=Step.STEADY)
    hq.book.commands = ["renew"]
    two.agent.advance()
    two.agent.run(until=Step.STEADY)
    sent = [call.payload["d0"] for call in hq.book.calls if call.path.endswith("hello")]
    assert len(sent) == len(set(sent)) == 3
    assert two.store.state.attempt == 4  # three hellos and a check-in: the count outlives the power cut
    assert hq.book.violations == []


def test_every_source_counts_and_none_can_pass_for_another() -> None:
    names = [member.name for member in dataclasses.fields(entropy.Sources)]
    plain = entropy.extract(entropy.Sources())
    found = {entropy.extract(dataclasses.replace(entropy.Sources(), **{name: b"x"})) for name in names}
    found |= {
        entropy.extract(entropy.Sources(kernel=b"ab", hwrng=b"c")),
        entropy.extract(entropy.Sources(kernel=b"abc")),
    }
    assert len(found | {plain}) == len(names) + 3


def test_attempt_and_seq_and_purpose_each_change_the_half_of_the_key() -> None:
    mix = entropy.gather(FixedKernel(), pool=b"", ids=b"", attempt=1)
    drawn = {
        mix.d0_bytes(purpose=b"tls", attempt=1, seq=1),
        mix.d0_bytes(purpose=b"tls", attempt=2, seq=1),
        mix.d0_bytes(purpose=b"tls", attempt=1, seq=2),
        mix.d0_bytes(purpose=b"ssh", attempt=1, seq=1),
    }
    assert len(drawn) == 4


def test_while_the_kernel_is_not_ready_the_box_waits_says_so_and_opens_no_connection(hq: FakeHq, box: MakeBox) -> None:
    kernel = SleepyKernel(looks=3)
    one = box(kernel=kernel)
    for _ in range(4):
        one.agent.advance()
    assert one.agent.step is Step.ENTROPY
    assert kernel.waited == [5.0, 5.0]
    assert "waiting for randomness" in one.lines("waiting")[0]["why"]
    assert len(one.lines("waiting")) == 1
    assert hq.book.calls == []
    one.agent.run(until=Step.STEADY)
    assert hello_of(hq)["report"]["crng"] == "ready"


def test_nothing_is_mixed_while_the_kernel_is_not_ready() -> None:
    with pytest.raises(NotReadyError):
        entropy.gather(SleepyKernel(looks=1), pool=b"p" * 32, ids=b"", attempt=1)


def test_only_a_kernel_that_cannot_be_asked_is_called_starved(hq: FakeHq, box: MakeBox) -> None:
    box(kernel=OldKernel()).agent.run(until=Step.STEADY)
    report = hello_of(hq)["report"]
    assert (report["source"], report["crng"]) == ("starved", "unknown")
    assert "kernel" not in report["used"]
    assert hello_of(hq)["canary"] == ""


def test_the_canary_is_the_hash_of_kernel_bytes_and_of_nothing_else(hq: FakeHq, box: MakeBox) -> None:
    box("a", kernel=FixedKernel(b"one")).agent.run(until=Step.CHALLENGE)
    box("b", kernel=FixedKernel(b"one"), serial="another").agent.run(until=Step.CHALLENGE)
    box("c", kernel=FixedKernel(b"two")).agent.run(until=Step.CHALLENGE)
    canaries = [call.payload["canary"] for call in hq.book.calls]
    assert canaries[0] == canaries[1] != canaries[2]
    d0s = {call.payload["d0"] for call in hq.book.calls}
    assert len(d0s) == 3


def test_the_saved_pool_is_another_one_before_the_hello_leaves(hq: FakeHq, box: MakeBox) -> None:
    pools: list[bytes] = []
    one = box()

    def look(_call: object) -> None:
        pools.append(one.store.state.pool)
        assert one.disk.read("state.json") is not None

    hq.faults = [look]
    before = one.store.state.pool
    one.agent.run(until=Step.STEADY)
    assert before == b""
    assert len(set(pools)) == len(pools) - 1  # replaced before hello, unchanged at enrol, refreshed by `granted`
    assert all(len(pool) == 32 for pool in pools)


def test_the_seed_of_hq_changes_the_pool() -> None:
    pool = b"p" * 32
    assert len({pool, entropy.refreshed_pool(pool, b"a" * 32), entropy.refreshed_pool(pool, b"b" * 32)}) == 3


def test_the_real_kernel_answers_without_blocking() -> None:
    kernel = entropy.LinuxKernel()
    crng, drawn = entropy.look(kernel, 16)
    assert (crng, len(drawn)) == ("ready", 16)
    kernel.wait_ready(5.0)
    kernel.stir(b"harmless")
    assert len(b64.encode(kernel.times())) > 20
