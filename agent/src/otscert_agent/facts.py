"""The installed pair as the rest of the box sees it: file names and facts, readable without any cryptography.

Does not check anything: `keys` did before the pair was installed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from otscert_agent.disk import Disk, read_own
from otscert_agent.errors import StateError

CHAIN_FILE = "chain.pem"
KEY_FILE = "key.pem"
FACTS_FILE = "facts.json"


@dataclass(frozen=True)
class CertificateFacts:
    """What the status page and the served check need to know about an installed certificate."""

    names: list[str]
    not_before: int  # Unix seconds
    not_after: int
    leaf_sha256: str  # hex


def installed_facts(disk: Disk) -> CertificateFacts:
    """The facts of the current pair; raise `StateError` when there is none that can be read."""
    folder = disk.current_pair()
    if folder is None:
        raise StateError(f"no certificate is installed in {disk.root}")
    try:
        return _facts(folder)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise StateError(f"{folder / FACTS_FILE} cannot be read: {error}") from None


def newest_is_current(disk: Disk) -> bool:
    """Whether the pair in use is the newest one that is complete; after a way back it is not."""
    current = disk.current_pair()
    if current is None:
        return False
    return not any(_complete(folder) for folder in disk.versions() if folder.name > current.name)


def _complete(folder: Path) -> bool:
    try:
        _facts(folder)  # the file that is written last
    except (OSError, ValueError, TypeError, RecursionError, StateError):
        return False
    return True


def _facts(folder: Path) -> CertificateFacts:
    facts = CertificateFacts(**json.loads(read_own(folder / FACTS_FILE)))
    names: object = facts.names
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(text, str) for text in [*names, facts.leaf_sha256])
    ):
        raise ValueError("its names are none")
    if not all(type(seconds) is int and abs(seconds) < 2**40 for seconds in (facts.not_before, facts.not_after)):
        raise ValueError("its dates are none")
    return facts
