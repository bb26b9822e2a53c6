"""`otscert plan` needs nothing but its options."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest


def plan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTSCERT_")}
    return subprocess.run(
        [sys.executable, "-m", "otscert", "plan", *arguments],
        cwd=folder,
        env=environment,
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_a_plan_needs_no_hq_and_draws_what_it_says(tmp_path: Path) -> None:
    done = plan(tmp_path, "--boxes", "2000", "--per-day", "500", "--svg", "launch.svg")
    assert done.returncode == 0, done.stderr
    assert "bound by" in done.stdout
    assert "certificates-per-domain" in done.stdout
    assert "zone on the Public Suffix List" in done.stdout
    assert (tmp_path / "launch.svg").read_text(encoding="utf-8").startswith("<svg ")
    assert list(tmp_path.iterdir()) == [tmp_path / "launch.svg"]


def test_a_script_gets_one_document(tmp_path: Path) -> None:
    done = plan(
        tmp_path, "--boxes", "2000", "--all-at-once", "--public-suffix", "--orders-per-account", "1000/7d", "--json"
    )
    told = json.loads(done.stdout)
    assert told["limits"]["orders-per-account"] == "1000/7d"
    assert told["last_certificate_s"] == pytest.approx(7 * 86_400, rel=0.02)
    assert told["bound_by"] == {"orders-per-account": 1.0}
    assert told["queue"][0]["waiting"] > 900
    assert told["variants"][0]["change"].startswith("orders-per-account")
    assert told["warnings"] == []


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--boxes", "10"), 2, "--per-day N or --all-at-once"),
        (("--boxes", "10", "--per-day", "1", "--all-at-once"), 2, "--per-day N or --all-at-once"),
        (("--boxes", "10", "--per-day", "1", "--limits", "nobody"), 2, "letsencrypt"),
        (("--boxes", "10", "--per-day", "1", "--orders-per-account", "lots"), 2, "300/3h"),
        (("--boxes", "0", "--per-day", "1"), 2, "--boxes"),
        (("--boxes", "10", "--per-day", "1", "--svg", "missing/launch.svg"), 1, "cannot be written"),
        (("--boxes", "10", "--per-day", "1", "--config", "missing.toml"), 1, "missing.toml"),
    ],
)
def test_what_cannot_be_planned_is_said(tmp_path: Path, arguments: tuple[str, ...], status: int, words: str) -> None:
    done = plan(tmp_path, *arguments)
    assert done.returncode == status
    assert words in " ".join(done.stderr.replace("│", " ").split())
    assert "Traceback" not in done.stderr


def test_overloaded_limits_are_a_warning(tmp_path: Path) -> None:
    done = plan(tmp_path, "--boxes", "200000", "--per-day", "2000", "--public-suffix", "--renewals", "new")
    assert "certificates would lapse" in done.stdout
