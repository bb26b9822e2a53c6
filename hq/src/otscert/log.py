"""Structured logs: an event name and fields, as a line for people or as JSON for machines.

Modules log with the standard library: `log.info("order.issued", extra={...})`. Field names that could hold a secret are
refused here, so that a slip shows as a marker and not as a leak.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
_FORBIDDEN = ("token", "secret", "key", "csr", "seed", "passphrase", "password", "hmac")


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """The fields that a call added, forbidden ones blacked out."""
    return {
        name: "[not logged]" if any(word in name.lower() for word in _FORBIDDEN) else value
        for name, value in record.__dict__.items()
        if name not in _STANDARD
    }


class JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


class TextLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        fields = " ".join(f"{name}={value}" for name, value in fields_of(record).items())
        line = f"{at} {record.levelname.lower():7} {record.getMessage()} {fields}".rstrip()
        return f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line


def configure(*, level: str, style: str) -> None:
    """Send everything to stderr. Libraries speak from `warning` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines() if style == "json" else TextLines())
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("otscert").setLevel(level.upper())
