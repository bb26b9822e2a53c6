"""The same generated questions to our server and to NSD with the same zone: the same answers.

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

from tests.zone.beside import nsd
from tests.zone.compared import Essence, essence
from tests.zone.questions import questions
from tests.zone.served import HOST, Served

QUESTIONS = int(os.environ.get("OTSCERT_TEST_DNS_QUESTIONS", "100000"))
SEED = int(os.environ.get("OTSCERT_TEST_DNS_SEED", "20261123"))
# So many are under way at once: both kernels' buffers hold them.
_AT_ONCE = 100


@pytest.fixture
def sockets(served: Served, tmp_path: Path) -> Iterator[tuple[socket.socket, socket.socket]]:
    with ExitStack() as stack:
        port = stack.enter_context(nsd(tmp_path / "nsd", served.zone))
        yield stack.enter_context(_connected(served.port)), stack.enter_context(_connected(port))


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
def test_nsd_with_the_same_zone_answers_the_same(served: Served, sockets: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = sockets
    owners = sorted({record.owner for record in served.zone.rrs()})
    asked = questions(QUESTIONS, seed=SEED, owners=owners)
    codes: Counter[int] = Counter()
    faults: list[tuple[bytes, Essence, Essence]] = []
    while batch := list(islice(asked, _AT_ONCE)):
        for query in batch:
            ours.send(query)
            theirs.send(query)
        here, there = _collect(ours, len(batch)), _collect(theirs, len(batch))
        for query in batch:
            mine, other = essence(here[query[:2]]), essence(there[query[:2]])
            codes[mine.rcode] += 1
            if mine != other:
                faults.append((query, mine, other))
    said = "\n".join(f"{query!r}\n  ours   {mine}\n  theirs {other}" for query, mine, other in faults[:10])
    assert not faults, f"{len(faults)} of {QUESTIONS} questions of seed {SEED} differ, the first of them:\n{said}"
    # The questions are worth asking: every code, and most names exist.
    assert set(codes) >= {0, 3, 5, 16}
    assert codes[0] > QUESTIONS * 0.3
