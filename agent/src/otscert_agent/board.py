"""This board, as it says what it is: hardware fingerprint and factory secret, looked at afresh each time.

Does not judge (`binding` does) and does not keep anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from otscert_agent import hardware
from otscert_agent.factory_secret import FactorySecret

if TYPE_CHECKING:  # cryptography is loaded when the secret is, not while the box only serves
    from otscert_agent.wire.factory import Factory


class Board:
    """The board under this process. `serial` is the configured one."""

    def __init__(self, serial: str, secret: FactorySecret) -> None:
        self._serial = serial
        self._secret = secret

    def fingerprint(self) -> str:
        return hardware.fingerprint(hardware.identifiers(self._serial))

    def factory(self) -> Factory | None:
        """The unit's factory secret, if it has one; raise `ConfigError` when it cannot be read."""
        return self._secret.load()

    def unit(self) -> str | None:
        """Thumbprint of the factory key, if there is one; raises as `factory`."""
        factory = self.factory()
        return factory.public.thumbprint() if factory else None
