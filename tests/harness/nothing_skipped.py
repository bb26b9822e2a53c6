"""A pytest plugin (`-p tests.harness.nothing_skipped`): where parts are required, a skipped test is a failed one.

`require_part` fails by itself; this holds every other skip, in any test folder, to the same rule.
"""

from __future__ import annotations

from collections.abc import Generator

import pytest

from tests.harness.parts import parts_are_required


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,  # noqa: ARG001 - pytest passes arguments by name
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _refuse_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,  # noqa: ARG001 - pytest passes arguments by name
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _refuse_skip(report)
    return report


def _refuse_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and not hasattr(report, "wasxfail") and parts_are_required():
        report.outcome = "failed"
        report.longrepr = f"Nothing may be skipped here, and this was: {report.longreprtext}"
