"""What the zone remembers is what it would build: two zones, one of them without memory, live the same life."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import ip_address

import dns.message
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from otscert.domain.addresses import DEFAULT_POLICY, AddressPolicy
from otscert.zones.settings import ZoneSettings
from otscert.zones.zone import Zone

Change = Callable[[Zone], object]

ONLY_TEN = AddressPolicy(networks=DEFAULT_POLICY.networks[:1])

labels = st.sampled_from(["one", "two"])
values = st.sampled_from(["value-a", "value-b", "x" * 250])
policies = st.sampled_from([DEFAULT_POLICY, ONLY_TEN])
addresses = st.lists(
    st.sampled_from(["10.0.0.1", "192.168.1.20", "fd00::1", "fd00::2"]).map(ip_address), max_size=3, unique=True
)
changes = st.one_of(
    st.builds(lambda label, at, policy: lambda zone: zone.activate(label, at, policy), labels, addresses, policies),
    st.builds(lambda label: lambda zone: zone.withdraw(label), labels),
    st.builds(lambda label, value: lambda zone: zone.put_txt(label, value), labels, values),
    st.builds(lambda label, value: lambda zone: zone.drop_txt(label, value), labels, values),
    st.builds(lambda caa: lambda zone: zone.set_caa(caa), st.lists(st.sampled_from(["a.example", "b.example"]))),
    st.builds(
        lambda label, at, policy, value: lambda zone: zone.load([(label, at, policy)], [(label, value)]),
        labels,
        addresses,
        policies,
        values,
    ),
)

QUERIES = [
    dns.message.make_query(name + "boxes.example.com", rtype, use_edns=edns, id=0).to_wire()
    for name in (
        "",
        *(
            prefix + label + "."
            for label in ("one", "two")
            for prefix in ("", "_acme-challenge.", "10-0-0-1.", "192-168-1-20.", "fd000000000000000000000000000001.")
        ),
    )
    for rtype in ("A", "AAAA", "TXT", "CAA", "HTTPS", "SOA", "NS")
    for edns in (-1, 0)
]


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(life=st.lists(changes, min_size=1, max_size=12))
def test_a_remembered_answer_is_the_one_that_would_be_built(settings: ZoneSettings, life: list[Change]) -> None:
    zone, forgetful = Zone(settings), Zone(settings)
    forgetful._cache._entries_per_generation = 1
    for change in life:
        for one in (zone, forgetful):
            change(one)
        for size_limit in (512, 1232, None):
            for query in QUERIES:
                expected = forgetful.answer(query, size_limit=size_limit)
                assert zone.answer(query, size_limit=size_limit) == expected
    assert zone._cache.recent
    assert not forgetful._cache.recent
