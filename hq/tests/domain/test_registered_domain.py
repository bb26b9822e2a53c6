"""Below which registered domain a box's names are counted."""

from __future__ import annotations

import pytest

from otscert.domain.registered_domain import is_public_suffix, registered_domain


@pytest.mark.parametrize(
    ("name", "zone", "public_suffix", "expected"),
    [
        ("box.boxes.example.com", "boxes.example.com", None, "example.com"),
        ("*.box.boxes.example.com", "boxes.example.com", None, "example.com"),
        ("box.boxes.example.co.uk", "boxes.example.co.uk", None, "example.co.uk"),
        ("box.boxes.test", "boxes.test", None, "boxes.test"),
        ("a.b.c.kawasaki.jp", "c.kawasaki.jp", None, "b.c.kawasaki.jp"),  # *.kawasaki.jp is a suffix
        ("box.github.io", "github.io", None, "box.github.io"),  # the private section
        ("*.box.github.io", "github.io", None, "box.github.io"),
        ("box.zone.maker.github.io", "zone.maker.github.io", None, "maker.github.io"),
        # The maker knows better than HQ's list: the entry is newer than the list, or the CA's list is older.
        ("box.boxes.example.com", "boxes.example.com", True, "box.boxes.example.com"),
        ("*.box.boxes.example.com", "boxes.example.com", True, "box.boxes.example.com"),
        ("192-168-1-2.box.boxes.example.com", "boxes.example.com", True, "box.boxes.example.com"),
        ("boxes.example.com", "boxes.example.com", True, "boxes.example.com"),
        ("box.boxes.example.com", "boxes.example.com", False, "example.com"),
        ("box.github.io", "github.io", False, "github.io"),
        ("box.zone.maker.github.io", "zone.maker.github.io", False, "maker.github.io"),
    ],
)
def test_names_are_counted_below_their_registered_domain(
    name: str,
    zone: str,
    public_suffix: bool | None,  # noqa: FBT001
    expected: str,
) -> None:
    assert registered_domain(name, zone=zone, public_suffix=public_suffix) == expected


def test_a_zone_is_a_suffix_only_when_the_list_has_it_itself() -> None:
    assert is_public_suffix("github.io")
    assert not is_public_suffix("maker.github.io")
    assert not is_public_suffix("boxes.example.com")
