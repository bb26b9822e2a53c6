"""Somebody between box and HQ: nothing of his is accepted, the box loses nothing, and gets its certificate without him.

He has HQ's stolen TLS key, so that all that protects the box is what HQ signs. The agent is the real one, over real
sockets to a real HQ with a real CA; only its waits are not waited.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trustme
from agent.tests.harness.box import HeldTime, TestBox, make_box
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from otscert.ops.demo_hq import MODEL, DemoHq, Ports
from otscert.ops.pebble import start_pebble
from otscert.pki.files import PkiFolder
from otscert_agent.state import BoxState, Store
from otscert_agent.steps import Step
from otscert_agent.wire import b64, jws, messages, point
from otscert_agent.wire.factory import Factory
from otscert_agent.wire.keys import Signer
from otscert_agent.wire.problems import ProblemType
from tests.harness.on_path import LOOPBACK, Attack, OnPath, Passed, Passing, on_path
from tests.harness.parts import require_part
from tests.harness.ports import free_port

pytestmark = pytest.mark.timeout(120)
MOST_STEPS = 400
TRIES = 3
HELLO, ENROLL, CHECKIN = messages.PATH_HELLO, messages.PATH_ENROLL, messages.PATH_CHECKIN
ORDERS = "/device/v1/orders/"
STEP_OF = {HELLO: Step.HELLO, ENROLL: Step.ENROL, ORDERS: Step.CERTIFICATE, CHECKIN: Step.STEADY}


@dataclass(frozen=True, slots=True, kw_only=True)
class World:
    """A real HQ behind somebody on the path, and the files that he has stolen from it."""

    hq: DemoHq
    between: OnPath

    @property
    def pki(self) -> PkiFolder:
        return PkiFolder(folder=self.hq.root_pem.parent)

    @property
    def roots_pem(self) -> bytes:
        return self.hq.root_pem.read_bytes()

    @property
    def url(self) -> str:
        return self.hq.public_url

    def devices(self) -> list[tuple[str, str]]:
        """Label and addresses of each box that HQ has admitted."""
        database = sqlite3.connect(f"file:{self.hq.folder / 'hq' / 'hq.db'}?mode=ro", uri=True)
        try:
            return database.execute("SELECT label, addresses FROM device ORDER BY label").fetchall()
        finally:
            database.close()


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    ports = Ports(device=free_port(), dns=free_port())
    listener = socket.create_server((LOOPBACK, 0))
    hq = DemoHq(folder, ports, died=lambda _status: None)
    hq.public_url = f"https://{LOOPBACK}:{listener.getsockname()[1]}"
    pebble = start_pebble(
        binary=require_part("pebble").path, folder=folder / "pebble", dns_server=f"{LOOPBACK}:{ports.dns}"
    )
    with pebble as ca:
        try:
            hq.start(ca)
            stolen = folder / "hq" / "pki" / "tls.pem"
            with on_path(listener, hq_port=ports.device, hq_roots=hq.root_pem, pair=stolen) as between:
                yield World(hq=hq, between=between)
        finally:
            hq.stop()


@pytest.fixture
def box(world: World, tmp_path: Path) -> Iterator[Callable[..., TestBox]]:
    made: list[TestBox] = []

    def make(name: str = "box", factory: Factory | None = None) -> TestBox:
        one = make_box(
            world,  # type: ignore[arg-type]  # of an HQ it takes the URL and the pins
            tmp_path / name,
            model=MODEL,
            addresses=["127.0.0.1"],
            time=HeldTime(most_waits=5000),
            factory=factory,
        )
        made.append(one)
        return one

    yield make
    world.between.attack = None
    for one in made:
        one.close()


# ---- what a box may not lose


def essence(state: BoxState) -> dict[str, Any]:
    """All of a box's memory but the counters and pools that every honest try moves on."""
    members = dataclasses.asdict(state)
    for counter in ("attempt", "pool"):
        members.pop(counter)
    for key in ("hello", "identity"):
        members[key] = members[key] and members[key]["seed"]
    members["hq"].pop("deaf_s")
    return members


def durable(one: TestBox) -> dict[str, Any]:
    return essence(Store(one.disk).state)


def bring_to(one: TestBox, path: str) -> None:
    """Honestly, to the step in which the box says what goes to `path`."""
    drive(one, lambda: one.agent.step is STEP_OF[path])
    if path == CHECKIN:
        one.agent.advance()  # a check-in that was answered, so that there is one to replay


def drive(one: TestBox, until: Callable[[], bool]) -> None:
    for _ in range(MOST_STEPS):
        if until():
            return
        one.agent.advance()
    raise AssertionError(f"it stays in {one.agent.step}: {one.said.getvalue()[-2000:]}")


def suffer(world: World, one: TestBox, path: str, attack: Attack) -> None:
    """Let the box meet the attack `TRIES` times at `path`; then he goes away, and all must be as if he had not been."""
    bring_to(one, path)
    one.agent.close()  # the next call opens a connection, through him
    world.between.met.clear()
    seen: list[dict[str, Any]] = []

    def meet(passing: Passing) -> Passed:
        if not passing.path.startswith(path):
            return passing.forward(passing.body)
        seen.append(durable(one))  # the box waits for the answer: this is what it has on its disk
        return attack(passing)

    world.between.attack = meet
    drive(one, lambda: len(seen) > TRIES)
    assert one.agent.step is STEP_OF[path]
    assert [each for each in seen if each != seen[0]] == []
    assert durable(one) == seen[0]
    world.between.attack = None
    recovers(world, one)


def recovers(world: World, one: TestBox) -> None:
    """The box gets a certificate for the name that HQ admitted it under, and checks in."""
    one.agent.close()
    drive(one, lambda: one.agent.step is Step.STEADY and one.store.state.epoch_token is not None)
    one.agent.advance()
    assert one.agent.step is Step.STEADY, one.said.getvalue()[-2000:]
    assert one.store.state.sent is None
    pair = one.disk.current_pair()
    assert pair is not None
    leaf = x509.load_pem_x509_certificates((pair / "chain.pem").read_bytes())[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == one.store.state.names
    label = one.store.state.names[0].split(".")[0]
    assert [addresses for found, addresses in world.devices() if found == label] == ["127.0.0.1"]


# ---- (a) a root of his own


def test_a_foreign_root_gets_no_request_at_all(world: World, box: Callable[..., TestBox], tmp_path: Path) -> None:
    ca, stolen, pair = trustme.CA(), world.between.pair, tmp_path / "his.pem"
    ca.issue_cert(LOOPBACK).private_key_and_cert_chain_pem.write_to_path(pair)
    one = box()
    world.between.met.clear()
    world.between.pair, world.between.attack = pair, lambda passing: passing.forward(passing.body)
    try:
        for _ in range(10):
            one.agent.advance()
    finally:
        world.between.pair, world.between.attack = stolen, None
    assert one.agent.step is Step.NETWORK
    assert world.between.met == []
    assert "this is not the maker's HQ" in one.lines("problem")[0]["why"]
    assert one.store.state.hq.floor == 0
    recovers(world, one)


# ---- (b) HQ's stolen TLS key, and answers of yesterday


@pytest.mark.parametrize("path", [HELLO, ENROLL, ORDERS])
def test_answers_of_another_time_are_refused(world: World, box: Callable[..., TestBox], path: str) -> None:
    """The same box's own answer to the try before; HQ gets the request, the box an old answer."""
    kept: list[Passed] = []

    def replay(passing: Passing) -> Passed:
        kept.append(passing.forward(passing.body))
        return kept[-2] if len(kept) > 1 else Passed(status=502, kind="text/html", body=b"later")

    suffer(world, box(), path, replay)
    assert len(kept) > TRIES


def test_the_answer_to_an_earlier_check_in_is_refused(world: World, box: Callable[..., TestBox]) -> None:
    one, kept = box(), list[Passed]()
    drive(one, lambda: one.agent.step is Step.STEADY)
    one.agent.close()

    def note(passing: Passing) -> Passed:
        kept.append(passing.forward(passing.body))
        return kept[-1]

    world.between.attack = note
    one.agent.advance()
    suffer(world, one, CHECKIN, lambda _passing: kept[0])


# ---- (c) changes on the way


def changed(
    passed_body: bytes, *, payload: dict[str, Any] | None = None, header: dict[str, Any] | None = None
) -> bytes:
    """The message with other members, its signature as it was."""
    envelope = json.loads(passed_body)
    for part, members in (("payload", payload), ("protected", header)):
        if members is not None:
            present = json.loads(b64.decode(envelope[part])) if envelope[part] else {}
            envelope[part] = b64.encode(json.dumps({**present, **members}).encode())
    return json.dumps(envelope).encode()


def resigned(body: bytes, pki: PkiFolder, payload: dict[str, Any]) -> bytes:
    """The changed answer, signed anew by the key that he has: that of HQ's TLS certificate."""
    stolen, answer = pki.tls(), jws.parse(body)
    x5c = [base64.b64encode(stolen.certificate.public_bytes(Encoding.DER)).decode()]
    members = {name: value for name, value in answer.header.items() if name != "alg"}
    present = json.loads(answer.payload)
    return jws.sign(Signer(stolen.key), {**members, "x5c": x5c}, json.dumps({**present, **payload}).encode())


OTHER_SCALAR = b64.encode(point.encode_scalar(7))
OTHER_POINT = b64.encode(point.public_point(7))
OTHER_NAMES = ["his.boxes.demo.example", "*.his.boxes.demo.example"]
ANSWERS: list[tuple[str, str, dict[str, Any]]] = [
    ("r", HELLO, {"payload": {"contribution": {"open": OTHER_SCALAR}}}),
    ("txid of a challenge", HELLO, {"payload": {"txid": b64.encode(bytes(16))}}),
    ("names of a challenge", HELLO, {"payload": {"names": OTHER_NAMES}}),
    ("time", HELLO, {"header": {"time": 2_000_000_000}}),
    ("the box that is meant", HELLO, {"header": {"aud": ""}}),
    ("names that are granted", ENROLL, {"payload": {"names": OTHER_NAMES}}),
    ("the order's URL", ENROLL, {"payload": {"order": "https://his.example/device/v1/orders/x"}}),
    ("the epoch token", ENROLL, {"payload": {"epoch_token": b64.encode(bytes(32))}}),
    (
        "a refusal for good",
        ENROLL,
        {"header": {"typ": "otscert-v1-refused"}, "payload": {"final": True, "reason": "x"}},
    ),
    ("an order that failed", ORDERS, {"payload": {"status": "failed", "why": "his"}}),
    ("time of an order", ORDERS, {"header": {"time": 1}}),
    ("a command to reset", CHECKIN, {"payload": {"cmd_seq": 99, "commands": [{"name": "reset"}]}}),
    ("a check-in in ten years", CHECKIN, {"payload": {"next_checkin_s": 315_360_000}}),
    (
        "the problem start-over",
        CHECKIN,
        {
            "header": {"typ": "otscert-v1-problem"},
            "payload": {"type": ProblemType.START_OVER.value, "title": "his", "status": 409},
        },
    ),
]


@pytest.mark.parametrize("signed", ["as it was", "by the stolen TLS key"])
@pytest.mark.parametrize(("path", "change"), [each[1:] for each in ANSWERS], ids=[each[0] for each in ANSWERS])
def test_a_changed_answer_is_refused(
    world: World, box: Callable[..., TestBox], path: str, change: dict[str, Any], signed: str
) -> None:
    def flip(passing: Passing) -> Passed:
        passed = passing.forward(passing.body)
        body = changed(passed.body, **change)
        if signed != "as it was":
            body = resigned(changed(passed.body, header=change.get("header")), world.pki, change.get("payload", {}))
        return dataclasses.replace(passed, body=body)

    suffer(world, box(), path, flip)


REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("D0", HELLO, {"payload": {"d0": OTHER_POINT}}),
    ("the model", HELLO, {"payload": {"model": "another"}}),
    ("seq", HELLO, {"header": {"seq": 2**53 - 1}}),
    ("txid", ENROLL, {"payload": {"txid": b64.encode(bytes(16))}}),
    ("addresses", ENROLL, {"payload": {"addresses": ["127.0.0.66"]}}),
    ("the binding", ENROLL, {"payload": {"binding": None}}),
    ("seq of a poll", ORDERS, {"header": {"seq": 2**53 - 1}}),
    ("addresses of a check-in", CHECKIN, {"payload": {"addresses": ["127.0.0.66"]}}),
    ("what is served", CHECKIN, {"payload": {"served_sha256": "00" * 32}}),
]


@pytest.mark.parametrize(("path", "change"), [each[1:] for each in REQUESTS], ids=[each[0] for each in REQUESTS])
def test_a_changed_request_is_not_acted_on_and_hqs_refusal_of_it_is_not_the_boxs(
    world: World, box: Callable[..., TestBox], path: str, change: dict[str, Any]
) -> None:
    suffer(world, box(), path, lambda passing: passing.forward(changed(passing.body, **change)))


@pytest.mark.parametrize("path", [HELLO, ENROLL, ORDERS, CHECKIN])
def test_a_broken_signature_gets_him_no_refusal_that_the_box_believes(
    world: World, box: Callable[..., TestBox], path: str
) -> None:
    """H does not cover the signature, so HQ's refusal names the very message that the box has sent."""
    refusals: list[jws.Jws] = []

    def break_it(passing: Passing) -> Passed:
        envelope = json.loads(passing.body)
        signature = bytearray(b64.decode(envelope["signature"]))
        signature[5] ^= 1
        envelope["signature"] = b64.encode(bytes(signature))
        passed = passing.forward(json.dumps(envelope).encode())
        refusals.append(jws.parse(passed.body))
        assert refusals[-1].header["req"] == b64.encode(jws.parse(passing.body).digest())
        return passed

    suffer(world, box(), path, break_it)
    assert {json.loads(each.payload)["type"] for each in refusals} == {ProblemType.BAD_SIGNATURE.value}


# ---- what is sealed to a box's factory key


@pytest.fixture(scope="module")
def units(world: World) -> Iterator[Factory]:
    """Units that were stamped and imported; each test takes the next one."""
    out, config = world.hq.folder / "batch", str(world.hq.folder / "otscert.toml")
    for arguments in (
        ["stamp", "--model", MODEL, "--count", "8", "--out", str(out)],
        ["import", str(out / "manifest.jsonl")],
    ):
        command = [sys.executable, "-m", "otscert", "factory", *arguments, "--config", config]
        ended = subprocess.run(command, check=False, capture_output=True, text=True)
        assert ended.returncode == 0, ended.stderr
    return iter([Factory.from_text(path.read_text()) for path in sorted(out.glob("units/*/factory.secret"))])


@pytest.mark.parametrize("signed", ["as it was", "by the stolen TLS key"])
@pytest.mark.parametrize(
    "contribution",
    [{"open": OTHER_SCALAR}, {"sealed": b64.encode(bytes(31) + b"\x09")}, {"sealed": b64.encode(bytes(32))}],
    ids=["an open r instead", "another ephemeral key", "a key that gives zero"],
)
def test_a_changed_sealed_contribution_is_refused(
    world: World, box: Callable[..., TestBox], units: Iterator[Factory], contribution: dict[str, str], signed: str
) -> None:
    said: list[dict[str, Any]] = []

    def flip(passing: Passing) -> Passed:
        passed = passing.forward(passing.body)
        said.append(json.loads(jws.parse(passed.body).payload)["contribution"])
        changes = {"contribution": contribution}
        anew = signed != "as it was"
        body = resigned(passed.body, world.pki, changes) if anew else changed(passed.body, payload=changes)
        return dataclasses.replace(passed, body=body)

    suffer(world, box(factory=next(units)), HELLO, flip)
    assert all(each.get("sealed") and not each.get("open") for each in said)


# ---- (d) two boxes


@pytest.mark.parametrize("path", [HELLO, ENROLL, ORDERS, CHECKIN])
def test_answers_of_two_boxes_are_not_taken_for_each_others(
    world: World, box: Callable[..., TestBox], path: str
) -> None:
    boxes = [box("one"), box("two")]
    for one in boxes:
        bring_to(one, path)
        one.agent.close()
    latest: dict[str, Passed] = {}

    def swap(passing: Passing) -> Passed:
        header = jws.parse(passing.body).header
        sender = json.dumps(header.get("jwk", header.get("kid")), sort_keys=True)
        latest[sender] = passing.forward(passing.body)
        others = [passed for name, passed in latest.items() if name != sender]
        return others[0] if others else Passed(status=502, kind="text/html", body=b"")

    world.between.attack = swap
    before: list[dict[str, Any]] = []
    for _ in range(TRIES):
        for one in boxes:
            one.agent.advance()
        before = before or [durable(one) for one in boxes]
    assert [one.agent.step for one in boxes] == [STEP_OF[path]] * 2
    assert [durable(one) for one in boxes] == before
    assert len(latest) == 2
    assert any("for another box" in line["why"] for line in boxes[1].lines("problem"))
    world.between.attack = None
    for one in boxes:
        recovers(world, one)
    assert boxes[0].store.state.names != boxes[1].store.state.names


# ---- (e) without any signature


UNSIGNED = {
    "a wait of years": {"type": ProblemType.START_OVER.value, "title": "his", "status": 409, "retry_after_s": 10**12},
    "a wait below zero": {"type": ProblemType.BLOCKED_UNIT.value, "status": 403, "retry_after_s": -1},
    "a wait that is no number": {"type": ProblemType.UNKNOWN_KEY.value, "status": 404, "retry_after_s": "1e9"},
}


@pytest.mark.parametrize("path", [HELLO, ENROLL, ORDERS, CHECKIN])
@pytest.mark.parametrize("problem", UNSIGNED.values(), ids=UNSIGNED)
def test_an_unsigned_problem_makes_the_box_wait_an_hour_at_most_and_do_nothing_else(
    world: World, box: Callable[..., TestBox], path: str, problem: dict[str, Any]
) -> None:
    one = box()
    bring_to(one, path)
    said = len(one.lines("waiting"))
    body = json.dumps(problem).encode()
    answer = Passed(status=int(problem["status"]), kind="application/problem+json", body=body)
    suffer(world, one, path, lambda _passing: answer)
    waits = [line["retry_s"] for line in one.lines("waiting")[said:] if "no signed answer" in line["why"]]
    assert waits
    assert max(waits) <= 3600 * 1.25


@pytest.mark.parametrize(
    "answer",
    [
        Passed(status=200, kind="text/html", body=b"<html>Welcome to the hotel</html>"),
        Passed(status=302, kind="application/jose+json", body=b""),
        Passed(status=200, kind="application/jose+json", body=b"{" * 60_000),
        Passed(status=200, kind="application/jose+json", body=b"x" * 100_000),
        Passed(status=200, kind="application/problem+json", body=b"[" * 60_000),
    ],
    ids=["a captive portal", "a redirection", "deep JSON", "a long body", "a deep problem"],
)
def test_whatever_else_he_says_is_no_answer(world: World, box: Callable[..., TestBox], answer: Passed) -> None:
    suffer(world, box(), CHECKIN, lambda _passing: answer)
