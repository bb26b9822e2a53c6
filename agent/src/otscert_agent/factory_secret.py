"""Where this unit's factory secret comes from: a file, or the output of a command; read once, when it is first needed.

Knows the two forms of the secret and what makes a file unfit. What is derived from it is `wire.factory`. Neither the
secret nor what the command printed is ever part of a message.
"""

from __future__ import annotations

import os
import select
import stat
import time
from typing import IO, TYPE_CHECKING

from otscert_agent.config import Settings, without_settings
from otscert_agent.errors import ConfigError
from otscert_agent.wire.errors import WireError

if TYPE_CHECKING:  # cryptography is loaded when the secret is, not while the box only serves
    from otscert_agent.wire.factory import Factory

RAW_BYTES = 32
TEXT_CHARACTERS = 43
COMMAND_TIMEOUT_S = 10.0
_LONGEST = 1024  # more is not read: a wrong device name must not fill the memory


class FactorySecret:
    """The secret that the settings name, or none. `load` may be called often."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._factory: Factory | None = None

    @property
    def configured(self) -> bool:
        return bool(self._settings.factory_file or self._settings.factory_command)

    def load(self) -> Factory | None:
        """The unit's secret, None when the settings name none; raise `ConfigError` when it cannot be used."""
        if self._factory is None and self.configured:
            if self._settings.factory_file:
                data, where = _from_file(self._settings.factory_file)
            else:
                data, where = _from_command(self._settings.factory_command)
            self._factory = _parse(data, where)
        return self._factory


def _parse(data: bytes, where: str) -> Factory:
    from otscert_agent.wire.factory import Factory  # noqa: PLC0415  # see above

    try:
        if len(data) == RAW_BYTES:
            return Factory.from_bytes(data)
        text = data.strip()
        if len(text) == TEXT_CHARACTERS:
            return Factory.from_text(text.decode("ascii"))
    except (WireError, UnicodeDecodeError) as error:
        why = str(error) if isinstance(error, WireError) else "it is not ASCII"
        raise ConfigError(f"{where} holds no factory secret: {why}; stamp this unit again") from None
    raise ConfigError(
        f"{where} holds {len(data)} bytes; a factory secret is {RAW_BYTES} raw bytes or one line of"
        f" {TEXT_CHARACTERS} characters"
    )


def _from_file(path: str) -> tuple[bytes, str]:
    where = f"factory_file {path}"
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        try:
            status = os.fstat(descriptor)  # of what was opened: the name may point elsewhere by then
            mode = status.st_mode
            if stat.S_ISDIR(mode) or stat.S_ISFIFO(mode):
                raise ConfigError(f"{where} is no file; name the file or the device that holds the factory secret")
            if mode & 0o077:
                raise ConfigError(f"{where} can be read by others; chmod 600 it")
            if status.st_uid not in {0, os.geteuid()}:
                raise ConfigError(f"{where} belongs to another user, who can read and change it; chown it")
            return os.read(descriptor, _LONGEST), where
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ConfigError(f"{where} cannot be read: {error.strerror}") from None


def _from_command(command: list[str]) -> tuple[bytes, str]:
    import subprocess  # noqa: PLC0415  # only a box that keeps its secret so pays for it

    where = f"what factory_command ({command[0]}) printed"
    try:
        process = subprocess.Popen(  # noqa: S603  # the maker's own configuration, a list, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # a tool may repeat the value in its complaint
            env=without_settings(),
        )
    except OSError as error:
        raise ConfigError(f"factory_command ({command[0]}) cannot be started: {error.strerror}") from None
    with process:
        try:
            data = _first_bytes(process.stdout, time.monotonic() + COMMAND_TIMEOUT_S)
            status = process.wait(COMMAND_TIMEOUT_S)
        except (TimeoutError, subprocess.TimeoutExpired):
            raise ConfigError(f"factory_command ({command[0]}) did not end within {COMMAND_TIMEOUT_S:.0f} s") from None
        finally:
            process.kill()
    if len(data) > _LONGEST:
        raise ConfigError(f"{where} is longer than a factory secret can be")
    if status:
        raise ConfigError(
            f"factory_command ({command[0]}) ended with status {status}: this unit has no factory secret"
            " there; stamp it, or remove the setting"
        )
    return data, where


def _first_bytes(pipe: IO[bytes] | None, ends: float) -> bytes:
    """What comes out of the pipe until it ends, one byte more than `_LONGEST` at most; raise `TimeoutError`."""
    assert pipe is not None  # noqa: S101  # it was asked for
    data = b""
    with pipe:
        while len(data) <= _LONGEST:
            ready, _, _ = select.select([pipe], [], [], max(ends - time.monotonic(), 0.0))
            if not ready:
                raise TimeoutError
            more = os.read(pipe.fileno(), _LONGEST + 1 - len(data))
            if not more:
                break
            data += more
    return data
