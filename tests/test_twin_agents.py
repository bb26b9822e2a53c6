"""Two boxes that are one and the same until HQ answers: fixed bytes for all randomness, a real HQ, milliseconds.

`make lab` shows the same with a real kernel (docs/twin-lab.md).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from agent.tests.harness.box import FixedKernel, TestBox, make_box

from otscert.domain.assurance import Contribution
from otscert.domain.unit import Unit, UnitState
from otscert_agent.steps import Step
from otscert_agent.wire.factory import Factory
from tests.harness.hq import HqOptions, RunningHq, default_models, make_model, run_hq

Boxes = Callable[..., TestBox]
SOURCES = "SELECT key.contribution FROM verified_key AS key WHERE key.kind = 'certificate'"


@pytest.fixture
async def hq(tmp_path: Path) -> AsyncIterator[RunningHq]:
    models = {**default_models(), "sealed-box": make_model("sealed-box", min_contribution=Contribution.SEALED)}
    (tmp_path / "hq").mkdir()
    async with run_hq(HqOptions(folder=tmp_path / "hq", models=models)) as running:
        yield running


@pytest.fixture
def twin(hq: RunningHq, tmp_path: Path) -> Iterator[Boxes]:
    """Make a box whose kernel gives what every other one's gives."""
    with ExitStack() as stack:

        def make(
            name: str, *, factory: Factory | None = None, model: str = "box", kernel: FixedKernel | None = None
        ) -> TestBox:
            box = make_box(
                hq,  # type: ignore[arg-type]  # its URL is what counts
                tmp_path / name,
                kernel=kernel or FixedKernel(),
                roots=hq.roots_pem,
                factory=factory,
                model=model,
                patient=False,
            )
            stack.callback(box.close)
            return box

        yield make


async def say_hello(box: TestBox) -> tuple[int, bytes]:
    """The box's half of its key and the hash of its hello."""
    await asyncio.to_thread(box.agent.run, until=Step.CHALLENGE)
    introduced = box.agent._introduced
    assert introduced is not None
    return introduced.d0, introduced.hello_digest


async def enrol(box: TestBox) -> tuple[bytes, str, str]:
    """TLS key, identity key's seed (hex) and name of a box that HQ admitted."""
    await asyncio.to_thread(box.agent.run, until=Step.CERTIFICATE)
    state = box.store.state
    assert state.pending is not None
    assert state.identity is not None
    assert state.device_id is not None
    return state.pending.scalar, state.identity.seed.hex(), state.pending.names[0]


async def import_unit(hq: RunningHq, factory: Factory, serial: str, model: str) -> None:
    public = factory.public
    unit = Unit(
        thumbprint=public.thumbprint(),
        model=model,
        serial=serial,
        short_id=serial,
        sign_key=public.sign.raw,
        seal_key=public.seal,
        setup_hash=bytes(32),
        batch="b",
        state=UnitState.STAMPED,
        device_id=None,
        fingerprint=None,
    )
    await hq.store.write(lambda transaction: transaction.units.add_many([unit], now_s=int(time.time())))


async def test_twins_say_one_hello_and_get_two_keys_two_identities_and_two_names(hq: RunningHq, twin: Boxes) -> None:
    boxes = [twin("a"), twin("b")]
    hellos = [await say_hello(box) for box in boxes]
    assert hellos[0] == hellos[1], "they are no twins"
    admitted = [await enrol(box) for box in boxes]
    for what in zip(*admitted, strict=True):
        assert what[0] != what[1]
    assert await hq.rows(SOURCES) == [("open",), ("open",)]
    assert await hq.count("device") == 2


async def test_twins_that_enrol_one_after_the_other_part_as_well(hq: RunningHq, twin: Boxes) -> None:
    first, second = twin("a"), twin("b")
    hellos = [await say_hello(first)]
    admitted = [await enrol(first)]
    hellos.append(await say_hello(second))
    admitted.append(await enrol(second))
    assert hellos[0] == hellos[1]
    assert admitted[0][0] != admitted[1][0]
    assert await hq.count("device") == 2


async def test_twins_of_which_one_is_a_moment_later_part_as_well(hq: RunningHq, twin: Boxes) -> None:
    """The same key says the same `seq` twice with other bytes: HQ asks the later one for another hello."""

    class LaterKernel(FixedKernel):
        def since_boot_s(self) -> float | None:
            return 1.001

    first, second = twin("a"), twin("b", kernel=LaterKernel())
    hellos = [await say_hello(first), await say_hello(second)]
    assert hellos[0] != hellos[1]
    assert "seq" in second.lines("waiting")[0]["why"]
    admitted = [await enrol(first), await enrol(second)]
    for what in zip(*admitted, strict=True):
        assert what[0] != what[1]
    assert await hq.count("device") == 2


async def test_stamped_twins_differ_before_hq_says_anything_and_what_hq_adds_is_sealed(
    hq: RunningHq, twin: Boxes
) -> None:
    boxes = []
    for name in ("a", "b"):
        factory = Factory.from_bytes(secrets.token_bytes(32))
        await import_unit(hq, factory, f"SN-{name}", "sealed-box")
        boxes.append(twin(name, factory=factory, model="sealed-box"))
    hellos = [await say_hello(box) for box in boxes]
    assert hellos[0][0] != hellos[1][0]
    admitted = [await enrol(box) for box in boxes]
    for what in zip(*admitted, strict=True):
        assert what[0] != what[1]
    assert await hq.rows(SOURCES) == [("sealed",), ("sealed",)]
    assert sorted(await hq.rows("SELECT serial, policy FROM device")) == [("SN-a", "open"), ("SN-b", "open")]


async def test_a_stamped_box_that_lost_its_state_enrols_again_as_the_same_unit(hq: RunningHq, twin: Boxes) -> None:
    factory = Factory.from_bytes(secrets.token_bytes(32))
    await import_unit(hq, factory, "SN-1", "box")
    before = await enrol(twin("before", factory=factory))
    box = twin("after", factory=factory)
    after = await enrol(box)
    assert before[0] != after[0]
    assert before[2] != after[2]
    states = dict(await hq.rows("SELECT state, count(*) FROM device WHERE unit IS NOT NULL GROUP BY state"))
    assert states == {"active": 1, "retired": 1}
    # HQ's word about the count of the factory key, whose memory was lost: one more hello, nothing else.
    said = [line["why"] for line in box.lines("waiting")]
    assert len(said) <= 2


async def test_an_unstamped_twin_of_a_stamped_model_is_told_what_is_missing(hq: RunningHq, twin: Boxes) -> None:
    box = twin("a", model="sealed-box")
    with pytest.raises(Exception, match="sealed"):
        await say_hello(box)
    assert await hq.count("device") == 0
