"""docs/protocol.md says what the code does: its tables are read and held against the types and numbers of the code."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from types import NoneType
from typing import Any, Union, get_args, get_origin, get_type_hints

import pytest

from otscert.api import http, server
from otscert.domain import csr, ratchet
from otscert.domain.admission import Policy
from otscert.domain.assurance import Source
from otscert.pki import certificates as hq_pki
from otscert.pki.answers import AnswerSigner
from otscert.service import conversation, hello, polling, publish, refusal
from otscert_agent import exchange, reactions, trust
from otscert_agent.wire import jws, messages, pki
from otscert_agent.wire.keys import Signer
from otscert_agent.wire.problems import ProblemType
from tests.protocol_vectors import certificates, files

TEXT = files.PROTOCOL.read_text(encoding="utf-8")
VECTORS: dict[str, Any] = json.loads(files.VECTORS.read_text(encoding="utf-8"))
AGENT = Path(exchange.__file__).parent
MESSAGES: dict[str, Any] = {
    name: kind for name, kind in vars(messages).items() if dataclasses.is_dataclass(kind) and isinstance(kind, type)
}
WORDS = {str: "string", int: "integer", float: "number", bool: "boolean"}
PREFIX = "urn:otscert:v1:"


def section(heading: str) -> str:
    """The text below a heading, up to the next one of any level."""
    found = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found, f"docs/protocol.md has no section {heading!r}"
    return found[1]


def tables(heading: str) -> list[list[list[str]]]:
    """The tables of a section: rows of cells, the head left out."""
    found: list[list[list[str]]] = []
    for block in re.findall(r"(?:^\|.*\n)+", section(heading), re.MULTILINE):
        rows = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in block.splitlines()]
        found.append(rows[2:])
    return found


def plain(cell: str) -> str:
    return cell.strip("`")


def words(hint: Any) -> str:
    if get_origin(hint) is Union:
        (hint,) = (kind for kind in get_args(hint) if kind is not NoneType)
    if get_origin(hint) is list:
        (inner,) = get_args(hint)
        return f"array of {words(inner)}" + ("" if dataclasses.is_dataclass(inner) else "s")
    if get_origin(hint) is dict:
        return f"object of {words(get_args(hint)[1])}s"
    return WORDS.get(hint) or f"`{hint.__name__}`"


def members(kind: Any) -> list[tuple[str, str, str]]:
    """What the code says of a message: name, type in words, required."""
    hints = get_type_hints(kind)
    return [
        (
            member.name,
            words(hints[member.name]),
            "yes" if member.default is dataclasses.MISSING and member.default_factory is dataclasses.MISSING else "no",
        )
        for member in dataclasses.fields(kind)
    ]


# ---- messages


@pytest.mark.parametrize("name", sorted(MESSAGES))
def test_every_member_of_a_message_is_described_and_no_other(name: str) -> None:
    described = [(plain(row[0]), row[1], row[2]) for row in tables(name)[0]]
    assert described == members(MESSAGES[name])


def test_no_message_is_described_that_does_not_exist() -> None:
    inside = TEXT[TEXT.index("\n## Messages") : TEXT.index("\n## Problems")]
    assert set(re.findall(r"^### (\w+)$", inside, re.MULTILINE)) == set(MESSAGES)


@pytest.mark.parametrize("name", sorted(name for name, kind in MESSAGES.items() if hasattr(kind, "TYP")))
def test_the_typ_of_a_message_stands_in_its_section(name: str) -> None:
    assert f"`{MESSAGES[name].TYP}`" in section(name)


def test_paths_and_types_are_those_of_the_code() -> None:
    kinds: dict[str, tuple[str, list[Any]]] = {
        messages.PATH_HELLO: (messages.Hello.TYP, [messages.Challenge]),
        messages.PATH_ENROLL: (messages.Enroll.TYP, [messages.Granted, messages.Pending, messages.Refused]),
        messages.PATH_ORDERS + "ID": (messages.TYP_ORDER, [messages.OrderState]),
        messages.PATH_CHECKIN: (messages.CheckIn.TYP, [messages.CheckInAnswer]),
    }
    described = {plain(row[0]): (plain(row[1]), row[2]) for row in tables("Messages")[0]}
    assert described == {
        path: (typ, ", ".join(f"`{kind.TYP}`" for kind in answers)) for path, (typ, answers) in kinds.items()
    }
    assert messages.TYP_BINDING in section("Binding")


def test_the_header_of_a_request_is_described() -> None:
    described = {plain(row[0]) for row in tables("Header of a request")[0]}
    signer = Signer.from_seed(bytes(32))
    sent: set[str] = set()
    for introduce in (True, False):
        body = exchange.request(signer, typ="t", url="u", seq=1, introduce=introduce, payload=b"")
        sent |= set(jws.parse(body).header)
    assert described == sent


def test_the_header_of_an_answer_is_described() -> None:
    described = {plain(row[0]): row[1] for row in tables("Header of an answer")[0]}
    answers = AnswerSigner(certificates.answer_leaf(certificates.root()))
    header = jws.parse(answers.sign(b"{}", typ="t", audience="a", request_digest=bytes(32), now_s=1)).header
    assert set(described) == set(header)
    assert described["time"] == "integer"


def test_the_http_statuses_of_answers_are_described() -> None:
    described = {row[0]: row[1] for row in tables("Transport")[0]}
    pending = messages.Pending(reason="", retry_after_s=1)
    refused = messages.Refused(reason="", final=False)
    state = messages.OrderState(status="waiting")
    assert "pending" in described[str(conversation._status(pending))]
    assert "refused" in described[str(conversation._status(refused))]
    assert "order state" in described[str(conversation._status(state))]


# ---- problems


def problem_rows() -> dict[str, list[str]]:
    return {PREFIX + plain(row[0]): row[1:] for row in tables("Problems")[0]}


def test_every_problem_type_is_described_with_its_status() -> None:
    described = {name: int(row[0]) for name, row in problem_rows().items()}
    assert described == {kind.value: refusal._TITLES[kind][0] for kind in ProblemType}


def test_what_a_box_does_about_a_problem_is_the_agents_table() -> None:
    described = {name: row[2] for name, row in problem_rows().items()}
    ours = {kind.value: reaction.name.lower().replace("_", "-") for kind, reaction in reactions.REACTIONS.items()}
    assert described == ours


def test_each_reaction_is_explained() -> None:
    explained = [row[0] for row in tables("Problems")[1]]
    assert sorted(explained) == sorted(reaction.name.lower().replace("_", "-") for reaction in reactions.Reaction)


# ---- certificates, labels, numbers


def test_the_object_identifiers_are_those_of_the_code() -> None:
    identifiers = [plain(row[1].split(" ")[0]) for row in tables("HQ's certificates")[0]]
    assert identifiers == [pki.EKU_ANSWER.rpartition(".")[0], pki.EKU_ANSWER, pki.EXT_GENERATION]
    lives = [row[-1] for row in tables("HQ's certificates")[1]]
    assert lives == [f"{hq_pki.ROOT_LIFE.days // 365} years"] + [f"{hq_pki.LEAF_LIFE.days} days"] * 2


def test_the_labels_are_those_of_the_agent() -> None:
    used: set[str] = set()
    for source in AGENT.rglob("*.py"):
        used |= set(re.findall(r"otscert/v1/(?:d0|[a-z]+(?:-[a-z]+)*)", source.read_text(encoding="utf-8")))
    described = [plain(row[0]) for row in tables("Derivations")[0]]
    assert len(described) == len(set(described))
    assert set(described) == used


def test_the_limits_are_those_of_the_code() -> None:
    described = {row[0]: int(row[1]) for row in tables("Limits")[0]}
    assert described == {
        "message, request or answer (bytes)": jws.MAX_BYTES,
        "head of an HTTP request (bytes)": server.MAX_HEAD_BYTES,
        "head of an HTTP request must arrive within (s)": server.HEAD_S,
        "body must arrive within (s)": http.BODY_S,
        "`seq`": conversation.MAX_SEQ,
        "texts of hello and check-in (characters)": hello._LONGEST_TEXT,
        "CSR (bytes)": csr.MAX_CSR_BYTES,
        "addresses": publish.MAX_ADDRESSES,
        "transaction stays open (s)": hello.TRANSACTION_S,
        "order poll is held (s)": polling.HOLD_S,
        "certificates in `x5c`": exchange._MAX_CHAIN,
        "wait for an unsigned problem, at most (s)": exchange._MAX_UNSIGNED_WAIT_S,
        "resync after an old epoch token, once in (s)": ratchet.RESYNC_EVERY_S,
        "floor falls back after (s)": trust.DEAF_LIMIT_S,
    }


def test_the_policies_are_those_of_the_code() -> None:
    assert {plain(row[0]) for row in tables("Admission")[0]} == {policy.value for policy in Policy}


def test_the_sources_are_those_that_hq_accepts() -> None:
    (row,) = (row for row in tables("SourceReport")[0] if row[0] == "`source`")
    assert {plain(word) for word in row[3].split(", ")} == set(Source)


# ---- the document itself


def test_the_examples_are_those_of_the_recorded_first_boot() -> None:
    assert TEXT.count("<!-- example: ") == 10
    assert TEXT.count("```json\n") == 10
    assert files.with_examples(TEXT, VECTORS) == TEXT, "python -m tests.protocol_vectors writes them anew"


def test_the_members_of_the_vector_file_are_described() -> None:
    assert [plain(row[0]) for row in tables("Test vectors")[0]] == [
        name for name in VECTORS if name not in {"about", "protocol"}
    ]


def test_every_link_inside_leads_somewhere() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
    assert set(re.findall(r"\]\(#([^)]*)\)", TEXT)) <= anchors
    assert all((files.DOCS / name).exists() for name in re.findall(r"\]\(([\w.-]+)\)", TEXT))
