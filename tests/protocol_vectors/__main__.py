"""Writes docs/protocol-vectors.json and the examples in docs/protocol.md anew: `python -m tests.protocol_vectors`."""

from __future__ import annotations

from tests.protocol_vectors import files


def main() -> None:
    made = files.vectors()
    files.VECTORS.write_text(files.as_text(made), encoding="utf-8")
    text = files.PROTOCOL.read_text(encoding="utf-8")
    files.PROTOCOL.write_text(files.with_examples(text, made), encoding="utf-8")


if __name__ == "__main__":
    main()
