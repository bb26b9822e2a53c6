"""The newest certificate of each identity, beside the certificates: what is due is found without the old ones.

Written in the transactions that write certificates; read by `statistics` alone.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from otscert.domain.renewal import Window, judge_renewal

Execute = Callable[..., Any]


def enter(sql: Execute, device_id: str, *, issued_at_s: int, not_before_s: int, not_after_s: int) -> None:
    """The device got a certificate; one that was issued earlier than the present newest changes nothing."""
    due_s = judge_renewal(not_before_s=not_before_s, not_after_s=not_after_s, now_s=issued_at_s).at_s
    late_s = not_after_s - (not_after_s - due_s) // 2
    sql(
        "INSERT INTO newest_certificate (device_id, issued_at_s, due_s, late_s, not_after_s) VALUES (?, ?, ?, ?, ?)"
        " ON CONFLICT (device_id) DO UPDATE SET issued_at_s = excluded.issued_at_s, due_s = excluded.due_s,"
        " late_s = excluded.late_s, not_after_s = excluded.not_after_s"
        " WHERE excluded.issued_at_s >= newest_certificate.issued_at_s",
        (device_id, issued_at_s, due_s, late_s, not_after_s),
    )


def told(
    sql: Execute, device_id: str, window: Window, *, issued_at_s: int, not_before_s: int, not_after_s: int
) -> None:
    """The CA has named a window for a certificate; when that is not the newest one, nothing changes."""
    due = judge_renewal(not_before_s=not_before_s, not_after_s=not_after_s, now_s=window.told_s, window=window)
    sql(
        "UPDATE newest_certificate SET due_s = ? WHERE device_id = ? AND issued_at_s = ? AND not_after_s = ?",
        (due.at_s, device_id, issued_at_s, not_after_s),
    )


def leave(sql: Execute, device_id: str) -> None:
    """The device's identity is over, and so are its certificates."""
    sql("DELETE FROM newest_certificate WHERE device_id = ?", (device_id,))
