"""The agent's settings: one list, read from one TOML file and the environment, checked before anything else happens.

Knows names, defaults and sentences (docs/settings.md is made from `SETTINGS`). The only reader of the environment.
Does not know what the settings are used for.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from otscert_agent.errors import ConfigError

ENVIRONMENT_PREFIX = "OTSCERT_AGENT_"
DEFAULT_FILE = Path("/etc/otscert/agent.toml")


@dataclass(frozen=True)
class Setting:
    """One setting as the documentation shows it. `secret` ones come from a file or the environment only."""

    name: str
    default: Any
    sentence: str
    kind: type = str
    secret: bool = False


REQUIRED = object()
CLOCK_NEVER, CLOCK_IF_WRONG = CLOCK_MODES = ("never", "if-wrong")

SETTINGS = (
    Setting("hq_url", REQUIRED, "Base URL of the maker's HQ, https://host[:port][/path]."),
    Setting("hq_roots", REQUIRED, "PEM file with HQ's private root; a second one is the next root.", Path),
    Setting("model", REQUIRED, "The product line, as HQ knows it."),
    Setting("firmware", "0", "Version of the firmware, reported to HQ."),
    Setting("serial", "", "Serial number of this unit; empty when it has none."),
    Setting("state_dir", "/var/lib/otscert-agent", "Folder of the box's state, keys and certificates.", Path),
    Setting("build_epoch", 0, "Unix time (s) at which the firmware was built; HQ's time is never before it.", int),
    Setting(
        "set_clock",
        CLOCK_NEVER,
        "never, or if-wrong: set the system clock (CAP_SYS_TIME) to HQ's signed time when it says what cannot be.",
    ),
    Setting("token", "", "The model's claim token; in the file use token_file instead.", secret=True),
    Setting("token_file", "", "File (mode 0600) with the model's claim token."),
    Setting(
        "factory_file", "", "File (mode 0600) with this unit's factory secret: 32 raw bytes or 43 characters of text."
    ),
    Setting(
        "factory_command",
        [],
        "Command (a list, no shell) that prints the factory secret instead, as fw_printenv -n otscert_factory.",
        list,
    ),
    Setting("addresses", ["auto"], "Addresses to publish, or 'auto': the private ones of this machine.", list),
    Setting("listen", "", "host:port of the built-in status page over HTTPS; empty for none, port 0 for a free one."),
    Setting(
        "listen_plain",
        "",
        "host:port of the page that says what the box waits for, over plain HTTP, before there is a certificate;"
        " empty for none.",
    ),
    Setting("served_at", "", "host:port where the certificate is served; empty means the built-in page."),
    Setting("reload_command", [], "Command (a list, no shell) that makes the web server load the new pair.", list),
    Setting("restart_command", [], "Command (a list, no shell) that restarts it when reloading was not enough.", list),
)


@dataclass(frozen=True)
class Settings:
    """Checked settings. `token` never appears in `repr`."""

    hq_url: str
    hq_roots: Path
    model: str
    state_dir: Path
    firmware: str = "0"
    serial: str = ""
    build_epoch: int = 0
    set_clock: str = CLOCK_NEVER
    token: str = field(default="", repr=False)
    addresses: list[str] = field(default_factory=lambda: ["auto"])
    factory_file: str = ""
    factory_command: list[str] = field(default_factory=list)
    listen: str = ""
    listen_plain: str = ""
    served_at: str = ""
    reload_command: list[str] = field(default_factory=list)
    restart_command: list[str] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return self.hq_url.rstrip("/")


def without_settings(environment: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment for another program: all of it but this agent's own settings, the claim token among them."""
    environ = os.environ if environment is None else environment
    return {name: value for name, value in environ.items() if not name.startswith(ENVIRONMENT_PREFIX)}


def load(path: Path | None, environment: Mapping[str, str] | None = None) -> Settings:
    """Read file and environment (which wins); raise `ConfigError` that says what is wrong and what to write."""
    environ = os.environ if environment is None else environment
    values = _defaults()
    if path is None and DEFAULT_FILE.exists():
        path = DEFAULT_FILE
    if path is not None:
        values.update(_from_file(path))
    values.update(_from_environment(environ))
    missing = [name for name, value in values.items() if value is REQUIRED]
    if missing:
        where = path or f"the environment ({ENVIRONMENT_PREFIX}{missing[0].upper()}), and there is no {DEFAULT_FILE}"
        raise ConfigError(f"{missing[0]} is not set in {where}; write it there, or name a file with --config")
    return _checked(values)


def split_address(text: str, name: str) -> tuple[str, int]:
    """Split host:port ([::1]:443 for IPv6); raise `ConfigError` naming the setting."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ConfigError(f"{name} = {text!r} is not host:port, for example 127.0.0.1:8443")
    return host.strip("[]"), int(port)


def _defaults() -> dict[str, Any]:
    return {
        setting.name: setting.kind(setting.default)
        if setting.kind is Path and setting.default is not REQUIRED
        else setting.default
        for setting in SETTINGS
    }


def _from_file(path: Path) -> dict[str, Any]:
    import tomllib  # noqa: PLC0415  # only a start with a file pays for it

    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not TOML: {error}") from None
    known = {setting.name: setting for setting in SETTINGS}
    for name, value in values.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown setting {name!r}{_nearest(name)}")
        if known[name].secret:
            raise ConfigError(f"{path}: write {name}_file (a file of mode 0600) instead of {name}")
        values[name] = _typed(known[name], value)
    return values


def _from_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    known = {ENVIRONMENT_PREFIX + setting.name.upper(): setting for setting in SETTINGS}
    values = {}
    for variable, text in environ.items():
        # OTSCERT_AGENT_INTERNAL_* is what one image of the process leaves for the next (`handover`).
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(ENVIRONMENT_PREFIX + "INTERNAL_"):
            continue
        if variable not in known:
            name = variable[len(ENVIRONMENT_PREFIX) :].lower()
            raise ConfigError(f"{variable}: unknown setting{_nearest(name)}")
        setting = known[variable]
        values[setting.name] = _from_text(setting, text)
    return values


def _from_text(setting: Setting, text: str) -> Any:
    if setting.kind is list:
        return text.split()
    if setting.kind is int:
        try:
            return int(text)
        except ValueError:
            raise ConfigError(f"{setting.name} = {text!r} is not a whole number") from None
    return setting.kind(text)


def _typed(setting: Setting, value: Any) -> Any:
    if setting.kind is list:
        value = [value] if value == "auto" else value
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise ConfigError(f"{setting.name} must be a list of strings")
        return value
    expected = int if setting.kind is int else str
    if not isinstance(value, expected) or isinstance(value, bool):
        raise ConfigError(f"{setting.name} must be a {'whole number' if expected is int else 'string'}")
    return setting.kind(value)


def _nearest(name: str) -> str:
    import difflib  # noqa: PLC0415  # only a typo pays for it

    near = difflib.get_close_matches(name, [setting.name for setting in SETTINGS], n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def _checked(values: dict[str, Any]) -> Settings:
    if not values["hq_url"].startswith("https://"):
        raise ConfigError(f"hq_url = {values['hq_url']!r} must begin with https://")
    if not values["model"]:
        raise ConfigError("model is empty; write the name under which HQ knows this product line")
    if values["build_epoch"] < 0:
        raise ConfigError("build_epoch must not be negative")
    if values["set_clock"] not in CLOCK_MODES:
        raise ConfigError(f"set_clock = {values['set_clock']!r} is neither {' nor '.join(CLOCK_MODES)}")
    for name in ("listen", "listen_plain", "served_at"):
        if values[name]:
            split_address(values[name], name)
    if values["factory_file"] and values["factory_command"]:
        raise ConfigError("factory_file and factory_command are both set; the secret is in one place, keep that one")
    _check_addresses(values["addresses"])
    values["token"] = values["token"] or _secret(values["token_file"])
    return Settings(**{member.name: values[member.name] for member in fields(Settings)})


def _check_addresses(addresses: list[str]) -> None:
    if addresses == ["auto"]:
        return
    import ipaddress  # noqa: PLC0415  # only explicit lists pay for it

    try:
        for address in addresses:
            ipaddress.ip_address(address)
    except ValueError as error:
        raise ConfigError(f"addresses: {error}; write IP addresses, or 'auto' alone") from None


def _secret(path: str) -> str:
    if not path:
        return ""
    try:
        if Path(path).stat().st_mode & 0o077:
            raise ConfigError(f"token_file {path} can be read by others; chmod 600 it")
        return Path(path).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigError(f"token_file {path} cannot be read: {error.strerror}") from None
