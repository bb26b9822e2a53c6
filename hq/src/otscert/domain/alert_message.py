"""How alerts read: one message for all the news of a look, the daily digest, the test. Values in, text and JSON out.

A message is the same on every channel; it is stored before it is sent, so it also reads itself back from JSON.
"""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from otscert.domain.alert_news import Change, Known, News
from otscert.domain.alert_texts import TEXTS
from otscert.domain.alerts import DAY_S, HOUR_S, MINUTE_S, Alert, Kind, Severity, plural

WIDTH = 76
MOST_ITEMS = 20
_INDENT = 16
_STATE = {Change.OPENED: "", Change.BACK: " again", Change.WORSE: " worse", Change.STILL: " still", Change.OVER: ""}


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """`event`: alerts, digest or test. `items` are for programs, `text` says all of it to people."""

    id: str
    event: str
    subject: str
    text: str
    at_s: int
    items: Sequence[Mapping[str, Any]] = ()

    def document(self) -> dict[str, Any]:
        """The JSON object that the outbox keeps and the webhook is sent."""
        return {
            "event": f"otscert.{self.event}",
            "id": self.id,
            "at": moment(self.at_s),
            "subject": self.subject,
            "text": self.text,
            "items": list(self.items),
        }

    def body(self) -> bytes:
        return json.dumps(self.document(), separators=(",", ":")).encode()

    @classmethod
    def read(cls, text: str) -> Message:
        """Read what `body` has written."""
        members = json.loads(text)
        return cls(
            id=members["id"],
            event=members["event"].removeprefix("otscert."),
            subject=members["subject"],
            text=members["text"],
            at_s=int(datetime.fromisoformat(members["at"]).timestamp()),
            items=members["items"],
        )


def moment(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def age(length_s: int) -> str:
    """A span in its largest unit, as one says it."""
    for unit_s, one in ((2 * DAY_S, "day"), (HOUR_S, "hour"), (MINUTE_S, "minute")):
        if length_s >= unit_s:
            return plural(length_s // (DAY_S if one == "day" else unit_s), one)
    return plural(max(length_s, 0), "second")


def news_message(news: Sequence[News], *, hq: str, url: str, message_id: str, now_s: int) -> Message:
    """One message for everything that is news; `hq` is the zone, `url` where boxes call."""
    ordered = sorted(news, key=lambda each: (each.change is Change.OVER, -each.known.alert.severity.weight))
    return Message(
        id=message_id,
        event="alerts",
        subject=f"[{hq}] {_subject(ordered)}",
        text="\n".join([*_blocks(ordered, now_s=now_s), *_footer(hq, url)]),
        at_s=now_s,
        items=[item(each.known, change=each.change, now_s=now_s) for each in ordered[:MOST_ITEMS]],
    )


def trial_message(*, hq: str, url: str, message_id: str, now_s: int) -> Message:
    """What `otscert alerts test` sends."""
    text = ["This is a test: somebody has run otscert alerts test.", "Nothing is wrong because of it.", ""]
    return Message(
        id=message_id,
        event="test",
        subject=f"[{hq}] test of this channel",
        text="\n".join([*text, *_footer(hq, url)]),
        at_s=now_s,
    )


def item(known: Known, *, change: Change | None, now_s: int) -> dict[str, Any]:
    """One alert for programs; `state` is open, waiting (nobody was told yet) or over."""
    alert = known.alert
    row = TEXTS[Kind(alert.kind)]
    state = "over" if known.over_s is not None else "open" if known.told_s is not None else "waiting"
    return {
        "kind": alert.kind,
        "about": alert.subject or None,
        "severity": alert.severity.value,
        "state": state,
        "change": None if change is None else change.value,
        "since": moment(alert.since_s),
        "age_s": max(0, now_s - alert.since_s),
        "over_at": None if known.over_s is None else moment(known.over_s),
        "count": alert.count,
        "what": alert.what,
        "for_example": list(alert.examples),
        "details": dict(alert.details),
        "why": row.reason,
        "still_works": row.serves,
        "do": what_to_do(alert),
    }


def what_to_do(alert: Alert) -> str:
    return TEXTS[Kind(alert.kind)].mend.format(subject=alert.subject)


def block(known: Known, *, change: Change | None, now_s: int) -> list[str]:
    """One alert as lines of at most `WIDTH` characters, the first of them not indented."""
    alert = known.alert
    if change is Change.OVER or known.over_s is not None:
        over_s = now_s if known.over_s is None else known.over_s
        lasted = age((known.well_s or over_s) - alert.since_s)
        return [*_wrapped("OVER", alert.what), *_field("lasted", f"{lasted}, since {moment(alert.since_s)}")]
    row = TEXTS[Kind(alert.kind)]
    head = alert.severity.value.upper() + ("" if change is None else _STATE[change].upper())
    lines = _wrapped(head, alert.what)
    lines += _field("since", f"{moment(alert.since_s)}, {age(now_s - alert.since_s)} ago")
    if alert.examples:
        lines += _field("for example", ", ".join(alert.examples))
    for name, text in alert.details.items():
        lines += _field(name, text)
    lines += _field("why", row.reason)
    lines += _field("still works", row.serves)
    return lines + _field("what to do", what_to_do(alert))


def fields(pairs: Iterable[tuple[str, str]]) -> list[str]:
    return [line for name, text in pairs for line in _field(name, text)]


def footer(hq: str, url: str) -> list[str]:
    return _footer(hq, url)


def severity_of(known: Iterable[Known]) -> Severity | None:
    """The worst severity of what is open; None when nothing is."""
    return max((row.alert.severity for row in known if row.open), key=lambda each: each.weight, default=None)


def _subject(news: Sequence[News]) -> str:
    first = news[0]
    head = "over" if first.change is Change.OVER else first.known.alert.severity.value
    more = f" (and {len(news) - 1} more)" if len(news) > 1 else ""
    return f"{head}{_STATE[first.change]}: {first.known.alert.what}{more}"


def _blocks(news: Sequence[News], *, now_s: int) -> list[str]:
    lines: list[str] = []
    for each in news[:MOST_ITEMS]:
        lines += [*block(each.known, change=each.change, now_s=now_s), ""]
    if len(news) > MOST_ITEMS:
        lines += [f"And {len(news) - MOST_ITEMS} more: otscert alerts shows all of them.", ""]
    return lines


def _footer(hq: str, url: str) -> list[str]:
    return ["-- ", f"HQ of {hq}, {url}", "otscert alerts shows what is wrong now; docs/alerts.md explains each kind."]


def _wrapped(head: str, sentence: str) -> list[str]:
    return textwrap.wrap(
        f"{head}: {sentence}", WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )


def _field(name: str, text: str) -> list[str]:
    first = f"  {name + ':':<{_INDENT - 2}}"
    first = first if first.endswith(" ") else f"{first} "
    wrapped = textwrap.wrap(
        text,
        WIDTH,
        initial_indent=first,
        subsequent_indent=" " * _INDENT,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapped or [first.rstrip()]
