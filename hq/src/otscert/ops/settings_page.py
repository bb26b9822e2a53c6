"""Makes docs/settings.md from the lists that HQ and the agent read their settings by. Writes nothing itself.

The agent's list is handed in by whoever calls: HQ imports nothing of the agent but its wire format.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from otscert.settings import REQUIRED, SETTINGS, Kind, Setting

_HEAD = """# Settings

This page is made from the lists in `otscert/settings.py` and `otscert_agent/config.py`
(`.venv/bin/python docs/make_settings.py`); a test fails when it differs from them.

## HQ

One TOML file: `--config FILE`, else `$OTSCERT_CONFIG`, else `./otscert.toml`, else `/etc/otscert/otscert.toml`.
`otscert init` writes one to start from, `otscert config check` looks it over. A dot in a name is a TOML table:
`zone.origin` is `origin` in `[zone]`. `NAME` stands for the name that you give to an issuer or a model, as in
`[model.router]`. The environment overrides the file: the variable is in the last column, lists are separated by
commas. What is not in this list is an error. Paths are relative to the file.

A secret is never written into the file. Its value comes from the variable, or from a file of mode 0600 that
`..._file` (or the variable with `_FILE`) names.
"""
_AGENT_HEAD = """## Agent

One TOML file (`otscert-agent --config FILE`); the environment overrides it. Lists in a variable are separated by
spaces.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One setting as the page shows it."""

    name: str
    kind: str
    default: str
    sentence: str
    variable: str


def settings_page(agent: Iterable[Row]) -> str:
    """Return the whole page."""
    return f"{_HEAD}\n{_table(map(_row, SETTINGS))}\n{_AGENT_HEAD}\n{_table(agent)}"


def default_text(value: object) -> str:
    """Write a default as TOML has it; an empty one is shown as nothing."""
    if value in ("", [], {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, list):
        return "`[" + ", ".join(f'"{item}"' for item in value) + "]`"
    return f'`"{value}"`' if isinstance(value, str) else f"`{value}`"


def _row(setting: Setting) -> Row:
    name = setting.name.replace("*", "NAME")
    secret = setting.kind is Kind.SECRET
    return Row(
        name=f"{name}_file" if secret else name,
        kind="path of a secret" if secret else setting.kind.value,
        default="required" if setting.default is REQUIRED else default_text(setting.default),
        sentence=setting.sentence,
        variable=""
        if setting.kind is Kind.ADDRESSES
        else setting.environment.replace("*", "NAME") + (", with or without `_FILE`" if secret else ""),
    )


def _table(rows: Iterable[Row]) -> str:
    lines = ["| Setting | Kind | Default | What it is | Variable |", "|---|---|---|---|---|"]
    for row in rows:
        variable, _, rest = row.variable.partition(",")
        shown = f"`{variable}`{',' + rest if rest else ''}" if variable else ""
        lines.append(f"| `{row.name}` | {row.kind} | {row.default} | {row.sentence} | {shown} |")
    return "\n".join(lines) + "\n"
