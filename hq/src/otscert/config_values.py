"""What the file and the environment say, as one flat table of dotted names; the environment wins.

Knows names and spellings. What a value means, and whether it may be, is `config`'s.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from otscert.settings import SETTINGS, Kind, Setting

# The command line's own, the agent's, and what the project's tests say to themselves.
_NOT_OURS = ("OTSCERT_CONFIG", "OTSCERT_AGENT_", "OTSCERT_TEST_")


class ConfigError(Exception):
    """The configuration cannot be used; the text says which setting, why, and what it should be."""


def flatten(document: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A TOML document as dotted names; raise `ConfigError` for a name that is not a setting, or a secret in it."""
    flat: dict[str, Any] = {}
    for key, value in document.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and known(name) is None:
            flat.update(flatten(value, f"{name}."))
        else:
            flat[name] = value
    for name in flat:
        setting = known(name)
        if setting is None:
            raise ConfigError(f"{name} is not a setting.{_nearest(name)}")
        if setting.kind is Kind.SECRET and not name.endswith("_file"):
            raise ConfigError(f"{name} is a secret: keep it in a file of mode 0600 and set {name}_file")
    return flat


def known(name: str) -> Setting | None:
    """The setting that a dotted key means, secrets by file included."""
    parts = name.split(".")
    if len(parts) == 3:
        parts[1] = "*"
    pattern = ".".join(parts)
    for setting in SETTINGS:
        if setting.name == pattern or (setting.kind is Kind.SECRET and f"{setting.name}_file" == pattern):
            return setting
    return None


def _nearest(name: str) -> str:
    parts = name.split(".")
    middle = parts[1] if len(parts) == 3 else "NAME"
    names = [setting.name.replace("*", middle) for setting in SETTINGS]
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else " docs/settings.md lists all of them."


def apply_environment(values: dict[str, Any], environment: Mapping[str, str]) -> None:
    """Let `OTSCERT_...` variables override `values`; raise `ConfigError` for one that is not a setting."""
    named = {name.split(".")[1] for name in values if name.count(".") == 2}
    for variable, text in environment.items():
        if not variable.startswith("OTSCERT_") or variable.startswith(_NOT_OURS):
            continue
        name = _name_of(variable, named)
        if name is None:
            raise ConfigError(
                f"the environment variable {variable} is not a setting.{_nearest_variable(variable, named)}"
            )
        setting = known(name)
        values[name] = text if setting is None or name.endswith("_file") else from_text(setting, name, text)
        if setting is not None and setting.kind is Kind.SECRET and not name.endswith("_file"):
            values.pop(f"{name}_file", None)  # the environment wins over the file that the configuration names


def _nearest_variable(variable: str, named: set[str]) -> str:
    variables = [
        setting.environment.replace("*", middle.upper().replace("-", "_"))
        for setting in SETTINGS
        for middle in (named if "*" in setting.name else {""})
    ]
    near = difflib.get_close_matches(variable, variables, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else " docs/settings.md lists all of them."


def _name_of(variable: str, named: set[str]) -> str | None:
    for setting in SETTINGS:
        for middle in named if "*" in setting.name else {""}:
            plain = setting.environment.replace("*", middle.upper().replace("-", "_"))
            name = setting.name.replace("*", middle)
            if variable == plain:
                return name
            if setting.kind is Kind.SECRET and variable == f"{plain}_FILE":
                return f"{name}_file"
    return None


def from_text(setting: Setting, name: str, text: str) -> Any:
    """A setting's value from the text of a variable or a command line; raise `ConfigError`."""
    if setting.kind is Kind.NUMBER:
        if not text.isascii() or not text.isdigit():
            raise ConfigError(f"{name} is {text!r}, but must be a whole number")
        return int(text)
    if setting.kind is Kind.SWITCH:
        if text not in {"true", "false"}:
            raise ConfigError(f"{name} is {text!r}, but must be true or false")
        return text == "true"
    if setting.kind is Kind.LIST:
        return [item.strip() for item in text.split(",") if item.strip()]
    if setting.kind is Kind.ADDRESSES:
        raise ConfigError(f"{name} can only be set in the file")
    return text
