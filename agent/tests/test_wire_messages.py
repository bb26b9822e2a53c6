from __future__ import annotations

import dataclasses
import json
from typing import Any, Optional, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from otscert_agent.wire import messages
from otscert_agent.wire.errors import WireError

KINDS = [
    messages.Hello,
    messages.Challenge,
    messages.Enroll,
    messages.Binding,
    messages.Granted,
    messages.Pending,
    messages.Refused,
    messages.OrderState,
    messages.CheckIn,
    messages.CheckInAnswer,
    messages.Problem,
]


def values(hint: Any) -> st.SearchStrategy[Any]:
    if type(None) in get_args(hint):
        return st.none() | values(get_args(hint)[0])
    if get_origin(hint) is list:
        return st.lists(values(get_args(hint)[0]), max_size=3)
    if get_origin(hint) is dict:
        return st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3)
    if dataclasses.is_dataclass(hint):
        return of(hint)
    simple = {str: st.text(max_size=9), int: st.integers(0, 2**53), bool: st.booleans(), float: st.floats(0, 1e9)}
    return simple[hint]


def of(kind: Any) -> st.SearchStrategy[Any]:
    return st.builds(kind, **{name: values(hint) for name, hint in get_type_hints(kind).items() if name != "TYP"})


@given(st.one_of([of(kind) for kind in KINDS]))
def test_every_message_comes_back_from_its_json(message: Any) -> None:
    assert messages.from_object(type(message), json.loads(messages.to_json(message))) == message


def test_every_message_travels_under_a_typ_of_its_own() -> None:
    typs = [kind.TYP for kind in KINDS if kind is not messages.Binding]  # type: ignore[attr-defined]  # all have it
    assert len({*typs, messages.TYP_BINDING, messages.TYP_ORDER}) == len(typs) + 2


def test_unknown_members_are_ignored_and_null_is_absent() -> None:
    read = messages.from_object(messages.Pending, {"reason": "x", "retry_after_s": 5, "pairing_code": None, "new": {}})
    assert read == messages.Pending(reason="x", retry_after_s=5)


@pytest.mark.parametrize(
    ("value", "why"),
    [
        ({"retry_after_s": 5}, "payload.reason is missing"),
        ({"reason": "x", "retry_after_s": "5"}, "retry_after_s is not a number"),
        ({"reason": "x", "retry_after_s": True}, "retry_after_s is not a number"),
        ({"reason": "x", "retry_after_s": 5.5}, "retry_after_s is not a number"),
        ({"reason": 7, "retry_after_s": 5}, "reason is not a str"),
        ([], "not a JSON object"),
    ],
)
def test_a_member_of_the_wrong_type_is_named(value: Any, why: str) -> None:
    with pytest.raises(WireError, match=why):
        messages.from_object(messages.Pending, value)


def test_a_wrong_item_deep_inside_is_named() -> None:
    value = {"epoch_token": "", "next_checkin_s": 1, "seed": "", "cmd_seq": 1, "commands": [{"name": "renew"}, {}]}
    with pytest.raises(WireError, match=r"payload\.commands\[1\]\.name is missing"):
        messages.from_object(messages.CheckInAnswer, value)


def test_members_that_are_none_are_left_out() -> None:
    assert json.loads(messages.to_json(messages.Contribution(open="r"))) == {"open": "r"}


def test_the_hints_of_messages_can_be_read_by_the_oldest_python() -> None:
    assert get_type_hints(messages.Pending)["pairing_code"] == Optional[str]
