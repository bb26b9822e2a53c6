"""The same generated questions to our server, to NSD and to Knot with the same zone: the same answers.

OTSCERT_TEST_DNS_QUESTIONS asks for more than 10^5, OTSCERT_TEST_DNS_SEED for others.

No difference is allowed in code, AA, TC, the question, the answer's records with their TTLs, and the SOA in the
authority section. Not looked at, because both ways are right: the name servers that NSD adds to the authority section
of an answer and their addresses (RFC 1034 4.3.2 lets a server add what it thinks useful; ours answers minimally), the
order of records, and how names are compressed. Not asked, because no zone file holds it: computed names, ANY (RFC
8482), other classes, cookies.
"""

from __future__ import annotations

import os
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest

from tests.zone.beside import knot, nsd
from tests.zone.compared import Essence, essence
from tests.zone.questions import questions
from tests.zone.served import HOST, Served

QUESTIONS = int(os.environ.get("OTSCERT_TEST_DNS_QUESTIONS", "100000"))
SEED = int(os.environ.get("OTSCERT_TEST_DNS_SEED", "20261123"))
# So many are under way at once: both kernels' buffers hold them.
_AT_ONCE = 100


@pytest.fixture
def sockets(served: Served, tmp_path: Path) -> Iterator[list[socket.socket]]:
    """To us, NSD and Knot."""
    with ExitStack() as stack:
        ports = [served.port, *(stack.enter_context(run(tmp_path / run.__name__, served.zone)) for run in (nsd, knot))]
        yield [stack.enter_context(_connected(port)) for port in ports]


def _connected(port: int) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    client.settimeout(20)
    client.connect((HOST, port))
    return client


def _collect(client: socket.socket, number: int) -> dict[bytes, bytes]:
    answers = (client.recv(65_535) for _ in range(number))
    return {answer[:2]: answer for answer in answers}


@pytest.mark.timeout(240)
def test_nsd_and_knot_with_the_same_zone_answer_the_same(served: Served, sockets: list[socket.socket]) -> None:
    owners = sorted({record.owner for record in served.zone.rrs()})
    asked = questions(QUESTIONS, seed=SEED, owners=owners)
    codes: Counter[int] = Counter()
    faults: list[tuple[bytes, Essence, list[Essence]]] = []
    while batch := list(islice(asked, _AT_ONCE)):
        for query in batch:
            for each in sockets:
                each.send(query)
        here, *there = (_collect(each, len(batch)) for each in sockets)
        for query in batch:
            mine, others = essence(here[query[:2]]), [essence(answers[query[:2]]) for answers in there]
            codes[mine.rcode] += 1
            if others != [mine, mine]:
                faults.append((query, mine, others))
    said = "\n".join(f"{query!r}\n  ours   {mine}\n  NSD, Knot {others}" for query, mine, others in faults[:10])
    assert not faults, f"{len(faults)} of {QUESTIONS} questions of seed {SEED} differ, the first of them:\n{said}"
    # The questions are worth asking: every code, and most names exist.
    assert set(codes) >= {0, 3, 5, 16}
    assert codes[0] > QUESTIONS * 0.3
