"""The identifier of RFC 8555 section 7.1.3, the thing that a certificate names; it does not judge names."""

from __future__ import annotations

from dataclasses import dataclass

from otscert.acme import members


@dataclass(frozen=True, slots=True, kw_only=True)
class Identifier:
    """`type` is "dns" for us; others ("ip", RFC 8738) are kept as the CA sent them."""

    type: str
    value: str

    @classmethod
    def parse(cls, value: object) -> Identifier | None:
        """Return the identifier, None when `value` lacks type or value."""
        document = members.mapping(value)
        kind, name = members.text(document, "type"), members.text(document, "value")
        return None if kind is None or name is None else cls(type=kind, value=name)

    @classmethod
    def parse_all(cls, values: list[object]) -> tuple[Identifier, ...]:
        return tuple(identifier for identifier in map(cls.parse, values) if identifier is not None)
