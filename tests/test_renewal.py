"""Everything renews by itself: real agent, real HQ, real Pebble, certificates that live for half a minute."""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from otscert.ops.demo_box import DemoBox, Serving
from otscert.ops.demo_hq import DemoHq, Ports
from otscert.ops.pebble import Pebble
from otscert.ops.pebble_config import Profile
from otscert.ops.verify import verify_box
from tests.harness.ports import free_port

LIFE_S = 30
DEADLINE_S = 90.0
pytestmark = pytest.mark.timeout(180)


@pytest.fixture
def hq(tmp_path: Path, pebble: Callable[..., Pebble], monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[DemoHq, Path]]:
    ports = Ports(device=free_port(), dns=free_port())
    ca = pebble(
        dns_server=f"127.0.0.1:{ports.dns}", profiles={"tlsserver": Profile(description="30 s", validity_s=LIFE_S)}
    )
    root = tmp_path / "root.pem"
    root.write_text("".join(ca.issuing_roots()), encoding="ascii")
    monkeypatch.setenv("OTSCERT_CHECKIN_S", "2")
    (tmp_path / "hq-folder").mkdir()
    hq = DemoHq(tmp_path / "hq-folder", ports, died=lambda _status: None)
    try:
        hq.start(ca)
        yield hq, root
    finally:
        hq.stop()


def test_a_box_renews_with_a_new_key_and_serves_it_without_a_restart(hq: tuple[DemoHq, Path], tmp_path: Path) -> None:
    running, root = hq
    with ExitStack() as stack:
        box = DemoBox.start(tmp_path / "box", running)
        stack.callback(box.stop)
        serving = box.wait_serving(until_s=time.monotonic() + DEADLINE_S)
        assert serving is not None, box.why_not()
        first = _leaf(serving)
        second = _wait_for_another(serving, first)
        # The name is as it was, and a stranger accepts the new certificate too.
        verdict = verify_box(
            serving.name, serving.port, root_pem=root, dns_port=running.ports.dns, until_s=time.monotonic() + 5
        )
        assert verdict.error is None
        assert box.process.poll() is None
        assert os.getsid(box.process.pid) == box.process.pid
    rows = _certificates(running)
    assert [row[0] for row in rows[:2]] == [first, second]
    assert len({row[1] for row in rows}) == len(rows), "a key was used twice"
    assert rows[0][2] is not None, "HQ was not told that the first one was served"
    asked, replaced = _renewal_by_the_ca(running)
    assert asked, "HQ did not ask Pebble when to renew"
    assert replaced, "no order said which certificate it replaces"


def _leaf(serving: Serving) -> str:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # only looks which certificate it is; verify_box judges it
    with (
        socket.create_connection(("127.0.0.1", serving.port), timeout=5) as plain,
        context.wrap_socket(plain, server_hostname=serving.name) as secure,
    ):
        der = secure.getpeercert(binary_form=True)
    assert der is not None
    return hashlib.sha256(der).hexdigest()


def _wait_for_another(serving: Serving, first: str) -> str:
    until_s = time.monotonic() + DEADLINE_S
    while time.monotonic() < until_s:
        seen = _leaf(serving)
        if seen != first:
            return seen
        time.sleep(0.2)  # bounded by the deadline
    raise AssertionError("the box still serves its first certificate")


def _renewal_by_the_ca(hq: DemoHq) -> tuple[int, int]:
    """How many certificates' next question is hours away, because Pebble has said so, and how many orders replace one.

    Pebble's window is two days wide, so for these lives it is not believed.
    """
    database = sqlite3.connect(f"file:{hq.folder / 'hq' / 'hq.db'}?mode=ro", uri=True)
    try:
        (asked,) = database.execute(
            "SELECT count(*) FROM certificate WHERE ari_next_poll_s > issued_at_s + 5 * 3600"
        ).fetchone()
        (replaced,) = database.execute("SELECT count(*) FROM cert_order WHERE replaces IS NOT NULL").fetchone()
        return asked, replaced
    finally:
        database.close()


def _certificates(hq: DemoHq) -> list[tuple[str, bytes, int | None]]:
    database = sqlite3.connect(f"file:{hq.folder / 'hq' / 'hq.db'}?mode=ro", uri=True)
    try:
        return database.execute(
            "SELECT sha256, spki_sha256, served_at_s FROM certificate ORDER BY not_after_s, issued_at_s"
        ).fetchall()
    finally:
        database.close()
