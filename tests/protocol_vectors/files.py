"""What the two files in docs/ must hold: the vectors, and the examples of docs/protocol.md taken out of them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from tests.protocol_vectors import answers, curve, device_keys, encodings, factory, first_boot, signing

DOCS = Path(__file__).resolve().parents[2] / "docs"
VECTORS = DOCS / "protocol-vectors.json"
PROTOCOL = DOCS / "protocol.md"
# <!-- example: NAME of a message, MEMBER of it --> and the JSON block that follows.
_EXAMPLE = re.compile(r"(<!-- example: (?P<name>[^|]+?) \| (?P<member>\w+) -->\n)```json\n(?:(?!```).*\n)*```")
_LONGEST_SHOWN = 90

ABOUT = [
    "Test vectors of OTS Cert's device protocol v1; docs/protocol.md says what they mean.",
    "Members that end in _hex are hexadecimal; in _s seconds; everything else is the literal text.",
    "'rule' is why something is refused, in the words of our implementation: only the refusal is normative.",
    "Made by: python -m tests.protocol_vectors",
]


def vectors() -> dict[str, Any]:
    return {
        "about": ABOUT,
        "protocol": 1,
        "base64url": encodings.base64url(),
        "signatures": signing.signatures(),
        "bad_envelopes": signing.envelopes(),
        "keys": device_keys.keys(),
        "curve": curve.curve(),
        "derivations": encodings.derivations(),
        "factory": factory.factory(),
        "extractor": curve.extractor(),
        "generations": encodings.generations(),
        "answers": answers.answers(),
        "first_boot": first_boot.first_boot(),
    }


def as_text(made: dict[str, Any]) -> str:
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def with_examples(text: str, made: dict[str, Any]) -> str:
    """The text of docs/protocol.md with every example block as the recorded first boot has it."""
    by_name = {message["name"]: message for message in made["first_boot"]["messages"]}

    def block(found: re.Match[str]) -> str:
        shown = _shortened(by_name[found["name"]][found["member"]])
        return f"{found[1]}```json\n{json.dumps(shown, indent=2)}\n```"

    return _EXAMPLE.sub(block, text)


def _shortened(value: Any) -> Any:
    """Long texts (certificates, CSRs) are cut, visibly."""
    if isinstance(value, dict):
        return {name: _shortened(member) for name, member in value.items()}
    if isinstance(value, list):
        return [_shortened(member) for member in value]
    if isinstance(value, str) and len(value) > _LONGEST_SHOWN:
        return f"{value[:40]}...({len(value)} characters)"
    return value
