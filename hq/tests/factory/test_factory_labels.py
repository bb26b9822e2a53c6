from __future__ import annotations

import io
from typing import Any

import pypdfium2  # type: ignore[import-untyped]  # no types are published
import pytest
import zxingcpp

from otscert.factory.labels import A_PAGE, Label, page_of, write_sheet

MM = 72 / 25.4
PATH = 2  # FPDF_PAGEOBJ_PATH
A4 = (210 * MM, 297 * MM)


def sheet(labels: list[Label]) -> Any:
    buffer = io.BytesIO()
    write_sheet(buffer, labels, title="box, batch-7")
    return pypdfium2.PdfDocument(buffer.getvalue())


def label(number: int = 0, **changes: str) -> Label:
    members = {
        "model": "box",
        "serial": f"SN-{number:05}",
        "url": f"https://hq.example.com:8443/u/abcdefghij{number:02}",
        "setup_code": "ABCD-2345-WXYZ",
    }
    return Label(**(members | changes))


def codes(page: Any) -> list[str]:
    return sorted(found.text for found in zxingcpp.read_barcodes(page.render(scale=3).to_pil()))


def text(page: Any) -> str:
    return str(page.get_textpage().get_text_range())


def test_every_label_leads_to_its_unit_and_says_what_it_is() -> None:
    labels = [label(number) for number in range(A_PAGE + 2)]
    document = sheet(labels)
    assert len(document) == 2
    assert codes(document[0]) == [each.url for each in labels[:A_PAGE]]
    assert codes(document[1]) == [each.url for each in labels[A_PAGE:]]
    for page, some in ((document[0], labels[:A_PAGE]), (document[1], labels[A_PAGE:])):
        written = text(page)
        assert all(each.serial in written for each in some)
        assert written.count("ABCD-2345-WXYZ") == len(some)
        assert written.count("box") == len(some)
    assert [page_of(number) for number in (0, 20, 21, 42)] == [1, 1, 2, 3]


def test_the_setup_code_is_text_and_in_no_qr_code() -> None:
    page = sheet([label()])[0]
    assert "ABCD-2345-WXYZ" in text(page)
    assert not any("ABCD" in code for code in codes(page))


def test_the_page_is_a4_and_its_labels_keep_within_the_grid() -> None:
    document = sheet([label(number) for number in range(A_PAGE)])
    page = document[0]
    assert page.get_size() == pytest.approx(A4, abs=0.5)
    corners: dict[tuple[int, int], tuple[float, float]] = {}
    for found in page.get_objects():
        left, bottom, right, top = (edge / MM for edge in found.get_bounds())
        column, row = int((left - 7.2) // 66.0), int((297 - 15.15 - top) // 38.1)
        at_left, at_top = 7.2 + 66.0 * column, 297 - 15.15 - 38.1 * row
        assert at_left <= left < right <= at_left + 63.5
        assert at_top - 38.1 <= bottom < top <= at_top
        if found.type == PATH:
            corners[column, row] = (round(left - at_left, 1), round(at_top - top, 1))
    assert len(corners) == A_PAGE
    assert len(set(corners.values())) == 1  # each code lies at the same place of its label


@pytest.mark.parametrize("length", [1, 17, 40, 64])
def test_a_long_model_and_serial_number_are_whole_and_touch_nothing(length: int) -> None:
    page = sheet([label(model="M" * length, serial="W" * length, setup_code="ABCD-2345-ABCD")])[0]
    written = text(page).replace("\r", "").replace("\n", "")
    assert "M" * length in written
    assert "W" * length in written
    assert codes(page) == [label().url]
    lowest = min(found.get_bounds()[1] for found in page.get_objects() if "W" in _text_of(found, page))
    code = next(found for found in page.get_objects() if "ABCD" in _text_of(found, page))
    assert lowest > code.get_bounds()[3]


def _text_of(found: Any, page: Any) -> str:
    if found.type != 1:  # FPDF_PAGEOBJ_TEXT
        return ""
    return str(page.get_textpage().get_text_bounded(*found.get_bounds()))


def test_a_long_url_can_still_be_read() -> None:
    url = f"https://{'a' * 60}.{'b' * 40}.example.com:8443/u/abcdefghijkl"
    assert codes(sheet([label(url=url)])[0]) == [url]
