"""Fixtures that tests of both distributions may use."""

from __future__ import annotations

pytest_plugins = ["tests.harness.longest_first", "tests.harness.postgresql"]
