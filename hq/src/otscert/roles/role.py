"""The roles that a process can have. Knows their names only."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Role(StrEnum):
    API = "api"  # answers boxes
    WORKER = "worker"  # obtains certificates, and does what is done once for all processes
    DNS = "dns"  # answers the zone


ALL = frozenset(Role)


def read_roles(text: str) -> frozenset[Role]:
    """The roles in a text such as `api,dns`; raises `ValueError` with a sentence."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    unknown = [name for name in names if name not in set(Role)]
    if unknown or not names:
        known = ", ".join(Role)
        raise ValueError(f"{', '.join(unknown) or 'nothing'} is not a role: the roles are {known}")
    return frozenset(Role(name) for name in names)


def written(roles: Iterable[Role]) -> str:
    """Roles as they are shown and stored: in the order of their list, separated by a space."""
    wanted = set(roles)
    return " ".join(role for role in Role if role in wanted)
