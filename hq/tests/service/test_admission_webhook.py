"""Webhooks through the real API: a box, HQ, and the maker's own HTTPS server, which does as it likes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest

from otscert.counting import Tally
from otscert.domain.admission import Policy
from otscert.domain.quota import Quota
from otscert.notify.errors import NotDelivered
from otscert.notify.https import MOST_BYTES, HttpsSender
from otscert.service.topics import WEBHOOK
from otscert.service.webhook import AT_ONCE, Webhook, WebhookWorker
from tests.harness import maker
from tests.harness.box import Box, Reply, open_session
from tests.harness.hq import DAY_S, HqOptions, Mortal, MortalStore, default_models, make_model, run_hq
from tests.harness.maker import Asked, Behaviour, Maker, answers, http, running_maker, sends
from tests.harness.scene import Scene, assert_says

SECRET = b"a-secret-of-the-webhook"
LOOPBACK = (ip_network("127.0.0.0/8"),)
ALLOW = answers({"decision": "allow"})
MODELS = default_models() | {
    "hooked": make_model("hooked", webhook=True),
    "other": make_model("other", webhook=True),
    "both": make_model("both", policies=(Policy.APPROVAL,), webhook=True),
    **{f"hangs-{number}": make_model(f"hangs-{number}", webhook=True) for number in range(10)},
    "few": make_model("few", webhook=True, waiting_per_address=Quota(count=1, period_s=DAY_S)),
}
StartHq = Callable[..., Any]


@pytest.fixture
async def cleaning() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
async def hooked(cleaning: AsyncExitStack, tmp_path: Path) -> Callable[[Behaviour], Awaitable[tuple[Scene, Maker]]]:
    """Start HQ and the maker's server with a behaviour."""

    async def start(behaviour: Behaviour) -> tuple[Scene, Maker]:
        server = await cleaning.enter_async_context(running_maker(behaviour, tmp_path))
        scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", {"hooked": server}))
        return scene, server

    return start


@asynccontextmanager
async def running_hq(
    folder: Path,
    makers: dict[str, Maker],
    *,
    lives: int | None = None,
    total_s: float = 2.0,
    counts: Tally | None = None,
) -> AsyncIterator[Scene]:
    """HQ with a worker for these models' webhooks; `lives`: see `Mortal`."""
    folder.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test's own folder
    async with AsyncExitStack() as stack:
        hq = await stack.enter_async_context(run_hq(HqOptions(folder=folder, models=MODELS)))
        webhooks = {}
        for model, server in makers.items():
            sender = HttpsSender(networks=LOOPBACK, trust_file=server.trust_file, total_s=total_s)
            stack.push_async_callback(sender.aclose)
            webhooks[model] = Webhook(url=server.url, secret=SECRET, sender=sender)
        hq.mortal = Mortal(lives)
        store: Any = MortalStore(hq.store, hq.mortal)
        worker = WebhookWorker(hq=hq.hq, store=store, signals=hq.signals, webhooks=webhooks, counts=counts or Tally())
        stack.push_async_callback(worker.stop)
        task = asyncio.create_task(worker.work())
        stack.push_async_callback(_end, task)
        session = await stack.enter_async_context(open_session(hq))
        yield Scene(hq=hq, session=session)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def waiting(scene: Scene, model: str = "hooked", **changes: Any) -> Box:
    box = scene.box(model=model)
    await box.hello(**changes)
    reply = await box.enroll()
    assert (reply.status, reply.typ) == (202, "otscert-v1-pending"), reply.message
    assert reply.message == {"reason": "the maker's own systems are asked about this box", "retry_after_s": 1}
    return box


async def until(condition: Callable[[], Awaitable[bool]], *, within_s: float = 20) -> None:
    async with asyncio.timeout(within_s):
        while not await condition():  # noqa: ASYNC110 - what is waited for is in a database
            await asyncio.sleep(0.01)


async def decided(box: Box) -> Reply:
    """Ask until HQ does not say `pending` any more."""
    replies: list[Reply] = []

    async def no_more_pending() -> bool:
        replies.append(await box.enroll())
        return replies[-1].status != 202

    await until(no_more_pending)
    return replies[-1]


async def failed(scene: Scene) -> str:
    """Wait for the first failure of the only waiting box; returns the reason on record."""
    rows: list[tuple[Any, ...]] = []

    async def tried() -> bool:
        rows[:] = await scene.hq.rows("SELECT webhook_attempt, webhook_reason FROM admission_request")
        return bool(rows and rows[0][0])

    await until(tried)
    return str(rows[0][1])


async def test_a_box_is_admitted_when_the_webhook_allows_it_and_its_tags_are_kept(hooked: StartHq) -> None:
    scene, server = await hooked(answers({"decision": "allow", "tags": ["shop:7", "beta"], "label": "ignored"}))
    box = await waiting(scene, serial="SN-1")
    label = box.label
    granted = (await decided(box)).granted()
    assert granted["names"][0].startswith(label)
    assert await scene.hq.rows("SELECT policy, tags FROM device") == [("open", "shop:7 beta")]
    (asked,) = server.asked
    assert asked.line == "POST /admit HTTP/1.1"
    assert {**asked.members, "asked_at": "", "idempotency_key": ""} == {
        "event": "device.admission",
        "idempotency_key": "",
        "model": "hooked",
        "serial": "SN-1",
        "unit": None,
        "firmware": "1.0",
        "policy": "open",
        "address": "127.0.0.1",
        "fingerprint": box.fingerprint,
        "asked_at": "",
    }


async def test_the_question_is_signed_over_moment_and_body(hooked: StartHq) -> None:
    scene, server = await hooked(ALLOW)
    await decided(await waiting(scene))
    (asked,) = server.asked
    moment = asked.headers["otscert-timestamp"]
    assert abs(int(moment) - scene.hq.hq.now_s()) < 60
    expected = hmac.new(SECRET, moment.encode() + b"." + asked.body, hashlib.sha256).hexdigest()
    assert asked.headers["otscert-signature"] == f"v1={expected}"
    assert asked.key == asked.members["idempotency_key"]
    assert asked.headers["content-type"] == "application/json"


async def test_a_box_that_the_webhook_denies_is_refused_for_good_with_its_reason(hooked: StartHq) -> None:
    scene, server = await hooked(answers({"decision": "deny", "reason": "not\x1b paid\n"}))
    box = await waiting(scene)
    for _ in range(2):
        reply = await decided(box)
        assert (reply.status, reply.message["final"]) == (403, True)
        assert reply.message["reason"] == "the maker's own systems refused this box: not  paid"
    assert await scene.hq.count("device") == 0
    assert await scene.hq.event_kinds() == ["webhook.denied"]
    assert len(server.asked) == 1


async def test_each_question_is_counted_by_its_outcome(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    counts = Tally()
    server = await cleaning.enter_async_context(running_maker(ALLOW, tmp_path))
    scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", {"hooked": server}, counts=counts))
    await decided(await waiting(scene))
    assert counts.snapshot() == {("hooked", "allowed"): 1}
    server.behaviour = answers({"decision": "deny", "reason": "no"})
    await decided(await waiting(scene))
    assert counts.snapshot() == {("hooked", "allowed"): 1, ("hooked", "denied"): 1}

    async def counted(outcome: str) -> bool:
        return ("hooked", outcome) in counts.snapshot()

    for behaviour, outcome in ((maker.closes, "unreachable"), (answers({}, status=500), "unclear")):
        server.behaviour = behaviour
        await waiting(scene)
        await until(partial(counted, outcome))


WRONG: dict[str, tuple[Behaviour, str]] = {
    "hangs": (maker.hangs, "127.0.0.1 did not answer within 2 s"),
    "drips its head": (maker.drips_head, "did not answer within 2 s"),
    "drips its body": (maker.drips_body, "did not answer within 2 s"),
    "closes": (maker.closes, "127.0.0.1: Server disconnected"),
    "floods": (maker.floods, f"larger than {MOST_BYTES} bytes"),
    "500": (answers({"decision": "allow"}, status=500), "it answered 500, not 200"),
    "404": (answers({"decision": "deny"}, status=404), "it answered 404, not 200"),
    "201": (answers({"decision": "allow"}, status=201), "it answered 201, not 200"),
    "redirects": (sends(http(307, b"", Location="https://127.0.0.1:1/")), "redirects are not followed"),
    "no HTTP": (sends(b"SSH-2.0-OpenSSH_9.2\r\n"), "127.0.0.1: "),
    "half a body": (sends(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{"decision":"allow"}'), "127.0.0.1: "),
    "huge": (sends(http(200, b'{"decision":"allow"}' + b" " * MOST_BYTES)), f"larger than {MOST_BYTES} bytes"),
    "packed": (
        sends(http(200, zlib.compress(b'{"decision":"allow"}'), Content_Encoding="deflate")),
        "compressed, which was not asked for",
    ),
    "not JSON": (sends(http(200, b"allow")), "not JSON"),
    "deep": (sends(http(200, b"[" * 60_000)), "not JSON"),
    "a list": (answers(["allow"]), "not a JSON object"),
    "empty": (sends(http(200, b"")), "not JSON"),
    "no decision": (answers({"allow": True}), 'no "decision"'),
    "a lie": (answers({"decision": True}), 'no "decision"'),
    "another word": (answers({"decision": "Allow"}), 'no "decision"'),
    "reason": (answers({"decision": "deny", "reason": 7}), '"reason"'),
    "tags": (answers({"decision": "allow", "tags": "beta"}), '"tags"'),
    "a tag with a space": (answers({"decision": "allow", "tags": ["a b"]}), '"tags"'),
    "many tags": (answers({"decision": "allow", "tags": [f"t{n}" for n in range(9)]}), "more than 8 words"),
}


@pytest.mark.parametrize("how", WRONG)
async def test_what_is_no_clear_answer_neither_admits_nor_refuses(hooked: StartHq, how: str) -> None:
    behaviour, words = WRONG[how]
    scene, server = await hooked(behaviour)
    box = await waiting(scene)
    assert words in await failed(scene)
    reply = await box.enroll()
    assert (reply.status, reply.message["retry_after_s"]) == (202, 5)
    assert (await scene.hq.event_kinds()) == ["webhook.failed"]
    scene.hq.clock.ahead_s += 15 * 60
    assert (await box.enroll()).message["retry_after_s"] == 60
    # The server comes to its senses: the same box is asked about again, under the same key, and admitted.
    server.behaviour = ALLOW
    scene.hq.clock.ahead_s += 2
    scene.hq.signals.publish(WEBHOOK)
    (await decided(box)).granted()
    assert len({asked.key for asked in server.asked}) == 1
    assert len({asked.body for asked in server.asked}) == 1
    assert (await scene.hq.event_kinds()) == ["webhook.failed", "device.admitted"]


async def test_a_webhook_that_goes_on_failing_is_asked_less_and_less_often(hooked: StartHq) -> None:
    scene, _ = await hooked(answers({}, status=500))
    await waiting(scene)
    waits: list[int] = []
    for attempt in range(1, 12):

        async def failed_again(attempt: int = attempt) -> bool:
            rows = await scene.hq.rows("SELECT webhook_attempt FROM admission_request")
            return bool(rows == [(attempt,)])

        await until(failed_again)
        ((next_at_s,),) = await scene.hq.rows("SELECT webhook_next_at_s FROM admission_request")
        waits.append(next_at_s - scene.hq.hq.now_s())
        scene.hq.clock.ahead_s += 301
        scene.hq.signals.publish(WEBHOOK)
    for attempt, wait_s in enumerate(waits):
        most_s = min(300, 2**attempt)
        assert most_s * 3 // 4 - 2 <= wait_s <= most_s
    assert await scene.hq.event_kinds() == ["webhook.failed"]


async def test_ten_hanging_webhooks_hold_up_no_box_of_another_model(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    hanging = await cleaning.enter_async_context(running_maker(maker.hangs, tmp_path))
    quick = await cleaning.enter_async_context(running_maker(ALLOW, tmp_path))
    makers = {f"hangs-{number}": hanging for number in range(10)} | {"other": quick}
    scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", makers, total_s=3600))
    stuck = [await waiting(scene, f"hangs-{number}") for number in range(10) for _ in range(2)]

    async def all_of_them_hang() -> bool:
        return hanging.open_now == len(stuck)

    await until(all_of_them_hang)
    for _ in range(3):
        (await decided(await waiting(scene, "other"))).granted()
    (await scene.box().admit()).granted()
    for box in stuck:
        assert (await box.enroll()).status == 202


async def test_one_model_is_asked_about_so_many_boxes_at_a_time(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    released = asyncio.Event()

    async def hang_until_released(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        await ALLOW(asked, writer)

    server = await cleaning.enter_async_context(running_maker(hang_until_released, tmp_path))
    scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", {"hooked": server}, total_s=3600))
    boxes = [await waiting(scene) for _ in range(2 * AT_ONCE)]

    async def all_places_taken() -> bool:
        return server.open_now == AT_ONCE

    await until(all_places_taken)
    (await scene.box().admit()).granted()
    assert server.most_open == AT_ONCE
    released.set()
    for box in boxes:
        (await decided(box)).granted()


async def test_a_kill_between_answer_and_commit_asks_again_under_the_same_key(
    cleaning: AsyncExitStack, tmp_path: Path
) -> None:
    server = await cleaning.enter_async_context(running_maker(answers({"decision": "allow", "tags": ["a"]}), tmp_path))
    async with running_hq(tmp_path / "hq", {"hooked": server}, lives=1) as scene:
        box = await waiting(scene)
        async with asyncio.timeout(20):
            await scene.hq.mortal.died.wait()
        assert len(server.asked) == 1  # it has answered, and HQ died before it was written down
        assert (await box.enroll()).status == 202
    async with running_hq(tmp_path / "hq", {"hooked": server}) as scene:
        box.hq, box.session = scene.hq, scene.session
        (await decided(box)).granted()
    first, second = server.asked
    assert (first.key, first.body) == (second.key, second.body)


async def test_a_kill_right_after_the_commit_asks_no_more(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    server = await cleaning.enter_async_context(running_maker(ALLOW, tmp_path))
    async with running_hq(tmp_path / "hq", {"hooked": server}, lives=2) as scene:
        box = await waiting(scene)
        async with asyncio.timeout(20):
            await scene.hq.mortal.died.wait()
    async with running_hq(tmp_path / "hq", {"hooked": server}) as scene:
        box.hq, box.session = scene.hq, scene.session
        (await box.enroll()).granted()
    assert len(server.asked) == 1


async def test_each_box_has_a_key_of_its_own_and_no_txid_is_told(hooked: StartHq) -> None:
    scene, server = await hooked(ALLOW)
    boxes = [await waiting(scene) for _ in range(3)]
    for box in boxes:
        (await decided(box)).granted()
    assert len({asked.key for asked in server.asked}) == 3
    told = json.dumps([[asked.headers, asked.body.decode()] for asked in server.asked])
    assert not any(box.challenge["txid"] in told for box in boxes)


async def test_a_person_is_asked_first_and_the_webhook_then(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    server = await cleaning.enter_async_context(running_maker(ALLOW, tmp_path))
    scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", {"both": server}))
    box = scene.box(model="both")
    await box.hello()
    assert (await box.enroll()).message["pairing_code"]
    assert server.asked == []
    await scene.hq.store.write(
        lambda transaction: transaction._connection.execute("UPDATE admission_request SET approval = 'yes'")
    )
    (await decided(box)).granted()
    assert [asked.members["policy"] for asked in server.asked] == ["approval"]


async def test_only_so_many_boxes_of_one_address_are_asked_about(cleaning: AsyncExitStack, tmp_path: Path) -> None:
    scene = await cleaning.enter_async_context(running_hq(tmp_path / "hq", {}))
    await waiting(scene, "few")
    box = scene.box(model="few")
    await box.hello()
    assert_says(await box.enroll(), 429, "1 boxes of model few at this address have asked for a decision lately")


# ---- where HQ connects to


async def refused(sender: HttpsSender, url: str) -> str:
    try:
        with pytest.raises(NotDelivered) as caught:
            await sender.post(url, b"{}", {})
    finally:
        await sender.aclose()
    return str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "0.0.0.0", "127.1", "[::ffff:127.0.0.1]", "[::1]"])
async def test_hq_is_not_to_be_pointed_at_its_own_network(tmp_path: Path, host: str) -> None:
    async with running_maker(ALLOW, tmp_path) as server:
        told = await refused(HttpsSender(trust_file=server.trust_file), f"https://{host}:{server.port}/")
        assert "webhook_networks does not name it; nothing was sent" in told or "127.1" in host
        assert server.connections == 0


async def test_a_network_that_is_named_may_be_called(tmp_path: Path) -> None:
    async with running_maker(ALLOW, tmp_path) as server:
        sender = HttpsSender(networks=LOOPBACK, trust_file=server.trust_file)
        answer = await sender.post(server.url, b"{}", {})
        assert (answer.status, json.loads(answer.body)) == (200, {"decision": "allow"})
        await sender.aclose()


async def test_a_server_under_another_root_or_name_is_not_asked(tmp_path: Path) -> None:
    async with running_maker(ALLOW, tmp_path) as server, running_maker(ALLOW, tmp_path, host="hq.example") as other:
        told = await refused(HttpsSender(networks=LOOPBACK), server.url)
        assert "the TLS certificate of 127.0.0.1 is not trusted" in told
        told = await refused(HttpsSender(networks=LOOPBACK, trust_file=other.trust_file), other.url)
        assert "the TLS certificate of 127.0.0.1 is not trusted" in told
        assert server.asked == other.asked == []
