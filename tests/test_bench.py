"""The benchmark runs, and says what it measured in a form that can be read. What it measures is nobody's test."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench.child import CpuMs
from bench.dns_zone import questions
from bench.dnsperf import read_answers, read_summary
from bench.errors import BenchError
from bench.figures import Figure, Section, Verdict, percentile
from bench.report import BEGIN, END, document, into_page, number, table
from tests.harness.parts import require_part

CHECKOUT = Path(__file__).resolve().parent.parent
NEEDS = {
    "dns": ["nsd", "knotd", "pdns_server", "pdns-backend-bind", "dnsperf"],
    "dns-slow": ["dnsperf"],
    "dns-shared": ["dnsperf"],
    "dns-api": ["dnsperf"],
    "dns-fresh": ["initdb", "postgresql"],
    "wave": [],
    "clients": ["pebble", "lego"],
    "keys": [],
    "boot": ["pebble"],
    "million": ["initdb", "postgresql"],
    "databases": ["initdb", "postgresql"],
}
BRINGS = {
    "dns": {"dns-stored", "dns-computed", "dns-mixed"},
    **{name: {name} for name in ("dns-slow", "dns-shared", "dns-api", "dns-fresh")},
    "wave": {"wave", "hq-cpu"},
    "clients": {"clients"},
    "keys": {"keys"},
    "boot": {"boot", "agent"},
    "million": {"million-sqlite", "million-postgresql"},
    "databases": {"databases"},
}
MACHINE = {"cpu": "c", "cores": 2, "ram_gib": 4.0, "kernel": "6", "python": "3.11", "openssl": "3.0"}
RUN: dict[str, Any] = {
    "began": "2026-11-23T12:00:00+00:00",
    "took_s": 200.0,
    "machine": MACHINE,
    "parts": {"nsd": "4.6.1"},
    "load_before": [0.1, 0.1, 0.1],
    "load_after": [1.5, 0.5, 0.1],
}


def run_quick(section: str, out: Path) -> dict[str, Any]:
    for part in NEEDS[section]:
        require_part(part)
    command = [sys.executable, "-m", "bench", "--quick", "--only", section, "--json", str(out)]
    done = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(out.read_text(encoding="utf-8"))
    return found


@pytest.mark.parametrize("section", NEEDS)
def test_a_smoke_run_of_a_section_writes_its_figures(section: str, tmp_path: Path) -> None:
    found = run_quick(section, tmp_path / "out.json")
    assert {each["name"] for each in found["sections"]} == BRINGS[section]
    assert found["quick"] is True
    assert len(found["load_before"]) == 3
    for each in found["sections"]:
        assert each["how"]
        assert each["figures"]
        assert all(figure["value"] >= 0 for figure in each["figures"])
        assert {figure["verdict"] for figure in each["figures"]} <= {"met", "missed", "no target"}
    if section == "wave":
        lost = [figure for figure in found["sections"][0]["figures"] if figure["name"] == "boxes lost"]
        assert [figure["value"] for figure in lost] == [0]


def test_a_run_of_one_section_leaves_the_published_figures_alone(tmp_path: Path) -> None:
    docs = [CHECKOUT / "docs" / name for name in ("benchmarks.md", "benchmarks.json")]
    before = [path.read_bytes() if path.exists() else None for path in docs]
    run_quick("keys", tmp_path / "out.json")
    assert [path.read_bytes() if path.exists() else None for path in docs] == before


@pytest.mark.parametrize(
    ("value", "at_least", "verdict"),
    [(60, True, Verdict.MET), (59.9, True, Verdict.MISSED), (60, False, Verdict.MET), (60.1, False, Verdict.MISSED)],
)
def test_a_target_is_met_at_its_limit(value: float, at_least: bool, verdict: Verdict) -> None:  # noqa: FBT001 - a column
    assert Figure(name="f", value=value, unit="/s", limit=60, at_least=at_least).verdict is verdict


def test_a_percentile_is_the_nearest_rank() -> None:
    values = [float(number) for number in range(1, 51)]
    assert percentile(values, 95) == 48
    assert percentile(values, 100) == 50
    assert percentile([7.0], 95) == 7


def test_the_page_keeps_what_was_written_by_hand() -> None:
    page = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert into_page(page, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"


def test_a_page_without_markers_is_not_written() -> None:
    with pytest.raises(BenchError, match="lacks the lines"):
        into_page("only words\n", "new")


def test_a_missed_target_is_written_down_as_missed_with_where_the_time_goes() -> None:
    missed = Figure(name="certificates per second", value=44.27, unit="/s", limit=60, at_least=True)
    section = Section(name="wave", title="The wave", how="h", figures=(missed,), details={}, profile=("1.0 ms  store",))
    text = table([section], run=RUN)
    assert "| certificates per second | 44.3 /s | >= 60 /s | **missed** |" in text
    assert "1.0 ms  store" in text
    assert "Taken on 2026-11-23" in text
    assert "load average before 0.1, after 1.5" in text
    assert document([section], run=RUN)["sections"][0]["figures"][0]["verdict"] == "missed"


@pytest.mark.parametrize(
    ("value", "text"), [(0.771, "0.77"), (12.58, "12.6"), (123.4, "123"), (73129.2, "73 129"), (0.0, "0")]
)
def test_numbers_have_the_digits_that_mean_something(value: float, text: str) -> None:
    assert number(value) == text


SUMMARY = """
  Queries sent:         100
  Queries completed:    100 (100.00%)
  Queries lost:         0 (0.00%)
  Response codes:       NOERROR 95 (95.00%), NXDOMAIN 5 (5.00%)
  Queries per second:   1000.0
"""
SPENT = CpuMs(user=1.0, system=1.0)


def test_the_summary_says_speed_and_the_servers_own_time() -> None:
    text = SUMMARY.replace("NOERROR 95 (95.00%), NXDOMAIN 5 (5.00%)", "NOERROR 100 (100.00%)")
    good = read_summary(text, "ours", SPENT, 1.0)
    assert (good.per_s, good.cpu_us, good.lost) == (1000.0, 20.0, 0)
    assert read_summary(SUMMARY, "ours", SPENT, 1.0, nxdomain=0.05).per_s == 1000.0


@pytest.mark.parametrize(
    ("old", "new", "nxdomain"),
    [
        ("", "", 0.0),  # a name that is stored does not exist
        ("", "", 0.1),  # not as many as were asked for
        ("NXDOMAIN 5", "SERVFAIL 5", 0.05),
        ("NXDOMAIN 5", "REFUSED 5", 0.0),
        ("Response codes", "Nothing", 0.05),
    ],
)
def test_answers_with_another_code_are_no_measurement(old: str, new: str, nxdomain: float) -> None:
    with pytest.raises(BenchError, match="ours"):
        read_summary(SUMMARY.replace(old, new), "ours", SPENT, 1.0, nxdomain=nxdomain)


def test_the_list_of_answers_gives_each_one_its_time() -> None:
    text = "DNS Performance\n> NOERROR b1.bench A 0.000250\n> NXDOMAIN u1.bench A 0.000125\n> T b2.bench A\n"
    assert read_answers(text) == [0.125, 0.25]
    with pytest.raises(BenchError, match="no answer"):
        read_answers("> T b2.bench A\n")


def test_the_mixed_load_asks_in_the_shares_that_the_page_names() -> None:
    asked = [line.split() for line in questions("mixed", 100)]
    shares = {rtype: sum(each[1] == rtype for each in asked) / len(asked) for rtype in ("A", "AAAA", "HTTPS", "CAA")}
    assert shares == {"A": 0.45, "AAAA": 0.25, "HTTPS": 0.2, "CAA": 0.05}
    assert sum(name.startswith("u") for name, _ in asked) / len(asked) == 0.05
    assert all(name.startswith("_acme-challenge.b") for name, rtype in asked if rtype == "TXT")
