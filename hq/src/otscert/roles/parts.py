"""What every role of a process works with. Values and ports; starts nothing."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field

from otscert.config import Config
from otscert.counting import Counts
from otscert.pki.files import PkiFolder
from otscert.pki.seal import Seal
from otscert.process import CannotStart
from otscert.rereading import Live
from otscert.roles.role import Role
from otscert.service.context import ALONE, Hq
from otscert.service.ports import Signals, ZonePublisher
from otscert.store.opening import Store

Works = list[Callable[[], Coroutine[None, None, None]]]
"""What runs beside the listeners until the process ends."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """`zone` is the zone as the use cases change it; who answers for it is the role dns, here or elsewhere."""

    config: Config
    roles: frozenset[Role]
    pki: PkiFolder
    seal: Seal
    store: Store
    hq: Hq
    live: Live
    signals: Signals
    zone: ZonePublisher
    counts: Counts = field(default_factory=Counts)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may work on the same store."""
        return self.hq.process != ALONE

    @property
    def issuers(self) -> tuple[str, ...]:
        """The names of all that are configured."""
        return tuple(issuer.name for issuer in self.config.issuers)


def port_problem(what: str, setting: str, host: str, port: int, error: OSError) -> CannotStart:
    """Why a listener cannot listen, and what to do."""
    hint = (
        "ports below 1024 need the capability CAP_NET_BIND_SERVICE (setcap, or AmbientCapabilities in systemd)"
        if isinstance(error, PermissionError)
        else f"see who has it with: ss -lntup 'sport = :{port}'"
    )
    return CannotStart(
        f"{what} cannot listen at {host}:{port} ({error.strerror or error}): {hint}, or change {setting}"
    )
