"""The RenewalInfo object (RFC 9773 section 4.2): when the CA would like a certificate to be renewed, and why.

It reads what was sent and bounds it; whether the window makes sense for a certificate is `domain.renewal`'s question.
"""

from __future__ import annotations

from dataclasses import dataclass

from otscert.acme import members

MAX_URL_CHARS = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class RenewalInfo:
    """`start_s` is before `end_s`, in Unix seconds; `explanation_url` is for people."""

    start_s: int
    end_s: int
    explanation_url: str | None = None

    @classmethod
    def parse(cls, document: members.JsonObject) -> RenewalInfo | None:
        """Read the object; None without a window, or with one that does not end after its start."""
        window = members.mapping(document.get("suggestedWindow"))
        start, end = members.moment(window, "start"), members.moment(window, "end")
        if start is None or end is None or int(end.timestamp()) <= int(start.timestamp()):
            return None
        return cls(
            start_s=int(start.timestamp()),
            end_s=int(end.timestamp()),
            explanation_url=members.web_page(members.text(document, "explanationURL"), most_chars=MAX_URL_CHARS),
        )


def renewal_info_url(renewal_info: str, ari_id: str) -> str:
    """Return where to ask: "the renewalInfo URL, ... a '/' ... and the unique identifier" (RFC 9773 section 4.1)."""
    return f"{renewal_info.rstrip('/')}/{ari_id}"
