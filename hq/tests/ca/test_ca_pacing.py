"""How fast a process asks a CA: within its share of the load balancer's limits, each kind of request by itself."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.ca.pacing import LONGEST_BLOCK_S, Pacing
from otscert.domain.limits import LETS_ENCRYPT, PerSecond

CA = "https://ca.example"
URLS = {
    "directory": f"{CA}/directory",
    "newNonce": f"{CA}/new-nonce",
    "newOrder": f"{CA}/new-order",
    "renewalInfo": f"{CA}/renewal-info",
}


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def pacing_of(per_second: dict[str, PerSecond], clock: Clock, processes: int = 1) -> Pacing:
    pacing = Pacing(per_second, clock)
    pacing.learn(URLS)
    pacing.share_among(processes)
    return pacing


def tokens(limit: PerSecond, sent_s: list[float]) -> Iterator[float]:
    """What the CA's own bucket holds after each request."""
    left, before_s = float(limit.burst), sent_s[0]
    for at_s in sent_s:
        left = min(limit.burst, left + (at_s - before_s) * limit.rate) - 1
        before_s = at_s
        yield left


@given(
    st.builds(PerSecond, rate=st.floats(1, 1000), burst=st.integers(2, 500)),
    st.lists(st.floats(0, 0.2), min_size=1, max_size=200),
    st.integers(1, 4),
)
def test_the_cas_own_bucket_is_never_empty(limit: PerSecond, gaps_s: list[float], processes: int) -> None:
    clock, sent_s = Clock(), []
    pacings = [pacing_of({"": limit}, clock, processes) for _ in range(processes)]
    if limit.burst < 2 * processes:
        return  # each process may always send one at once
    for gap_s in gaps_s:
        clock.now_s += gap_s
        sent_s += [clock.now_s + pacing.wait_s(f"{CA}/order/1") for pacing in pacings]
    assert min(tokens(limit, sorted(sent_s))) > -1e-6


def test_each_kind_of_request_has_its_own_limit() -> None:
    clock = Clock()
    pacing = pacing_of(dict(LETS_ENCRYPT.per_second), clock)
    for _ in range(200):
        nonce_s = pacing.wait_s(URLS["newNonce"])
    assert nonce_s == pytest.approx((200 - 7) / 15)
    assert pacing.wait_s(URLS["newOrder"]) == 0
    assert pacing.wait_s(f"{URLS['renewalInfo']}/aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE") == 0


def test_a_process_takes_its_share_of_the_limits() -> None:
    waits_s = {}
    for processes in (1, 3):
        pacing = pacing_of(dict(LETS_ENCRYPT.per_second), Clock(), processes)
        for _ in range(1000):
            waits_s[processes] = pacing.wait_s(f"{CA}/order/1")
    assert waits_s[3] == pytest.approx(3 * waits_s[1], rel=0.1)


def test_a_refusal_of_the_load_balancer_slows_that_kind_and_no_other() -> None:
    clock = Clock()
    pacing = pacing_of(dict(LETS_ENCRYPT.per_second), clock)
    pacing.slow_down(URLS["newOrder"], 5)

    assert pacing.wait_s(URLS["newOrder"]) == pytest.approx(5, abs=0.01)
    assert pacing.wait_s(f"{CA}/order/1") == 0
    clock.now_s += 6
    assert pacing.wait_s(URLS["newOrder"]) == 0


@pytest.mark.parametrize(("asked_s", "waited_s"), [(-1, 0), (10**12, LONGEST_BLOCK_S)])
def test_a_mad_retry_after_is_not_believed(asked_s: float, waited_s: float) -> None:
    pacing = pacing_of({}, Clock())
    pacing.slow_down(URLS["newOrder"], asked_s)

    assert pacing.wait_s(URLS["newOrder"]) == waited_s


def test_a_ca_of_which_nothing_is_known_is_asked_at_once() -> None:
    pacing = pacing_of({}, Clock())
    assert [pacing.wait_s(url) for url in URLS.values()] == [0.0] * len(URLS)


def test_it_costs_next_to_nothing() -> None:
    pacing = Pacing(LETS_ENCRYPT.per_second)
    pacing.learn(URLS)
    began_s = time.process_time()
    for _ in range(10_000):
        pacing.wait_s(f"{CA}/order/1")
    assert time.process_time() - began_s < 0.5  # 50 us each on a machine that is busy; about 1 us
