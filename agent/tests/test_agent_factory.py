"""A box with a factory secret: where it comes from, what it signs, and what it refuses."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness.box import Enough, FixedKernel, HeldTime, TestBox, secret_file
from agent.tests.harness.hq import Call, FakeHq

from otscert_agent import config
from otscert_agent.errors import ConfigError
from otscert_agent.factory_secret import FactorySecret
from otscert_agent.steps import Step
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.problems import ProblemType

MakeBox = Callable[..., TestBox]
SECRET = bytes(range(32))
UNIT = Factory.from_bytes(SECRET)
OTHER = Factory.from_bytes(SECRET[::-1])


@pytest.fixture
def hq(hq: FakeHq) -> FakeHq:
    hq.stamp(UNIT)
    return hq


def secret(**values: Any) -> FactorySecret:
    given = {"hq_url": "https://hq", "hq_roots": Path("/r"), "model": "m", "state_dir": Path("/s"), **values}
    return FactorySecret(config.Settings(**given))


def calls(hq: FakeHq, path: str) -> list[Call]:
    return [call for call in hq.book.calls if path in call.path]


def challenge_of(hq: FakeHq, call: Call) -> dict[str, Any]:
    stored = hq.book.seen[hq._key(call.request).thumbprint(), call.request.header["seq"]][1]
    payload: dict[str, Any] = json.loads(jws.parse(stored).payload)
    return payload


# ---- where it comes from


def test_a_box_without_the_settings_has_no_secret() -> None:
    assert not secret().configured
    assert secret().load() is None


@pytest.mark.parametrize(
    "content", [SECRET, UNIT.text().encode(), UNIT.text().encode() + b"\r\n"], ids=["raw", "text", "line"]
)
def test_a_file_holds_it_raw_or_as_text(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "factory"
    path.write_bytes(content)
    path.chmod(0o400)
    assert secret(factory_file=str(path)).load() == UNIT


def test_a_command_prints_it() -> None:
    assert secret(factory_command=["/bin/echo", UNIT.text()]).load() == UNIT


def test_a_secret_is_read_once(tmp_path: Path) -> None:
    path = secret_file(tmp_path / "factory", UNIT)
    one = secret(factory_file=str(path))
    assert one.load() == UNIT
    path.unlink()
    assert one.load() == UNIT


@pytest.mark.parametrize(
    ("content", "mode", "why"),
    [
        (SECRET, 0o644, "can be read by others; chmod 600"),
        (SECRET, 0o640, "can be read by others"),
        (SECRET[:31], 0o600, "holds 31 bytes"),
        (SECRET + b"\n", 0o600, "holds 33 bytes"),
        (b"", 0o600, "holds 0 bytes"),
        (bytes(32), 0o600, "one byte repeated"),
        (b"\xff" * 32, 0o600, "one byte repeated"),
        (b"?" * 43, 0o600, "holds no factory secret"),
        (b"\xe4" * 43, 0o600, "not ASCII"),
        (SECRET * 1000, 0o600, "a factory secret is 32 raw bytes"),
    ],
)
def test_an_unfit_file_is_named_and_never_quoted(tmp_path: Path, content: bytes, mode: int, why: str) -> None:
    path = tmp_path / "factory"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=why) as said:
        secret(factory_file=str(path)).load()
    assert str(path) in str(said.value)
    assert "????" not in str(said.value)


def test_what_is_no_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        secret(factory_file=str(tmp_path / "none")).load()
    with pytest.raises(ConfigError, match="is no file"):
        secret(factory_file=str(tmp_path)).load()


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (["/bin/sh", "-c", "echo SECRETWORD; echo SECRETWORD >&2; exit 3"], "ended with status 3"),
        (["/bin/echo", "SECRETWORD"], "holds 11 bytes"),
        (["/nowhere/fw_printenv"], "cannot be started: No such file"),
    ],
)
def test_a_command_that_gives_none_is_named_and_its_output_is_not(
    command: list[str], why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ConfigError, match=why) as said:
        secret(factory_command=command).load()
    assert "SECRETWORD" not in str(said.value) + "".join(capfd.readouterr())


def test_the_command_does_not_see_the_agents_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTSCERT_AGENT_TOKEN", "fleet-secret")
    program = f"import os; print('{UNIT.text()}' if 'OTSCERT_AGENT_TOKEN' not in os.environ else '')"
    assert secret(factory_command=[sys.executable, "-c", program]).load() == UNIT


def test_the_secret_is_in_one_place() -> None:
    environment = {
        "OTSCERT_AGENT_HQ_URL": "https://h",
        "OTSCERT_AGENT_HQ_ROOTS": "/r",
        "OTSCERT_AGENT_MODEL": "m",
        "OTSCERT_AGENT_FACTORY_FILE": "/f",
        "OTSCERT_AGENT_FACTORY_COMMAND": "fw_printenv -n otscert_factory",
    }
    with pytest.raises(ConfigError, match="are both set"):
        config.load(None, environment)


# ---- what it signs


def test_the_factory_key_says_hello_and_the_contribution_is_sealed(hq: FakeHq, box: MakeBox) -> None:
    one = box(factory=UNIT)
    one.agent.run(until=Step.STEADY)
    hello = calls(hq, "hello")[0]
    assert hq._key(hello.request).thumbprint() == UNIT.public.thumbprint()
    assert "factory" in hello.payload["report"]["used"]
    assert list(challenge_of(hq, hello)["contribution"]) == ["sealed"]
    assert next(iter(hq.book.devices.values())).unit == UNIT.public.thumbprint()
    assert one.store.state.identity is not None  # a key of this enrolment, not of the factory
    assert hq._key(calls(hq, "enroll")[0].request).thumbprint() != UNIT.public.thumbprint()
    assert hq.book.violations == []


def test_a_renewal_is_sealed_too(hq: FakeHq, box: MakeBox) -> None:
    one = box(factory=UNIT)
    one.agent.run(until=Step.STEADY)
    hq.book.commands = ["renew"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    hellos = calls(hq, "hello")
    assert "kid" in hellos[1].request.header
    assert [list(challenge_of(hq, hello)["contribution"]) for hello in hellos] == [["sealed"], ["sealed"]]
    assert len(hq.book.chains) == 2


@pytest.mark.usefixtures("hq")
def test_the_secret_is_nowhere_in_the_state(box: MakeBox) -> None:
    one = box(factory=UNIT)
    one.agent.run(until=Step.STEADY)
    kept = (one.disk.root / "state.json").read_bytes()
    seed = UNIT._derive(b"sign")
    for hidden in (SECRET, seed):
        assert b64.encode(hidden).encode() not in kept
        assert json.dumps(hidden.hex()).encode() not in kept
    assert one.store.state.hello is not None
    assert one.store.state.hello.seed == b""


def test_the_factory_secret_is_a_source_of_its_own_at_every_attempt(hq: FakeHq, box: MakeBox) -> None:
    hq.units[OTHER.public.thumbprint()] = OTHER.seal_public
    for name, factory in (("a", UNIT), ("b", OTHER), ("c", None)):
        box(name, factory=factory, kernel=FixedKernel()).agent.run(until=Step.CHALLENGE)
    assert len({call.payload["d0"] for call in calls(hq, "hello")}) == 3


def test_the_factory_key_goes_on_counting_over_a_reset(hq: FakeHq, box: MakeBox) -> None:
    one = box(factory=UNIT)
    one.agent.run(until=Step.STEADY)
    hq.book.commands = ["reset"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    assert [call.request.header["seq"] for call in calls(hq, "hello")] == [1, 2]
    assert one.lines("waiting") == []
    assert len(hq.book.devices) == 1


@pytest.mark.parametrize("hellos_before", [1, 40])
def test_a_unit_that_lost_its_state_is_told_where_its_count_stands(
    hq: FakeHq, box: MakeBox, hellos_before: int
) -> None:
    box("before", factory=UNIT).agent.run(until=Step.STEADY)
    hq.book.last_seq[UNIT.public.thumbprint()] = hellos_before
    one = box("after", factory=UNIT)
    one.agent.run(until=Step.STEADY)
    sent = [call.request.header["seq"] for call in calls(hq, "hello")[1:]]
    assert sent == [1, hellos_before + 1]
    assert len(hq.book.devices) == 1
    # The one thing amiss is the first hello's seq, of which HQ knows other bytes: that is how it is found out.
    assert hq.book.violations == ["seq 1 was used for two messages"]


def test_a_factory_key_without_numbers_is_told_to_a_person(hq: FakeHq, box: MakeBox) -> None:
    hq.book.keys[UNIT.public.thumbprint()] = UNIT.public.sign
    hq.book.last_seq[UNIT.public.thumbprint()] = 2**53 - 1
    one = box(factory=UNIT, time=HeldTime(3))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert "stamp it again" in json.dumps(one.lines("problem"))


# ---- what it refuses


def answered(hq: FakeHq, **contribution: str | None) -> Callable[[Call], bytes | None]:
    """HQ's own challenge, signed by HQ, with another contribution."""

    def fault(call: Call) -> bytes | None:
        if "hello" not in call.path:
            return None
        members = challenge_of(hq, call)
        members["contribution"] = {**members["contribution"], **contribution}
        message = messages.from_object(messages.Challenge, members)
        return hq.sign(message, hq._key(call.request).thumbprint(), call.request)

    return fault


OPEN = b64.encode((5).to_bytes(32, "big"))


@pytest.mark.parametrize(
    ("contribution", "why"),
    [
        ({"sealed": None, "open": OPEN}, "not sealed to this unit's factory key"),
        ({"open": OPEN}, "not sealed to this unit's factory key"),
        ({"sealed": None}, "not sealed to this unit's factory key"),
        ({"sealed": b64.encode(bytes(32))}, "small order"),
        ({"sealed": b64.encode(bytes(31))}, "32 bytes"),
        ({"sealed": "?"}, "sealed contribution"),
    ],
)
def test_a_stamped_box_takes_no_other_contribution(
    hq: FakeHq, box: MakeBox, contribution: dict[str, str | None], why: str
) -> None:
    hq.faults = [answered(hq, **contribution) for _ in range(9)]
    one = box(factory=UNIT, time=HeldTime(3))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert why in json.dumps(one.lines("problem"))
    assert calls(hq, "enroll") == []
    assert one.store.state.pending is None
    one.close()
    hq.faults = []
    box(factory=UNIT).agent.run(until=Step.STEADY)


def test_a_box_without_a_secret_refuses_a_sealed_contribution(hq: FakeHq, box: MakeBox) -> None:
    hq.faults = [answered(hq, open=None, sealed=b64.encode(UNIT.seal_public)) for _ in range(9)]
    one = box(time=HeldTime(3))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert "no factory secret to open a sealed one (factory_file" in json.dumps(one.lines("problem"))


def test_a_contribution_of_another_transaction_gives_another_key_which_hq_refuses(hq: FakeHq, box: MakeBox) -> None:
    hq.faults = [answered(hq, sealed=b64.encode(OTHER.seal_public))]
    one = box(factory=UNIT)
    one.agent.run(until=Step.STEADY)
    assert len(calls(hq, "enroll")) == 2  # the first was not D0 + r*G
    assert len(hq.book.devices) == 1


@pytest.mark.parametrize("kind", ["UNKNOWN_UNIT", "BLOCKED_UNIT", "LOW_ASSURANCE", "RETIRED"])
def test_what_only_people_can_change_is_said_in_hqs_words_and_what_is_served_stays(
    hq: FakeHq, box: MakeBox, kind: str
) -> None:
    message = messages.Problem(type=ProblemType[kind].value, title="No.", status=403, detail="Ask the maker.")
    one = box(time=HeldTime(5))
    one.agent.run(until=Step.STEADY)
    pair = one.disk.current_pair()
    hq.refusals = [lambda call: hq.sign(message, hq._key(call.request).thumbprint(), call.request)] * 50
    with pytest.raises(Enough):
        one.agent.run()
    assert one.lines("problem")[0]["why"] == "Ask the maker."
    assert one.agent.step is Step.STEADY
    assert one.disk.current_pair() == pair
    assert sum(one.time.waits) / len(calls(hq, "checkin")) > 600


def test_a_unit_that_hq_does_not_know_says_so(hq: FakeHq, box: MakeBox) -> None:
    one = box(factory=OTHER, time=HeldTime(2))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert one.agent.step is Step.HELLO
    assert one.time.waits[0] >= 1800
    hq.stamp(OTHER)
    one.time.most_waits = 50
    one.agent.run(until=Step.STEADY)
