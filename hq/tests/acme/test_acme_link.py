from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert.acme import link

BASE = "https://ca.example/cert/1"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        (['<https://ca.example/cert/1/1>;rel="alternate"'], ["https://ca.example/cert/1/1"]),
        (["</a>; rel=alternate, </b>;rel=alternate"], ["https://ca.example/a", "https://ca.example/b"]),
        (['</a>; title=x; rel="up alternate", </i>;rel="index"'], ["https://ca.example/a"]),
        (["</a>;REL=Alternate", "</b>"], ["https://ca.example/a"]),
        (["alternate", "<>", "</a;rel=alternate", ";rel=alternate", ""], []),
        (["<http://[bad>;rel=alternate", "</ok>;rel=alternate"], ["https://ca.example/ok"]),
    ],
)
def test_links_of_a_relation_are_found_in_order(headers: list[str], found: list[str]) -> None:
    assert list(link.targets(headers, "alternate", BASE)) == found


def test_no_more_than_64_links_are_read() -> None:
    assert len(link.targets(["</a>;rel=next, " * 1000], "next", BASE)) == 64


@given(st.lists(st.text(alphabet="<>;,=\"' relaternu/:[]%\\\t")))
def test_any_text_is_survived(headers: list[str]) -> None:
    link.targets(headers, "alternate", BASE)
