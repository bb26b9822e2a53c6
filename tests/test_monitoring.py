"""What lies beside Prometheus and Grafana: judged by promtool, and named as HQ and its documents name it.

What a real HQ tells is in `test_metrics_scraped`; the list of names here is docs/metrics.md, which that test compares.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from otscert.api.metrics.of_store import WATCHED_EVENTS
from tests.harness.parts import require_part

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "monitoring"
RULES, TESTS = FOLDER / "alerts.yaml", FOLDER / "alerts-test.yaml"
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
METRIC = re.compile(r"\b(?:otscert|process)_[a-z_]+\b")
PARTS_OF_A_HISTOGRAM = ("_bucket", "_count", "_sum")
ALERT = re.compile(r"^ *- alert: (\w+)$", re.MULTILINE)


def promtool(*arguments: str, folder: Path = FOLDER) -> subprocess.CompletedProcess[str]:
    part = require_part("promtool")
    return subprocess.run(
        [str(part.path), *arguments],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin", **part.env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def documented() -> set[str]:
    return set(METRIC.findall((ROOT / "docs/metrics.md").read_text(encoding="utf-8")))


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))
        yield from expressions(panel.get("panels", []))


def metrics_of(text: str) -> set[str]:
    found = set()
    for name in METRIC.findall(text):
        part = next((suffix for suffix in PARTS_OF_A_HISTOGRAM if name.endswith(suffix)), "")
        found.add(name.removesuffix(part) if name not in documented() else name)
    return found


def test_the_rules_are_good() -> None:
    checked = promtool("check", "rules", RULES.name)
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"{len(ALERT.findall(RULES.read_text()))} rules found" in checked.stdout


def test_each_alert_fires_when_it_should_and_none_on_a_healthy_hq() -> None:
    tested = promtool("test", "rules", TESTS.name)
    assert tested.returncode == 0, tested.stdout + tested.stderr
    fired = set(re.findall(r"\bOtsCert\w+", TESTS.read_text(encoding="utf-8")))
    assert fired == set(ALERT.findall(RULES.read_text(encoding="utf-8")))


def test_the_test_of_the_rules_finds_one_that_does_not_fire(tmp_path: Path) -> None:
    shutil.copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    rules = tmp_path / RULES.name
    rules.write_text(rules.read_text().replace("otscert_devices_unserved > 0", "otscert_devices_unserved > 1"))
    assert promtool("test", "rules", TESTS.name, folder=tmp_path).returncode == 1


def test_each_alert_says_what_is_wrong_why_and_what_to_do() -> None:
    blocks = re.split(r"^ *- alert: ", RULES.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(ALERT.findall(RULES.read_text(encoding="utf-8")))
    for block in blocks:
        said = set(
            re.findall(
                r"^ +(severity|summary|reason|action): \S", block.replace("{severity", "\n severity"), re.MULTILINE
            )
        )
        assert said == {"severity", "summary", "reason", "action"}, block


@pytest.mark.parametrize("file", [RULES, TESTS, FOLDER / "dashboard.json"], ids=lambda file: file.name)
def test_every_metric_that_is_asked_for_is_documented(file: Path) -> None:
    asked = metrics_of(file.read_text(encoding="utf-8"))
    assert asked
    assert asked - documented() == set()


def test_every_metric_of_ours_is_on_the_dashboard() -> None:
    shown = metrics_of(" ".join(expressions(DASHBOARD["panels"])))
    assert {name for name in documented() if name.startswith("otscert_")} - shown == set()


def test_every_expression_of_the_dashboard_is_promql(tmp_path: Path) -> None:
    """Promtool has no command for a single expression without a server: as the expression of a rule it is parsed."""
    found = list(dict.fromkeys(expressions(DASHBOARD["panels"])))
    records = [{"record": f"panel:{number}", "expr": expression} for number, expression in enumerate(found)]
    (tmp_path / "panels.yaml").write_text(json.dumps({"groups": [{"name": "panels", "rules": records}]}))
    checked = promtool("check", "rules", "panels.yaml", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout + checked.stderr


def test_panels_of_the_dashboard_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(at["x"] + x, at["y"] + y) for x in range(at["w"]) for y in range(at["h"])}
        assert not cells & taken, panel["title"]
        assert all(x < 24 for x, _ in cells), panel["title"]
        taken |= cells
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_events_that_alerts_are_made_of_exist_and_begin_at_nought() -> None:
    events = (ROOT / "docs/events.md").read_text(encoding="utf-8")
    assert [kind for kind in WATCHED_EVENTS if f"`{kind}`" not in events] == []
    asked = re.findall(r'kind=~?"([^"]+)"', RULES.read_text(encoding="utf-8"))
    assert {kind for kinds in asked for kind in kinds.split("|")} <= set(WATCHED_EVENTS)
