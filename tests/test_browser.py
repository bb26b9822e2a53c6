"""The browser test's own test: that our Chromium accepts what it has to and refuses the rest, on a page of our own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import trustme

from tests.harness.chromium import assert_browser_accepts, assert_browser_refuses, visit

HOST = "nifty-babbage-7k2q.boxes.example.com"
WRONG_HOST = "other-babbage-7k2q.boxes.example.com"
GREETING = "<h1>The box's own page</h1>"
# Each visit starts a browser that has never run before.
pytestmark = pytest.mark.timeout(120)


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    port: int
    root_pem: str

    def url(self, host: str) -> str:
        return f"https://{host}:{self.port}/"


class _Greeter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.end_headers()
        self.wfile.write(GREETING.encode())

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        """Say nothing: a refused handshake is what these tests are about."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True


@pytest.fixture(scope="module")
def page() -> Iterator[Page]:
    ca = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(HOST).configure_cert(tls)
    with _Server(("127.0.0.1", 0), _Greeter) as server:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Page(port=server.server_port, root_pem=ca.cert_pem.bytes().decode())
        finally:
            server.shutdown()
            thread.join()


def test_a_page_under_a_trusted_root_is_shown_and_painted(page: Page, tmp_path: Path) -> None:
    seen = assert_browser_accepts(page.url(HOST), page.root_pem, {HOST: "127.0.0.1"}, shows=GREETING, folder=tmp_path)
    assert seen.screenshot is not None
    assert seen.screenshot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("host", "with_root", "net_error"),
    [
        pytest.param(HOST, False, "ERR_CERT_AUTHORITY_INVALID", id="without-the-root"),
        pytest.param(WRONG_HOST, True, "ERR_CERT_COMMON_NAME_INVALID", id="another-host"),
    ],
)
def test_a_page_is_refused(page: Page, tmp_path: Path, host: str, net_error: str, *, with_root: bool) -> None:
    assert_browser_refuses(
        page.url(host),
        page.root_pem if with_root else None,
        {host: "127.0.0.1"},
        net_error=net_error,
        never_shows=GREETING,
        folder=tmp_path,
    )


def test_a_name_outside_the_rules_does_not_exist(page: Page, tmp_path: Path) -> None:
    seen = visit(page.url(HOST), root_pem=page.root_pem, host_rules={}, folder=tmp_path)
    # The second is what a dumped error page says while Chromium still looks for the cause.
    assert seen.net_error in {"ERR_NAME_NOT_RESOLVED", "DNS_PROBE_POSSIBLE"}
    assert not seen.certificate_error
