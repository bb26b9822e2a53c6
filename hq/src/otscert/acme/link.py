"""Link headers (RFC 8288) as far as ACME uses them: `alternate` chains, `next` pages, `up` and `index`."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urljoin

MAX_LINKS = 64
_LINK = re.compile(r"<([^<>]*)>([^<]*)")
_RELATION = re.compile(r";\s*rel\s*=\s*(?:\"([^\"]*)\"|([^\s;,\"]+))", re.IGNORECASE)


def targets(headers: Iterable[str], relation: str, base: str) -> tuple[str, ...]:
    """Return the absolute URLs that `headers` link to with `relation`, in order; what cannot be read is left out."""
    found: list[str] = []
    for header in headers:
        for target, parameters in _LINK.findall(header):
            match = _RELATION.search(parameters)
            relations = (match[1] or match[2] or "").lower().split() if match else []
            if relation in relations and len(found) < MAX_LINKS:
                found.extend(_absolute(base, target))
    return tuple(found)


def _absolute(base: str, target: str) -> list[str]:
    try:
        return [urljoin(base, target)]
    except ValueError:
        return []
