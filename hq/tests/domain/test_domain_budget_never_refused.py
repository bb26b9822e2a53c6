"""What HQ lets go, a CA with the same limits lets in: judged by plain token buckets that share no code with HQ."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from otscert.domain.budget import BEHIND_MS, Bucket, Charge, Exemption, Level, Rank, decide
from otscert.domain.limits import LimitKind, Limits
from otscert.domain.quota import Quota
from tests.scripted_ca.buckets import TokenBuckets

START_MS = 1_800_000_000_000
PERIODS = st.sampled_from([600, 3600, 10_800, 604_800])
QUOTAS = st.builds(Quota, count=st.integers(2, 8), period_s=PERIODS)
ORDERS = st.lists(
    st.tuples(
        st.one_of(st.integers(0, 400_000), st.none()),  # ms since the one before; None: as long as HQ said
        st.integers(0, BEHIND_MS),  # ms on the way to the CA
        st.sampled_from(Rank),
        st.sampled_from([Exemption.NONE, Exemption.NONE, Exemption.NONE, Exemption.SAME_NAMES, Exemption.ARI_WINDOW]),
        st.integers(0, 3),  # which box
    ),
    min_size=10,
    max_size=120,
)
KINDS = (LimitKind.ORDERS_PER_ACCOUNT, LimitKind.CERTIFICATES_PER_DOMAIN, LimitKind.CERTIFICATES_PER_NAMES)


@settings(max_examples=60, deadline=None)
@given(st.tuples(QUOTAS, QUOTAS, QUOTAS), ORDERS)
def test_no_order_that_hq_lets_go_finds_an_empty_bucket_at_the_ca(
    quotas: tuple[Quota, Quota, Quota], orders: list[tuple[int | None, int, Rank, Exemption, int]]
) -> None:
    by_kind = dict(zip(KINDS, quotas, strict=True))
    limits = Limits(name="ca", by_kind=by_kind, per_second={}, renewals_exempt=True, same_names_exempt=True)
    levels: dict[Bucket, Level] = {}
    arriving: list[tuple[int, tuple[tuple[LimitKind, str], ...]]] = []
    now_ms, told_ms = START_MS, 0
    for gap_ms, way_ms, rank, exemption, box in orders:
        now_ms += told_ms if gap_ms is None else gap_ms
        name = f"box{box}.example.com"
        charge = Charge(issuer="ca", names=(name,), registered_domains=("example.com",), rank=rank, exemption=exemption)
        decision = decide(charge, limits, levels, now_ms)
        assert decision.allowed is (decision.waits_for is None) is (decision.retry_after_s == 0)
        told_ms = decision.retry_after_s * 1000
        levels.update({bucket: Level(tat_ms=tat_ms) for bucket, tat_ms in decision.levels_after.items()})
        if decision.allowed:
            arriving.append((now_ms + way_ms, _counted(exemption, name)))
    judge = TokenBuckets()
    for at_ms, counted in sorted(arriving, key=lambda each: each[0]):
        for kind, subject in counted:
            limit = (by_kind[kind].count, float(by_kind[kind].period_s))
            assert judge.wait_s((kind.value, subject), limit, (at_ms - START_MS) / 1000) == 0
            judge.spend((kind.value, subject), limit, (at_ms - START_MS) / 1000)


def _counted(exemption: Exemption, name: str) -> tuple[tuple[LimitKind, str], ...]:
    """What the CA counts, by the words of its documentation."""
    if exemption is Exemption.ARI_WINDOW:
        return ()
    if exemption is Exemption.SAME_NAMES:
        return ((LimitKind.CERTIFICATES_PER_NAMES, name),)
    return tuple((kind, name if kind is LimitKind.CERTIFICATES_PER_NAMES else "") for kind in KINDS)
