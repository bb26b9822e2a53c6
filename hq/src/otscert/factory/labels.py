"""Label sheets: a QR code that leads the owner to the maker's HQ, the setup code, model and serial number.

A4 with 3 x 7 labels of 63.5 x 38.1 mm (the grid of Avery L7160 and its many copies). The setup code is text only: a URL
stays in browsers' histories and servers' logs. Knows nothing of units but what stands on their labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import BinaryIO

import segno
from reportlab.lib.pagesizes import A4
from reportlab.lib.units import mm
from reportlab.pdfbase.pdfmetrics import stringWidth
from reportlab.pdfgen.canvas import Canvas

COLUMNS, ROWS = 3, 7
A_PAGE = COLUMNS * ROWS
A_SHEET = 48 * A_PAGE
"""Labels in one PDF: 48 pages, which a printer's tray holds and a program's memory, too."""
_WIDTH, _HEIGHT = 63.5 * mm, 38.1 * mm
_LEFT, _TOP = 7.2 * mm, 15.15 * mm
_PITCH = 66.0 * mm
_INSET = 2.5 * mm
_QR = 26.0 * mm
_QUIET = 4  # modules of white around the code (ISO/IEC 18004, section 6.3.8)
_REGULAR, _BOLD, _CODE = "Helvetica", "Helvetica-Bold", "Courier-Bold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """`url` goes into the QR code, `setup_code` is shown as text and never in the URL."""

    model: str
    serial: str
    url: str
    setup_code: str


def write_sheet(file: BinaryIO, labels: Sequence[Label], *, title: str) -> None:
    """Write a PDF of whole pages; the last one may have free labels."""
    canvas = Canvas(file, pagesize=A4, pageCompression=1)
    canvas.setTitle(title)
    for number, label in enumerate(labels):
        if number and number % A_PAGE == 0:
            canvas.showPage()
        row, column = divmod(number % A_PAGE, COLUMNS)
        left, top = _LEFT + column * _PITCH, A4[1] - _TOP - row * _HEIGHT
        _draw(canvas, label, left + _INSET, top - _INSET)
    canvas.showPage()
    canvas.save()


def page_of(number: int) -> int:
    """The page, from 1, of the label with this number (from 0) in its sheet."""
    return number // A_PAGE + 1


def _draw(canvas: Canvas, label: Label, left: float, top: float) -> None:
    _draw_code(canvas, label.url, left, top)
    text_left = left + _QR + 1.5 * mm
    room = _WIDTH - 2 * _INSET - _QR - 1.5 * mm
    below = _draw_text(canvas, label.model, text_left, top, room=room, font=_BOLD, lines=2)
    canvas.setFont(_REGULAR, 6)
    canvas.drawString(text_left, below - 9, "Serial number")
    _draw_text(canvas, label.serial, text_left, below - 10, room=room, font=_REGULAR, lines=4)
    base = top - _HEIGHT + 2 * _INSET + 1
    canvas.setFont(_REGULAR, 7)
    canvas.drawString(left, base, "Setup code")
    canvas.setFont(_CODE, 13)
    canvas.drawRightString(left + _WIDTH - 2 * _INSET, base, label.setup_code)


def _draw_text(canvas: Canvas, text: str, left: float, top: float, *, room: float, font: str, lines: int) -> float:
    """Draw a text of any length in at most `lines` lines, as large as fits; returns where it ends."""
    for size in (9.0, 8.0, 7.0, 6.0, 5.0, 4.0):
        parts = _broken(text, room=room, font=font, size=size)
        if len(parts) <= lines:
            break
    canvas.setFont(font, size)
    for part in parts:
        top -= size * 1.15
        canvas.drawString(left, top, part)
    return top


def _broken(text: str, *, room: float, font: str, size: float) -> list[str]:
    """Broken where the room ends: models and serial numbers have no spaces."""
    parts = [""]
    for character in text:
        if parts[-1] and stringWidth(parts[-1] + character, font, size) > room:
            parts.append("")
        parts[-1] += character
    return parts


def _draw_code(canvas: Canvas, url: str, left: float, top: float) -> None:
    """The QR code with its white margin, as one filled path: sharp at every printer's resolution."""
    matrix = segno.make_qr(url, error="m").matrix
    module = _QR / (len(matrix) + 2 * _QUIET)
    path = canvas.beginPath()
    for row, modules in enumerate(matrix):
        y = top - (row + _QUIET + 1) * module
        for start, length in _runs(modules):
            path.rect(left + (start + _QUIET) * module, y, length * module, module)
    canvas.drawPath(path, stroke=0, fill=1)


def _runs(modules: bytearray) -> list[tuple[int, int]]:
    """(start, length) of the dark runs of a row."""
    runs: list[tuple[int, int]] = []
    for column, dark in enumerate(modules):
        if not dark:
            continue
        if runs and sum(runs[-1]) == column:
            runs[-1] = (runs[-1][0], runs[-1][1] + 1)
        else:
            runs.append((column, 1))
    return runs
