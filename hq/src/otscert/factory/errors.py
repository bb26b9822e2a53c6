"""What the factory's commands raise."""

from __future__ import annotations


class FactoryError(Exception):
    """It cannot be done and nothing was changed; the text says what is wrong and what to do."""


class ManifestRefused(FactoryError):
    """A manifest that is not imported; `line` is the first line that is wrong, 0 for the file as a whole."""

    def __init__(self, text: str, line: int = 0, file: str = "") -> None:
        super().__init__(text, line, file)
        self.text = text
        self.line = line
        self.file = file

    def __str__(self) -> str:
        where = ", ".join(part for part in (self.file, f"line {self.line}" if self.line else "") if part)
        return f"{where}: {self.text}" if where else self.text
