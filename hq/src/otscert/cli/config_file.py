"""Changes the configuration file as a careful person would.

Comments stay, and the new text takes the old one's place in one step, with its mode and owner. Whether the text can be
used is `config`'s to say, before.
"""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from otscert.cli.errors import CommandFailed
from otscert.config import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfigFile:
    """The file as it was read; `path` is where it really is, behind links."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> ConfigFile:
        """Raise `ConfigError` when it cannot be read."""
        try:
            real = path.resolve(strict=True)
            return cls(path=real, text=real.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise ConfigError(f"{path} does not exist; otscert init writes one") from None
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not TOML: it is not UTF-8 text ({error.reason})") from error

    def replace(self, text: str) -> None:
        """Put `text` in the file's place, wholly or not at all; raise `CommandFailed`."""
        fresh = self.path.with_name(f".{self.path.name}.new-{os.getpid()}")
        try:
            if self.path.read_text(encoding="utf-8") != self.text:
                raise CommandFailed(
                    f"{self.path} was changed by somebody else meanwhile: nothing was written, try again"
                )
            _write_like(self.path, fresh, text.encode())
            fresh.rename(self.path)
            _sync_folder(self.path.parent)
        except OSError as error:
            raise CommandFailed(
                f"{self.path} cannot be replaced ({error.strerror}): it is as it was; run this as the user that owns it"
            ) from error
        finally:
            fresh.unlink(missing_ok=True)


def with_model(text: str, model: str, values: Mapping[str, Any]) -> str:
    """The text with a table for a new model at its end; raise `CommandFailed` when it has that model."""
    if model in _models(text):
        raise CommandFailed(f"there is a model {model} already: otscert model set {model} changes it")
    lines = [f"{name} = {tomlkit.item(value).as_string()}\n" for name, value in values.items()]
    return f"{text.rstrip()}\n\n[model.{model}]\n{''.join(lines)}"


def with_changes(text: str, model: str, values: Mapping[str, Any]) -> str:
    """The text with changed settings of a model; None takes one out. Raise `CommandFailed` when it has no such one."""
    before = _models(text)
    if model not in before:
        known = ", ".join(sorted(before)) or "none"
        raise CommandFailed(f"the file has no model {model!r}, but {known}: otscert model add {model} adds it")
    try:
        document: Any = tomlkit.parse(text)
        table = document["model"][model]
        for name, value in values.items():
            if value is None:
                table.pop(name, None)
            else:
                table[name] = value
        changed = str(tomlkit.dumps(document))
    except (TOMLKitError, KeyError, TypeError) as error:
        raise _by_hand(model) from error
    wanted = {**before[model], **values}
    if _models(changed) != before | {model: {name: value for name, value in wanted.items() if value is not None}}:
        raise _by_hand(model)  # a file that is laid out in a way that the library does not understand
    return changed


def _models(text: str) -> dict[str, dict[str, Any]]:
    try:
        models = tomllib.loads(text).get("model", {})
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"the configuration is not TOML: {error}") from error
    return dict(models) if isinstance(models, dict) else {}


def _by_hand(model: str) -> CommandFailed:
    return CommandFailed(f"model {model} is written in a way that cannot be changed here: edit the file by hand")


def _write_like(old: Path, fresh: Path, data: bytes) -> None:
    """Write a file with the mode and the owner of another one."""
    like = old.stat()
    descriptor = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        if (like.st_uid, like.st_gid) != (os.geteuid(), os.getegid()):
            os.fchown(file.fileno(), like.st_uid, like.st_gid)
        os.fchmod(file.fileno(), stat.S_IMODE(like.st_mode))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_secret(path: Path, secret: str, *, owner_of: Path) -> bool:
    """Write a secret into a new file, mode 0600, that HQ's user can read; False when the file is there already."""
    try:
        owner = owner_of.stat()
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    except OSError as error:
        raise CommandFailed(
            f"{path} cannot be written ({error.strerror}): run this as the user that runs HQ"
        ) from error
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        if os.geteuid() == 0:
            os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
        file.write(f"{secret}\n")
        file.flush()
        os.fsync(file.fileno())
    return True
