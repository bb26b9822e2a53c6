"""Whole first boots against an HQ that loses answers, lies, refuses, or is somebody else."""

from __future__ import annotations

import base64
import datetime as dt
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from agent.tests.harness import certificates as pki
from agent.tests.harness.box import Enough, HeldTime, TestBox
from agent.tests.harness.hq import Call, FakeHq
from cryptography.hazmat.primitives.serialization import Encoding

from otscert_agent import app
from otscert_agent.disk import FileOps
from otscert_agent.errors import ConfigError
from otscert_agent.state import HqMemory
from otscert_agent.steps import Step
from otscert_agent.wire import b64, jws, messages
from otscert_agent.wire.problems import ProblemType

MakeBox = Callable[..., TestBox]
PATHS = ["hello", "enroll", "orders", "checkin"]


def calls(hq: FakeHq, path: str) -> list[Call]:
    return [call for call in hq.book.calls if path in call.path]


def one_check_in(box: TestBox) -> None:
    box.agent.run(until=Step.STEADY)
    count = box.store.state.attempt
    while box.store.state.attempt == count or box.store.state.sent is not None:
        box.agent.advance()


def problem(kind: ProblemType | str, on: str, hq: FakeHq, **members: Any) -> Callable[[Call], bytes | None]:
    """HQ signs this problem as its answer to the next message on `on`."""
    value = kind.value if isinstance(kind, ProblemType) else kind
    message = messages.Problem(type=value, title="No.", status=400, **members)

    def fault(call: Call) -> bytes | None:
        if on not in call.path:
            return None
        header = call.request.header
        key = hq._key(call.request)
        assert "typ" in header
        return hq.sign(message, key.thumbprint(), call.request)

    return fault


def resigned(hq: FakeHq, **header: Any) -> Callable[[Call], bytes]:
    """The true answer with other header members, signed again by HQ's own key."""

    def fault(call: Call) -> bytes:
        thumbprint = hq._key(call.request).thumbprint()
        stored = jws.parse(hq.book.seen[thumbprint, call.request.header["seq"]][1])
        payload = json.loads(stored.payload)
        message = messages.from_object(messages.Challenge, payload)
        return hq.sign(message, header.pop("aud", thumbprint), call.request, **header)

    return fault


def test_a_first_boot_ends_with_a_name_a_pair_and_an_empty_desk(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    state = one.store.state
    assert state.pending is None
    assert state.hello is None
    assert state.device_id is not None
    assert state.names == [next(iter(hq.book.devices.values())).name, f"*.{state.names[0]}"]
    assert [call.path.rsplit("/", 1)[0][-8:] for call in hq.book.calls] == ["evice/v1", "evice/v1", "1/orders"]
    assert hq.book.violations == []
    steps = [line["step"] for line in one.lines("step")]
    assert steps == [step.value for step in Step if step is not Step.DAMAGED]


def test_the_first_boot_is_two_round_trips_and_one_poll_on_one_connection(hq: FakeHq, box: MakeBox) -> None:
    accepted: list[object] = []
    server = hq._server
    assert server is not None
    original = server.get_request
    server.get_request = lambda: (accepted.append(1), original())[1]  # type: ignore[method-assign,func-returns-value]  # counts
    box().agent.run(until=Step.STEADY)
    assert len(hq.book.calls) == 3
    assert len(accepted) == 1


@pytest.mark.parametrize("lost", PATHS)
@pytest.mark.parametrize("times", [1, 3])
def test_a_lost_answer_costs_nothing(hq: FakeHq, box: MakeBox, lost: str, times: int) -> None:
    hq.faults = [lambda call: b"" if lost in call.path else None] * times
    one = box()
    one_check_in(one)
    assert hq.book.violations == []
    assert len({device.name for device in hq.book.devices.values()}) == 1
    assert next(iter(hq.book.devices.values())).check_ins == 1
    assert one.store.state.epoch_token == next(iter(hq.book.devices.values())).token


def test_a_check_in_whose_answer_was_lost_is_repeated_byte_by_byte_also_after_a_power_cut(
    hq: FakeHq, box: MakeBox
) -> None:
    one = box(time=HeldTime(most_waits=3))
    one.agent.run(until=Step.STEADY)
    hq.faults = [lambda call: b"" if "checkin" in call.path else None] * 50
    with pytest.raises(Enough):
        one.agent.run()
    one.close()
    hq.faults = []
    again = box()
    one_check_in(again)
    bodies = {call.body for call in calls(hq, "checkin")[:-1]}
    assert len(calls(hq, "checkin")) > 3
    assert len(bodies) == 1
    assert hq.book.violations == []


def test_a_seq_never_falls_over_power_cuts(hq: FakeHq, box: MakeBox) -> None:
    for _ in range(4):
        one = box()
        one_check_in(one)
        one.close()
    by_key: dict[str, list[int]] = {}
    for call in hq.book.calls:
        by_key.setdefault(hq._key(call.request).thumbprint(), []).append(call.request.header["seq"])
    assert all(seqs == sorted(set(seqs)) for seqs in by_key.values())
    assert all(seqs[0] == 1 for seqs in by_key.values())


def test_hq_may_remember_more_of_the_seq_than_the_box(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    for thumbprint in hq.book.last_seq:
        hq.book.last_seq[thumbprint] = 1000
    while next(iter(hq.book.devices.values())).check_ins == 0:
        one.agent.advance()
    assert calls(hq, "checkin")[-1].request.header["seq"] == 1001


@pytest.mark.parametrize("last_seq", [2**53 - 2, 2**53 - 1, 2**60])
def test_a_hello_key_whose_numbers_are_used_up_is_replaced(hq: FakeHq, box: MakeBox, last_seq: int) -> None:
    hq.refusals = [problem(ProblemType.STALE_SEQ, "hello", hq, last_seq=last_seq)]
    # With one number left that one is used; the answer to it is lost for good, so that another is needed.
    hq.faults = [lambda call: b"" if call.request.header["seq"] == 2**53 - 1 else None] * 2
    one = box()
    one.agent.run(until=Step.STEADY)
    hellos = calls(hq, "hello")
    assert max(call.request.header["seq"] for call in hq.book.calls) < 2**53
    assert hellos[-1].request.header["seq"] == 1
    assert hellos[0].request.header["jwk"] != hellos[-1].request.header["jwk"]
    assert hq.book.violations == []


def test_an_identity_whose_numbers_are_used_up_is_told_to_a_person_and_asks_seldom(hq: FakeHq, box: MakeBox) -> None:
    one = box(time=HeldTime(most_waits=20))
    one.agent.run(until=Step.STEADY)
    identity, began = one.store.state.identity, one.time.now()
    hq.refusals = [problem(ProblemType.STALE_SEQ, "checkin", hq, last_seq=2**53 - 1) for _ in range(50)]
    with pytest.raises(Enough):
        one.agent.run()
    assert "operator" in json.dumps(one.lines("problem"))
    assert max(call.request.header["seq"] for call in hq.book.calls) < 2**53
    assert one.store.state.identity == identity
    asked = len(calls(hq, "checkin"))
    assert asked >= 3  # HQ may have been put right
    assert (one.time.now() - began) / asked > 600


def test_an_identity_that_spent_its_last_number_sends_no_more(hq: FakeHq, box: MakeBox) -> None:
    one = box(time=HeldTime(most_waits=20))
    one.agent.run(until=Step.STEADY)
    identity = one.store.state.identity
    assert identity is not None
    one.store.raise_seq("identity", 2**53 - 1)
    sent = len(hq.book.calls)
    with pytest.raises(Enough):
        one.agent.run()
    assert len(hq.book.calls) == sent
    assert "used up" in json.dumps(one.lines("problem"))


def test_a_pending_box_shows_the_pairing_code_and_asks_again_with_the_same_txid(hq: FakeHq, box: MakeBox) -> None:
    hq.pendings = 3
    one = box()
    one.agent.run(until=Step.STEADY)
    sent = calls(hq, "enroll")
    assert len(sent) == 4
    assert len({call.payload["txid"] for call in sent}) == 1
    assert len({call.payload["csr"] for call in sent}) == 1
    assert [call.request.header["seq"] for call in sent] == [1, 2, 3, 4]
    assert one.lines("waiting")[0]["pairing_code"] == "ABCDEFGH"
    assert one.time.waits[:3] == [1.0, 1.0, 1.0]


def test_a_long_poll_that_hq_does_not_hold_does_not_become_a_storm(hq: FakeHq, box: MakeBox) -> None:
    hq.waits = 5
    one = box()
    one.agent.run(until=Step.STEADY)
    assert len(calls(hq, "orders")) == 6
    assert len([wait for wait in one.time.waits if wait > 0]) == 5


def test_the_token_is_proved_and_never_sent(hq: FakeHq, box: MakeBox) -> None:
    hq.token = "fleet-secret"
    box(token="fleet-secret").agent.run(until=Step.STEADY)
    assert not any(b"fleet-secret" in call.body + call.request.payload for call in hq.book.calls)


def test_a_token_that_is_asked_for_and_not_configured_is_said_clearly(hq: FakeHq, box: MakeBox) -> None:
    hq.token = "fleet-secret"
    with pytest.raises(ConfigError, match="set token_file"):
        box(patient=False).agent.run(until=Step.STEADY)
    waiting = box("patient", time=HeldTime(most_waits=0))
    with pytest.raises(Enough):
        waiting.agent.run(until=Step.STEADY)
    assert "set token_file" in waiting.lines("problem")[0]["why"]
    assert waiting.time.waits[0] >= 1800


@pytest.mark.parametrize(
    ("kind", "on", "hellos"),
    [
        (ProblemType.USED_D0, "hello", 2),
        (ProblemType.UNKNOWN_TXID, "enroll", 2),
        (ProblemType.TXID_CONFLICT, "enroll", 2),
        (ProblemType.BAD_CONTRIBUTION, "enroll", 2),
        (ProblemType.NOT_FOUND, "orders", 2),
        (ProblemType.UNAVAILABLE, "enroll", 1),
        (ProblemType.UNAVAILABLE, "orders", 1),
        (ProblemType.OVER_QUOTA, "hello", 2),
        (ProblemType.START_OVER, "orders", 2),
        (ProblemType.UNKNOWN_KEY, "enroll", 2),
        ("urn:otscert:v2:new", "enroll", 1),
    ],
)
def test_after_each_problem_the_box_comes_through(
    hq: FakeHq, box: MakeBox, kind: ProblemType | str, on: str, hellos: int
) -> None:
    hq.refusals = [problem(kind, on, hq)]
    one = box()
    one.agent.run(until=Step.STEADY)
    assert hq.refusals == []
    assert len(calls(hq, "hello")) == hellos
    assert hq.book.violations == []
    assert one.disk.current_pair() is not None


@pytest.mark.parametrize(
    ("message", "verdict"),
    [
        (messages.Refused(reason="no", final=True), "not admitted"),
        (messages.Refused(reason="not today", final=False), "not admitted"),
        (messages.Problem(type=ProblemType.BLOCKED_UNIT.value, title="No.", status=403), "not admitted"),
        (messages.Problem(type=ProblemType.UNAVAILABLE.value, title="No.", status=503), None),
    ],
)
def test_what_hq_has_decided_about_a_box_is_noted_for_its_pages(
    hq: FakeHq, box: MakeBox, message: Any, verdict: str | None
) -> None:
    hq.refusals = [
        lambda call: (
            hq.sign(message, hq._key(call.request).thumbprint(), call.request) if "enroll" in call.path else None
        )
    ] * 2
    one = box(time=HeldTime(0))
    with pytest.raises(Enough):
        one.agent.run(until=Step.STEADY)
    assert app.status(one.settings).get("verdict") == verdict


def test_a_box_that_was_taken_out_of_service_notes_it_and_forgets_it_when_it_is_back(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    hq.refusals = [problem(ProblemType.RETIRED, "checkin", hq)]
    one.agent.advance()
    assert app.status(one.settings)["verdict"] == "out of service"
    one_check_in(one)
    assert "verdict" not in app.status(one.settings)


def test_hqs_wish_to_be_left_alone_is_granted(hq: FakeHq, box: MakeBox) -> None:
    hq.refusals = [problem(ProblemType.UNAVAILABLE, "enroll", hq, retry_after_s=77)]
    one = box()
    one.agent.run(until=Step.STEADY)
    assert 77 <= one.time.waits[0] <= 100


def test_an_unsigned_problem_is_believed_for_a_wait_and_no_more(hq: FakeHq, box: MakeBox) -> None:
    unsigned = json.dumps({"type": ProblemType.START_OVER.value, "retry_after_s": 10**9}).encode()
    one = box()
    one.agent.run(until=Step.STEADY)
    name = one.store.state.names[0]
    hq.faults = [lambda call: unsigned if "checkin" in call.path else None]
    one_check_in(one)
    assert one.store.state.names[0] == name
    assert 3600 <= max(one.time.waits) <= 4600


def test_a_box_that_is_told_to_start_over_becomes_a_new_one(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    before = one.store.state
    hq.book.commands = ["reset"]
    one.agent.advance()
    assert one.agent.step is Step.HOLD
    assert one.disk.current_pair() is None
    assert one.store.state.identity is None
    one.agent.run(until=Step.STEADY)
    assert one.store.state.names != before.names
    assert one.store.state.identity != before.identity
    assert one.store.state.attempt > before.attempt


def test_a_renewal_uses_another_key_under_the_same_name(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    before, first = one.store.state, one.disk.current_pair()
    hq.book.commands = ["renew"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    second = one.disk.current_pair()
    assert first is not None
    assert second is not None
    assert first != second
    assert one.store.state.names == before.names
    assert one.store.state.identity is not None
    assert before.identity is not None
    assert one.store.state.identity.seed == before.identity.seed
    renewal = calls(hq, "hello")[1]
    assert "kid" in renewal.request.header
    assert renewal.payload["epoch_token"]
    assert not first.exists()  # served is what was issued (nothing to look at here), so the old pair is gone


def renewing(box: TestBox, hq: FakeHq) -> None:
    box.agent.run(until=Step.STEADY)
    hq.book.commands = ["renew"]
    box.agent.advance()


@pytest.mark.parametrize(
    ("on", "message"),
    [
        ("enroll", messages.Refused(reason="enough certificates", final=False, retry_after_s=86400)),
        ("enroll", messages.Refused(reason="retired", final=True)),
        ("orders", messages.OrderState(status="failed", why="the CA refuses")),
    ],
)
def test_a_renewal_that_comes_to_nothing_leaves_a_box_that_serves_and_checks_in(
    hq: FakeHq, box: MakeBox, on: str, message: Any
) -> None:
    one = box()
    renewing(one, hq)
    pair = one.disk.current_pair()
    hq.refusals = [
        lambda call: hq.sign(message, hq._key(call.request).thumbprint(), call.request) if on in call.path else None
    ]
    one.agent.run(until=Step.STEADY)
    assert one.disk.current_pair() == pair
    assert one.store.state.pending is None
    assert max(one.time.waits) < 7200
    hq.book.commands = ["renew"]
    one.agent.advance()
    one.agent.run(until=Step.STEADY)
    assert one.disk.current_pair() != pair


@pytest.mark.parametrize("with_pair", [True, False])
def test_a_box_whose_token_is_stale_checks_in_before_it_asks_again(
    hq: FakeHq, box: MakeBox, *, with_pair: bool
) -> None:
    one = box()
    renewing(one, hq)
    if not with_pair:
        one.disk.drop_pairs(keep_current=False)
    hq.refusals = [problem(ProblemType.STALE_EPOCH, "hello", hq)]
    count = len(hq.book.calls)
    one.agent.run(until=Step.STEADY)
    one.agent.advance()
    assert [call.path for call in hq.book.calls[count:]] == [messages.PATH_HELLO, messages.PATH_CHECKIN]
    assert one.agent.step is (Step.STEADY if with_pair else Step.ENTROPY)


def test_hold_stops_renewals_until_hq_says_otherwise(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    steps = []
    for commands in (["hold", "renew"], ["report"], ["rekey"]):
        hq.book.commands = commands
        one.agent.advance()
        steps.append((one.agent.step, one.store.state.held))
    assert steps == [(Step.STEADY, True), (Step.STEADY, True), (Step.ENTROPY, False)]


def test_a_command_of_a_later_protocol_is_said_and_does_nothing(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    hq.book.commands = ["dance"]
    one.agent.advance()
    assert one.agent.step is Step.STEADY
    assert "unsupported" in one.lines("command")[0]["note"]


def test_commands_whose_number_does_not_rise_are_old(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    one.store.save(cmd_seq=5)
    hq.book.commands = ["reset"]
    one.agent.advance()
    assert one.agent.step is Step.STEADY
    assert one.disk.current_pair() is not None


# ---- somebody else, or HQ with a wrong answer: nothing is accepted, and when it is over the box goes on


def never_gets_past(box: TestBox, step: Step, why: str) -> None:
    with pytest.raises(Enough):
        box.agent.run(until=Step.STEADY)
    assert box.agent.step is step
    assert why in json.dumps(box.lines("problem"))
    assert box.store.state.pending is None


def test_a_server_under_a_foreign_root_is_refused_before_anything_is_sent(hq: FakeHq, box: MakeBox) -> None:
    one = box(roots=pki.make_root().pem, time=HeldTime(3))
    never_gets_past(one, Step.NETWORK, "not the maker's HQ")
    assert hq.book.calls == []


def test_a_server_of_another_host_name_is_refused(tmp_path: Path, box: MakeBox) -> None:
    hq = FakeHq()
    hq.tls = pki.tls_leaf(hq.root, host="hq.example.net")
    hq.start(tmp_path)
    try:
        never_gets_past(box(hq=hq, time=HeldTime(3)), Step.NETWORK, "not the maker's HQ")
    finally:
        hq.stop()
    assert hq.book.calls == []


@pytest.mark.parametrize(
    ("not_before", "not_after"),
    [(pki.NOW + 3000 * pki.DAY, pki.NOW + 4000 * pki.DAY), (pki.NOW - 90 * pki.DAY, pki.NOW - 80 * pki.DAY)],
    ids=["the box believes it is 2018", "the box believes it is 2030"],
)
def test_dates_of_hqs_tls_certificate_are_not_compared_with_the_clock(
    tmp_path: Path, box: MakeBox, not_before: dt.datetime, not_after: dt.datetime
) -> None:
    hq = FakeHq()
    hq.tls = pki.make_leaf(hq.root, usages=[pki.SERVER_AUTH], not_before=not_before, not_after=not_after)
    hq.answer = pki.answer_leaf(hq.root, not_before=not_before, not_after=not_after)
    hq.time = int((not_before + pki.DAY).timestamp())
    hq.start(tmp_path)
    try:
        one = box(hq=hq)
        one.agent.run(until=Step.STEADY)
    finally:
        hq.stop()
    assert one.store.state.hq.floor == int(not_before.timestamp())


def test_a_tls_certificate_of_an_older_generation_is_refused(tmp_path: Path, box: MakeBox) -> None:
    hq = FakeHq()
    hq.start(tmp_path)
    try:
        one = box(hq=hq, time=HeldTime(3))
        one.store.learn(HqMemory(tls_generation=2))
        never_gets_past(one, Step.NETWORK, "generation 1, 2 was seen")
    finally:
        hq.stop()


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ({"aud": "somebody"}, "another box"),
        ({"req": b64.encode(bytes(32))}, "another request"),
        ({"time": int((pki.NOW - 2 * pki.DAY).timestamp())}, "outside the validity"),
        ({"time": int((pki.NOW + 400 * pki.DAY).timestamp())}, "outside the validity"),
        ({"time": "2026"}, "no time"),
        ({"x5c": []}, "x5c"),
        ({"x5c": ["?"]}, "x5c"),
        ({"typ": "otscert-v1-granted"}, "no answer to this request"),
        ({"crit": ["b64"]}, "crit"),
    ],
)
def test_an_answer_with_a_wrong_header_is_refused(hq: FakeHq, box: MakeBox, header: dict[str, Any], why: str) -> None:
    hq.faults = [resigned(hq, **dict(header)) for _ in range(20)]
    one = box(time=HeldTime(3))
    never_gets_past(one, Step.HELLO, why)
    hq.faults = []
    one.time.most_waits = 100
    one.agent.run(until=Step.STEADY)


@pytest.mark.parametrize("what", ["duplicate extension", "garbled extension", "unknown curve"])
def test_a_chain_that_cannot_be_read_does_not_end_the_box(hq: FakeHq, box: MakeBox, what: str) -> None:
    der = pki.unreadable(pki.answer_leaf(pki.make_root()))[what].public_bytes(Encoding.DER)
    hq.faults = [resigned(hq, x5c=[base64.b64encode(der).decode()]) for _ in range(20)]
    one = box(time=HeldTime(3))
    never_gets_past(one, Step.HELLO, "pinned root" if what == "unknown curve" else "cannot be read")


@pytest.mark.parametrize("member", ["protected", "payload", "signature"])
def test_an_answer_that_was_changed_on_the_way_is_refused(hq: FakeHq, box: MakeBox, member: str) -> None:
    def flip(call: Call) -> bytes:
        answer = json.loads(hq.book.seen[hq._key(call.request).thumbprint(), call.request.header["seq"]][1])
        raw = bytearray(b64.decode(answer[member]))
        raw[-10] ^= 1
        answer[member] = b64.encode(bytes(raw))
        return json.dumps(answer, separators=(",", ":")).replace('{"protected": ', '{"protected":').encode()

    hq.faults = [flip] * 20
    one = box(time=HeldTime(3))
    never_gets_past(one, Step.HELLO, "")
    assert one.lines("problem")


def test_an_answer_key_that_is_not_hqs_is_refused(hq: FakeHq, box: MakeBox) -> None:
    hq.answer = pki.answer_leaf(pki.make_root())
    never_gets_past(box(time=HeldTime(3)), Step.HELLO, "pinned root")


def test_hq_away_for_days_makes_few_lines_and_long_waits(hq: FakeHq, box: MakeBox) -> None:
    one = box(time=HeldTime(150))
    one.agent.run(until=Step.STEADY)
    hq.stop()
    with pytest.raises(Enough):
        one.agent.run()
    assert one.time.now() > 86400
    assert max(one.time.waits[10:]) <= 3600
    assert len(one.lines("waiting")) <= 2
    assert one.store.state.hq.deaf_s > 86400


def test_what_was_waited_for_is_not_shown_any_more_once_it_is_over(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    hq.faults = [lambda call: b"" if "checkin" in call.path else None] * 3
    one.agent.advance()
    assert "HQ cannot be reached" in str(app.status(one.settings)["why"])
    hq.faults = []
    one_check_in(one)
    assert app.status(one.settings)["why"] is None


def test_hq_that_has_forgotten_a_box_is_told_its_key_again_and_the_pair_stays(hq: FakeHq, box: MakeBox) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    name = one.store.state.names[0]
    hq.book = type(hq.book)()  # HQ came back from a backup older than this box
    while one.agent.step is Step.STEADY:
        one.agent.advance()
    assert one.disk.current_pair() is not None
    one.agent.run(until=Step.STEADY)
    assert "jwk" in calls(hq, "hello")[0].request.header
    assert one.store.state.names[0] != name
    assert hq.book.violations == []


class FullDisk(FileOps):
    """No space for the state `full` times."""

    full = 0

    def write(self, path: Path, data: bytes) -> None:
        if self.full and path.name == "state.json.tmp":
            self.full -= 1
            raise OSError(28, "No space left on device")
        super().write(path, data)


def test_a_disk_that_cannot_be_written_stops_nothing_for_good(hq: FakeHq, box: MakeBox) -> None:
    filled: set[Step] = set()
    ops = FullDisk()
    one = box(ops=ops)
    while one.agent.step is not Step.STEADY:
        ops.full = 3 if one.agent.step not in filled else 0
        filled.add(one.agent.step)
        one.agent.advance()
    assert "No space left" in one.lines("problem")[0]["why"]
    assert hq.book.violations == []
    assert len({device.name for device in hq.book.devices.values()}) == 1


def test_a_disk_that_fails_while_trouble_is_put_right_ends_nothing(hq: FakeHq, box: MakeBox) -> None:
    ops = FullDisk()
    refuse = problem(ProblemType.UNKNOWN_TXID, "enroll", hq)

    def and_fill_the_disk(call: Call) -> bytes | None:
        answer = refuse(call)
        ops.full = int(answer is not None)
        return answer

    hq.refusals = [and_fill_the_disk, refuse]
    one = box(ops=ops)
    one.agent.run(until=Step.STEADY)
    assert "No space left" in json.dumps(one.lines("problem"))
    assert len(calls(hq, "hello")) == 2
    assert hq.book.violations == []
