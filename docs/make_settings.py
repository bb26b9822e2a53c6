# ruff: noqa: INP001 - a program beside the page that it writes
"""Writes docs/settings.md: HQ's settings and the agent's, from the lists that the programs themselves read."""

from __future__ import annotations

from pathlib import Path

from otscert.ops.settings_page import Row, default_text, settings_page
from otscert_agent import config as agent_config

PAGE = Path(__file__).parent / "settings.md"
_KINDS = {"str": "text", "int": "whole number", "list": "list of texts", "Path": "path"}


def page() -> str:
    """Return what docs/settings.md should hold."""
    return settings_page(
        Row(
            name=setting.name,
            kind="secret, from the variable only" if setting.secret else _KINDS[setting.kind.__name__],
            default="required" if setting.default is agent_config.REQUIRED else default_text(setting.default),
            sentence=setting.sentence,
            variable=agent_config.ENVIRONMENT_PREFIX + setting.name.upper(),
        )
        for setting in agent_config.SETTINGS
    )


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
