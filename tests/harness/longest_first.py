"""A pytest plugin: the tests that take longest begin first, spread over the workers of a parallel run.

`--dist worksteal` gives each worker a stretch of the list and moves whole tests from the end of long stretches: a long
test in the middle of one begins late and is what everybody waits for at the end. Knows the tests of a dozen seconds
and more by name, and how the stretches are cut. Without workers the order is as it was.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest

SECONDS = {
    "test_no_kill_loses_or_doubles_a_certificate": 86,
    "test_no_certificate_lapses_in_a_year_of_outages": 42,
    "test_orders_of_a_killed_and_of_a_stopped_worker_are_finished_once": 26,
    "test_two_first_boots_of_one_image_with_the_agent_get_two_keys_two_identities_two_names": 25,
    "test_two_first_boots_of_one_image_with_a_factory_secret_each_get_sealed_contributions": 21,
    "test_a_smoke_run_of_a_section_writes_its_figures[dns]": 21,
    "test_a_box_renews_with_a_new_key_and_serves_it_without_a_restart": 18,
    "test_ten_thousand_check_ins_with_half_of_the_answers_lost_raise_no_alarm": 16,
    "test_the_plan_and_the_real_scheduler_agree_hour_by_hour": 13,
    "test_nsd_and_knot_with_the_same_zone_answer_the_same": 13,
    "test_twenty_boxes_are_verified_although_hq_is_killed_in_the_middle": 13,
}
"""By name, or by name and parameters; seconds alone on one core, good for nothing but to be compared."""


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    if workers > 1:
        items[:] = spread(items, workers)


def spread(items: Sequence[pytest.Item], workers: int) -> list[pytest.Item]:
    """Return the items with the long ones at the beginnings of the workers' stretches; the others keep their order."""
    stretches: list[list[pytest.Item]] = [[] for _ in range(workers)]
    loads = [0] * workers
    for item in sorted(filter(seconds, items), key=lambda item: -seconds(item)):
        least = loads.index(min(loads))
        stretches[least].append(item)
        loads[least] += seconds(item)
    others = iter([item for item in items if not seconds(item)])
    left = len(items)
    for number, stretch in enumerate(stretches):
        size = left // (workers - number)  # as xdist cuts it
        stretch += [item for _, item in zip(range(size - len(stretch)), others, strict=False)]
        left -= len(stretch)
    return [item for stretch in stretches for item in stretch] + list(others)


def seconds(item: pytest.Item) -> int:
    """How long the test takes; 0 for all that are not long."""
    return SECONDS.get(item.name, SECONDS.get(item.name.partition("[")[0], 0))
