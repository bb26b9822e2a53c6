"""Apprise as a channel: its json:// service against a server here, and its URLs, which are secrets, nowhere."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from otscert.domain.alert_message import Message
from otscert.notify.apprise import Service
from otscert.notify.errors import ChannelUnusable, NotDelivered
from tests.harness.ports import free_port

# Apprise imports its 180 plugins, of which some use what Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::SyntaxWarning")
MESSAGE = Message(id="0a1b", event="alerts", subject="critical: 2 boxes", text="CRITICAL: 2 boxes\n  why: x", at_s=1)


@contextmanager
def sink(status: int) -> Iterator[tuple[int, list[dict[str, str]]]]:
    taken: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            taken.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], taken
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_message_reaches_the_service_with_its_subject() -> None:
    with sink(200) as (port, taken):
        await Service(f"json://user:hush-hush@127.0.0.1:{port}/x", number=1).send(MESSAGE)
    (said,) = taken
    assert said["title"] == "critical: 2 boxes"
    assert said["message"].splitlines()[0] == "CRITICAL: 2 boxes"


@pytest.mark.parametrize("status", [500, None])
async def test_a_refusal_names_the_line_and_shows_nothing_of_the_url(
    status: int | None, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    with sink(status or 200) as (port, _):
        service = Service(f"json://user:hush-hush@127.0.0.1:{port if status else free_port()}/hush", number=3)
        with pytest.raises(NotDelivered, match=r"line 3 of alerts\.apprise_urls") as raised:
            await service.send(MESSAGE)
    shown = str(raised.value) + repr(service) + caplog.text + "".join(capfd.readouterr())
    assert "hush" not in shown


@pytest.mark.parametrize("url", ["nosuchservice://hush-hush", "json://", "hush-hush"])
def test_a_url_that_apprise_does_not_know_is_said_by_its_line(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(ChannelUnusable, match=r"line 2 of alerts\.apprise_urls") as raised:
        Service(url, number=2)
    assert "hush" not in str(raised.value) + caplog.text
