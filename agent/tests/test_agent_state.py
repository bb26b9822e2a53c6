from __future__ import annotations

import json
from pathlib import Path

import pytest
from agent.tests.harness.hq import FakeHq
from hypothesis import given
from hypothesis import strategies as st

from otscert_agent import state
from otscert_agent.disk import Disk
from otscert_agent.errors import StateError, UntrustedError
from otscert_agent.state import BoxState, HqMemory, KeyState, Pending, Sent, Store
from otscert_agent.transport import HttpsTransport, client_context

keys = st.builds(KeyState, seed=st.just(b"") | st.binary(min_size=32, max_size=32), seq_limit=st.integers(0, 2**53))
pendings = st.builds(
    Pending,
    txid=st.text(max_size=5),
    names=st.lists(st.text(max_size=5)),
    scalar=st.binary(min_size=32, max_size=32).filter(any),
    csr=st.binary(),
    binding=st.none() | st.dictionaries(st.text(max_size=5), st.text(max_size=5)),
)


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    disk = Disk(tmp_path / "state")
    disk.prepare()
    return disk


@given(
    st.builds(
        BoxState,
        pool=st.binary(max_size=32),
        hello=st.none() | keys,
        identity=st.none() | keys,
        pending=st.none() | pendings,
        sent=st.none() | st.builds(Sent, body=st.binary()),
        hq=st.builds(HqMemory, floor=st.integers(0, 2**40)),
    )
)
def test_the_state_comes_back(value: BoxState) -> None:
    assert state.decode(state.encode(value)) == value


def test_a_state_of_a_newer_agent_is_refused_and_left_alone(disk: Disk) -> None:
    text = json.dumps({**json.loads(state.encode(BoxState())), "version": 2}).encode()
    disk.write(state.FILE, text)
    with pytest.raises(StateError, match="another version"):
        Store(disk)
    assert disk.read(state.FILE) == text


def test_a_number_is_durable_before_it_is_handed_out(disk: Disk) -> None:
    store = Store(disk)
    store.save(identity=store.fresh_key(b"k" * 32))
    for _ in range(50):
        seq = store.next_seq("identity")
        durable = state.load(disk).identity
        assert durable is not None
        assert durable.seq_limit >= seq


def test_numbers_are_reserved_in_blocks_and_a_block_is_never_used_twice(disk: Disk) -> None:
    first = Store(disk)
    first.save(identity=first.fresh_key(b"k" * 32))
    used = [first.next_seq("identity") for _ in range(20)]
    second = Store(disk)
    used += [second.next_seq("identity") for _ in range(20)]
    assert used[0] == 1
    assert used == sorted(set(used))


def test_what_was_learned_is_durable_with_the_next_save(disk: Disk) -> None:
    store = Store(disk)
    store.learn(HqMemory(floor=7))
    assert state.load(disk).hq.floor == 0
    store.flush()
    assert state.load(disk).hq.floor == 7


def test_one_folder_has_one_agent(disk: Disk) -> None:
    disk.lock()
    other = Disk(disk.root)
    with pytest.raises(StateError, match="another agent is running"):
        other.lock()
    disk.unlock()
    other.lock()
    other.unlock()


def test_a_url_on_another_host_is_not_called(hq: FakeHq) -> None:
    transport = HttpsTransport(hq.url, client_context(hq.roots_pem.decode(), clock_trusted=False), lambda _: None)
    for url in ("https://127.0.0.2/device/v1/orders/x", hq.url.replace("https", "http") + "/x", "file:///etc/passwd"):
        with pytest.raises(UntrustedError, match="another host"):
            transport.post(url, b"{}")
    assert hq.book.calls == []


def test_a_trusted_clock_does_compare_dates() -> None:
    assert not client_context(FakeHq().roots_pem.decode(), clock_trusted=True).verify_flags & 0x200000
