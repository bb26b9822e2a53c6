"""Reads members out of JSON that a CA sent: a member that is absent or of another type is simply not there.

RFC 8555 section 7.1: "Clients ... MUST ignore any fields in the object that they do not recognize". We also do not
fall over one that we do know and that has a wrong type; what is required is asked for where it is used. This file
does not know what any member means.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from urllib.parse import urlsplit

import msgspec

JsonObject = Mapping[str, object]
_NOTHING: JsonObject = {}


def json_object(body: bytes) -> JsonObject | None:
    """Return the JSON object that `body` is, None when it is anything else (HTML, a list, cut off)."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def mapping(value: object) -> JsonObject:
    return value if isinstance(value, dict) else _NOTHING


def text(document: JsonObject, name: str) -> str | None:
    value = document.get(name)
    return value if isinstance(value, str) else None


def flag(document: JsonObject, name: str) -> bool:
    return document.get(name) is True


def whole_number(document: JsonObject, name: str) -> int | None:
    value = document.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def items(document: JsonObject, name: str) -> list[object]:
    value = document.get(name)
    return value if isinstance(value, list) else []


def texts(document: JsonObject, name: str) -> tuple[str, ...]:
    return tuple(item for item in items(document, name) if isinstance(item, str))


def moment(document: JsonObject, name: str) -> datetime | None:
    """Return a RFC 3339 time in UTC; one without an offset, which RFC 3339 does not allow, is taken as UTC."""
    value = text(document, name)
    if value is None:
        return None
    try:
        parsed = datetime.fromisoformat(value)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def web_page(url: str | None, *, most_chars: int) -> str | None:
    """Return `url` if it is a web page's, and safe to store and to show to a person on any terminal."""
    if url is None or len(url) > most_chars or not url.isascii() or not url.isprintable() or " " in url:
        return None
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    return url if parts.scheme in {"http", "https"} and parts.netloc else None
