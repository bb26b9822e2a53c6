"""Every repository, every method, on a real file."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hq.tests.store.rows import certificate, device, fill, hello, order

from otscert.domain.device import DeviceState
from otscert.domain.errors import IllegalMove
from otscert.domain.key_index import KeyIndex
from otscert.domain.order import OrderEvent, OrderState
from otscert.domain.quota import Quota
from otscert.store.accounts import Account
from otscert.store.errors import AlreadyThere, Moved
from otscert.store.sqlite import SqliteStore


async def test_a_device_comes_back_as_it_was(store: SqliteStore) -> None:
    one, two = device(1), device(2, serial=None, addresses=(), served_sha256="ab")
    await store.write(lambda transaction: fill(transaction, one, two))
    assert await store.read(lambda transaction: transaction.devices.get("d1")) == one
    assert await store.read(lambda transaction: transaction.devices.get("d2")) == two
    assert await store.read(lambda transaction: transaction.devices.get("d3")) is None


@pytest.mark.parametrize("text", ["d1", "label1", "S1"])
async def test_a_device_is_found_by_id_label_or_serial(store: SqliteStore, text: str) -> None:
    await store.write(lambda transaction: transaction.devices.add(device()))
    assert await store.read(lambda transaction: transaction.devices.find(text)) == device()
    assert await store.read(lambda transaction: transaction.devices.find("nobody")) is None


async def test_devices_are_paged_by_id(store: SqliteStore) -> None:
    await store.write(lambda transaction: fill(transaction, *map(device, range(5))))
    page = await store.read(lambda transaction: transaction.devices.page(after_id="d1", limit=2))
    assert [each.id for each in page] == ["d2", "d3"]
    names = await store.read(lambda transaction: list(transaction.devices.names()))
    assert ("label4", "box", "192.168.1.20 fd00::1", None) in names


async def test_a_device_is_saved_by_whoever_saw_its_last_token(store: SqliteStore) -> None:
    await store.write(lambda transaction: transaction.devices.add(device()))
    moved_on = replace(
        device(), state=DeviceState.FROZEN, unserved=2, ratchet=replace(device().ratchet, token_hash=b"next")
    )
    await store.write(lambda transaction: transaction.devices.save(moved_on, seen_token_hash=b"token"))
    assert await store.read(lambda transaction: transaction.devices.get("d1")) == moved_on
    with pytest.raises(Moved):
        await store.write(lambda transaction: transaction.devices.save(device(), seen_token_hash=b"token"))
    assert await store.read(lambda transaction: transaction.devices.get("d1")) == moved_on


async def test_a_check_ins_answer_and_unserved_certificates_are_remembered(store: SqliteStore) -> None:
    await store.write(lambda transaction: transaction.devices.add(device()))
    assert await store.read(lambda transaction: transaction.devices.checkin_answer("d1")) is None
    await store.write(lambda transaction: transaction.devices.remember_checkin("d1", b"sealed"))
    await store.write(lambda transaction: transaction.devices.count_unserved("d1"))
    assert await store.read(lambda transaction: transaction.devices.checkin_answer("d1")) == b"sealed"
    found = await store.read(lambda transaction: transaction.devices.get("d1"))
    assert found is not None
    assert found.unserved == 1


async def test_an_order_moves_only_from_the_state_that_was_seen(store: SqliteStore) -> None:
    await store.write(lambda transaction: fill(transaction, device(), order()))
    assert await store.read(lambda transaction: transaction.orders.get("o1")) == order()
    assert await store.read(lambda transaction: transaction.orders.by_txid("t1")) == order()
    claimed = await store.write(lambda transaction: transaction.orders.advance(order(), OrderEvent.CLAIM, reason="x"))
    assert (claimed.state, claimed.reason) == (OrderState.CREATING, "x")
    with pytest.raises(Moved):
        await store.write(lambda transaction: transaction.orders.advance(order(), OrderEvent.CLAIM))
    with pytest.raises(Moved):
        await store.write(lambda transaction: transaction.orders.postpone(order(), next_at_s=1, reason="late"))
    with pytest.raises(IllegalMove):
        await store.write(lambda transaction: transaction.orders.advance(claimed, OrderEvent.ISSUE))
    assert await store.read(lambda transaction: transaction.orders.get("o1")) == claimed


async def test_two_orders_never_share_a_url(store: SqliteStore) -> None:
    creating = [order(number, state=OrderState.CREATING) for number in (1, 2)]
    await store.write(lambda transaction: fill(transaction, device(), *creating))
    await store.write(lambda transaction: transaction.orders.advance(creating[0], OrderEvent.OPEN, url="https://ca/1"))
    assert await store.read(lambda transaction: transaction.orders.url_known("https://ca/1"))
    with pytest.raises(AlreadyThere):
        await store.write(
            lambda transaction: transaction.orders.advance(creating[1], OrderEvent.OPEN, url="https://ca/1")
        )
    assert await store.read(lambda transaction: transaction.orders.get("o2")) == creating[1]


async def test_the_queue_is_what_is_due_and_unfinished(store: SqliteStore) -> None:
    orders = [
        order(1, next_at_s=300),
        order(2, next_at_s=200, state=OrderState.PUBLISHED),
        order(3, next_at_s=100, state=OrderState.ISSUED),
        order(4, next_at_s=100, state=OrderState.FAILED),
        order(5, next_at_s=900),
    ]
    await store.write(lambda transaction: fill(transaction, device(), *orders))
    due = await store.read(lambda transaction: transaction.orders.due(now_s=300, limit=9, by="p1"))
    assert [each.id for each in due] == ["o2", "o1"]
    assert (
        await store.read(lambda transaction: transaction.orders.next_due_s(besides=("o2",), now_s=300, by="p1")) == 300
    )
    assert (
        await store.read(
            lambda transaction: transaction.orders.next_due_s(besides=("o1", "o2", "o5"), now_s=300, by="p1")
        )
        is None
    )
    assert await store.read(lambda transaction: transaction.orders.unfinished("d1"))
    assert not await store.read(lambda transaction: transaction.orders.unfinished("d2"))
    newest = await store.read(lambda transaction: transaction.orders.of_device("d1", limit=2))
    assert [each.id for each in newest] == ["o5", "o4"]
    page = await store.read(lambda transaction: transaction.orders.page(after_id="o2", limit=2))
    assert [each.id for each in page] == ["o3", "o4"]


async def test_a_postponed_order_counts_its_runs(store: SqliteStore) -> None:
    await store.write(lambda transaction: fill(transaction, device(), order()))
    await store.write(lambda transaction: transaction.orders.postpone(order(), next_at_s=777, reason="CA down"))
    found = await store.read(lambda transaction: transaction.orders.get("o1"))
    assert found == replace(order(), next_at_s=777, reason="CA down", attempt=1)


async def test_certificates(store: SqliteStore) -> None:
    orders = [order(number) for number in (1, 2)]
    await store.write(lambda transaction: fill(transaction, device(), *orders, certificate(1), certificate(2)))
    assert await store.read(lambda transaction: transaction.certificates.get(f"{1:064x}")) == certificate(1)
    assert await store.read(lambda transaction: transaction.certificates.newest("d1")) == certificate(2)
    assert await store.read(lambda transaction: transaction.certificates.newest("d2")) is None
    for now_s in (500, 600):  # the first time counts
        assert await store.write(
            lambda transaction, now_s=now_s: transaction.certificates.seen_served(  # type: ignore[misc]  # bound now
                f"{1:064x}", device_id="d1", now_s=now_s
            )
        )
    assert not await store.write(
        lambda transaction: transaction.certificates.seen_served(f"{1:064x}", device_id="d2", now_s=1)
    )
    found = await store.read(lambda transaction: transaction.certificates.get(f"{1:064x}"))
    assert found == certificate(1, served_at_s=500)


async def test_challenge_values_shared_by_two_orders_stay_until_both_end(store: SqliteStore) -> None:
    await store.write(lambda transaction: transaction.challenges.put("o1", "label", ["a", "b", "a"]))
    await store.write(lambda transaction: transaction.challenges.put("o2", "label", ["b"]))
    await store.write(lambda transaction: transaction.challenges.put("o3", "other", ["b"]))
    assert sorted(await store.read(lambda transaction: transaction.challenges.all())) == [
        ("label", "a"),
        ("label", "b"),
        ("label", "b"),
        ("other", "b"),
    ]
    assert await store.write(lambda transaction: transaction.challenges.drop("o1")) == [("label", "a")]
    assert await store.write(lambda transaction: transaction.challenges.drop("o2")) == [("label", "b")]
    assert await store.write(lambda transaction: transaction.challenges.drop("o2")) == []


async def test_a_hello_ends_or_enrolls(store: SqliteStore) -> None:
    for number in (1, 2, 3):
        row = hello(number, thumbprint="k" if number < 3 else "other", expires_at_s=1000 + number)
        await store.write(
            lambda transaction, row=row: (  # type: ignore[misc]  # bound now
                transaction.names.reserve(row.label, txid=row.txid),
                transaction.hellos.add(row),
            )
        )
    assert await store.write(lambda transaction: transaction.hellos.remember_d0(b"d0", until_s=10))
    assert not await store.write(lambda transaction: transaction.hellos.remember_d0(b"d0", until_s=20))
    await store.write(
        lambda transaction: transaction.hellos.enrolled("t1", csr_sha256=b"csr", identity="id", expires_at_s=1002)
    )
    found = await store.read(lambda transaction: transaction.hellos.get("t1"))
    assert found == hello(1, thumbprint="k", expires_at_s=1002, csr_sha256=b"csr", identity="id")
    await store.write(lambda transaction: transaction.hellos.end_oldest("k", keep=1))  # t2 is the newest open one
    assert await store.read(lambda transaction: transaction.hellos.get("t2")) is not None
    await store.write(lambda transaction: transaction.hellos.end_oldest("k", keep=0))  # t2 ends, t1 has enrolled
    assert await store.read(lambda transaction: transaction.hellos.get("t2")) is None
    assert await store.write(lambda transaction: transaction.names.reserve("label2", txid="t9"))
    assert not await store.write(lambda transaction: transaction.names.reserve("label1", txid="t9"))
    assert await store.write(lambda transaction: transaction.hellos.sweep(now_s=1003)) == 1
    assert await store.write(lambda transaction: transaction.hellos.sweep(now_s=1004)) == 1


async def test_a_name_is_given_once_and_never_again(store: SqliteStore) -> None:
    assert await store.write(lambda transaction: transaction.names.reserve("nifty", txid="t1"))
    await store.write(lambda transaction: transaction.names.give("nifty", device_id="d1"))
    for label in ("nifty", "never-reserved"):
        with pytest.raises(Moved):
            await store.write(
                lambda transaction, label=label: transaction.names.give(label, device_id="d2")  # type: ignore[misc]
            )
    await store.write(lambda transaction: transaction.hellos.sweep(now_s=10**10))
    assert not await store.write(lambda transaction: transaction.names.reserve("nifty", txid="t2"))


async def test_a_key_keeps_its_first_form_and_its_last_answer(store: SqliteStore) -> None:
    await store.write(lambda transaction: transaction.devices.add(device()))
    for seq, answer in ((1, b"one"), (2, b"two")):
        await store.write(
            lambda transaction, seq=seq, answer=answer: transaction.keys.record(  # type: ignore[misc]  # bound now
                "k", alg="Ed25519", raw=b"raw", seq=seq, digest=b"d%d" % seq, answer=answer, now_s=50 * seq
            )
        )
    found = await store.read(lambda transaction: transaction.keys.get("k"))
    assert found is not None
    assert (found.last_seq, found.last_digest, found.last_answer, found.device_id) == (2, b"d2", b"two", None)
    await store.write(lambda transaction: transaction.keys.bind("k", "d1"))
    found = await store.read(lambda transaction: transaction.keys.get("k"))
    assert found is not None
    assert found.device_id == "d1"
    assert await store.write(lambda transaction: transaction.keys.sweep(created_before_s=10**10)) == 0


async def test_keys_of_strangers_are_forgotten_unless_their_transaction_is_open(store: SqliteStore) -> None:
    for name in ("gone", "hello-key"):
        await store.write(
            lambda transaction, name=name: transaction.keys.record(  # type: ignore[misc]  # bound now
                name, alg="Ed25519", raw=b"", seq=1, digest=b"", answer=None, now_s=50
            )
        )
    await store.write(lambda transaction: transaction.hellos.add(hello()))
    assert await store.write(lambda transaction: transaction.keys.sweep(created_before_s=50)) == 0
    assert await store.write(lambda transaction: transaction.keys.sweep(created_before_s=51)) == 1
    assert await store.read(lambda transaction: transaction.keys.get("hello-key")) is not None


async def test_a_verified_key_is_unique_by_key_and_by_x(store: SqliteStore) -> None:
    members = {"device_id": "d1", "kind": "certificate", "contribution": "open", "source": "jitter", "now_s": 1}
    first = KeyIndex(spki_sha256=b"s", x_coordinate=b"x")
    await store.write(lambda transaction: transaction.verified_keys.add(first, **members))  # type: ignore[arg-type]  # a mixed dict
    for index in (KeyIndex(spki_sha256=b"s", x_coordinate=b"y"), KeyIndex(spki_sha256=b"t", x_coordinate=b"x")):
        assert await store.read(lambda transaction, index=index: transaction.verified_keys.holder(index)) == "d1"  # type: ignore[misc]
        with pytest.raises(AlreadyThere):
            await store.write(lambda transaction, index=index: transaction.verified_keys.add(index, **members))  # type: ignore[misc]
    another = KeyIndex(spki_sha256=b"t", x_coordinate=b"y")
    assert await store.read(lambda transaction: transaction.verified_keys.holder(another)) is None


async def test_accounts_events_and_quotas(store: SqliteStore) -> None:
    account = Account(issuer="ca", directory_url="https://ca", key_sealed=b"sealed", url="")
    await store.write(lambda transaction: transaction.accounts.add(account, now_s=1))
    await store.write(lambda transaction: transaction.accounts.set_url("ca", "https://ca/1"))
    assert await store.read(lambda transaction: transaction.accounts.get("ca")) == replace(account, url="https://ca/1")
    assert await store.read(lambda transaction: transaction.accounts.get("cb")) is None
    for kind in ("a", "b", "c"):
        await store.write(
            lambda transaction, kind=kind: transaction.events.append(kind, now_s=5, device_id="d1", data={"n": 1})  # type: ignore[misc]
        )
    events = await store.read(lambda transaction: transaction.events.of_device("d1", limit=2))
    assert [(event.kind, event.at_s, event.data) for event in events] == [("c", 5, {"n": 1}), ("b", 5, {"n": 1})]
    quota = Quota(count=2, period_s=10)
    allowed = [
        (await store.write(lambda transaction: transaction.quotas.spend("b", quota, now_ms=1000))).allowed
        for _ in range(3)
    ]
    assert allowed == [True, True, False]
    assert await store.write(lambda transaction: transaction.quotas.sweep(now_ms=11_000)) == 0
    assert await store.write(lambda transaction: transaction.quotas.sweep(now_ms=11_001)) == 1
