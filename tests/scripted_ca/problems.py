"""Problem documents as the CA sends them (RFC 8555 section 6.7): an exception inside, an answer outside."""

from __future__ import annotations

from typing import Any

import msgspec

from tests.scripted_ca.http import Response

URN = "urn:ietf:params:acme:error:"


class AcmeProblem(Exception):
    """Ends the handling of a request with a problem document."""

    def __init__(
        self, kind: str, detail: str, status: int = 400, *, headers: tuple[tuple[str, str], ...] = (), **members: Any
    ) -> None:
        super().__init__(f"{kind}: {detail}")
        self.headers = headers
        self.document = problem(kind, detail, status, **members)
        self.status = status


def problem(kind: str, detail: str, status: int, **members: Any) -> dict[str, Any]:
    return {"type": URN + kind, "detail": detail, "status": status, **members}


def problem_response(document: dict[str, Any], status: int) -> Response:
    headers = [("Content-Type", "application/problem+json")]
    return Response(status=status, headers=headers, body=msgspec.json.encode(document))
