"""What people read in a terminal: spans, the state, and a reader that goes away."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent.tests.harness.box import TestBox
from agent.tests.harness.hq import FakeHq

from otscert_agent import app
from otscert_agent.report import Report
from otscert_agent.steps import Step
from otscert_agent.words import span, status_lines

DAY = 86400
NOT_AFTER = 1803229260  # 2027-02-21 17:01 UTC
FOUND = {"step": "STEADY", "names": ["a.example", "*.a.example"], "device_id": "d1", "why": None}
FACTS = {"not_before": NOT_AFTER - 90 * DAY, "not_after": NOT_AFTER, "leaf_sha256": "ab", "served_as_issued": None}


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0132, "13 ms"),
        (3.30, "3.3 s"),
        (60.0, "60 s"),
        (1384.022, "23 min"),
        (3593.3, "60 min"),
        (3 * 3600, "3 h"),
        (7 * DAY, "7 days"),
    ],
)
def test_a_span_is_told_in_a_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_the_status_has_dates_for_people_and_no_empty_lines() -> None:
    assert status_lines({**FOUND, **FACTS}, NOT_AFTER - 89.5 * DAY) == [
        "step: STEADY",
        "names: a.example, *.a.example",
        "device id: d1",
        "valid until 2027-02-21 17:01 UTC (89 days left)",
        "leaf sha256: ab",
    ]


@pytest.mark.parametrize(
    ("now_s", "left"),
    [
        (NOT_AFTER - 1.5 * DAY, "(1 day left)"),
        (NOT_AFTER - 7200, "(2 h left)"),
        (NOT_AFTER + 1, "(expired)"),
        (100, "(this box's clock is wrong: it says 1970-01-01 00:01 UTC)"),
    ],
)
def test_the_status_says_how_long_the_certificate_lasts(now_s: float, left: str) -> None:
    assert status_lines({**FOUND, **FACTS}, now_s)[3].endswith(left)


def test_the_status_says_yes_and_no_and_keeps_hqs_words_on_their_line() -> None:
    found = {"served_as_issued": True, "why": "no\nstep: STEADY\x1b[2J"}
    assert status_lines(found, 0) == ["served as issued: yes", "why: no step: STEADY [2J"]


def test_a_boot_is_told_in_milliseconds_while_somebody_counts() -> None:
    said = io.StringIO()
    Report(None, as_json=False, stream=said, age_ms=lambda: 9000.0).step("HELLO")
    Report(None, as_json=False, stream=said, age_ms=lambda: 1_384_022.0).step("ENROL")
    assert re.fullmatch(r"HELLO done after 9\d{3} ms\nENROL done after 23 min\n", said.getvalue())


def test_what_was_installed_and_is_not_served_is_not_called_served() -> None:
    said, as_json = io.StringIO(), io.StringIO()
    for stream in (said, as_json):
        report = Report(None, as_json=stream is as_json, stream=stream, age_ms=lambda: 1_384_022.0)
        report.serving(name="a.example", listen="", port=0)
        report.serving(name="a.example", listen="127.0.0.1", port=443)
    assert said.getvalue().splitlines() == [
        "installed the certificate of a.example; otscert-agent run serves it",
        "serving https://a.example/ on 127.0.0.1:443 after 23 min",
    ]
    assert [json.loads(line)["kind"] for line in as_json.getvalue().splitlines()] == ["serving", "serving"]
    assert json.loads(as_json.getvalue().splitlines()[0])["ms"] >= 1_384_022


@pytest.mark.parametrize("command", ["enroll", "status"])
def test_a_reader_that_goes_away_ends_it_quietly(
    hq: FakeHq, box: Callable[..., TestBox], tmp_path: Path, command: str
) -> None:
    one = box()
    one.agent.run(until=Step.STEADY)
    one.close()
    config = tmp_path / "agent.toml"
    roots = one.settings.hq_roots
    config.write_text(f'hq_url = "{hq.url}"\nhq_roots = "{roots}"\nmodel = "m1"\nstate_dir = "{one.disk.root}"\n')
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ended = subprocess.run(
            [sys.executable, "-m", "otscert_agent.cli", command, "--config", str(config)],
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
    finally:
        os.close(writer)
    assert (ended.returncode, ended.stderr) == (1, "")
    assert app.status(one.settings)["step"] != "DAMAGED"
