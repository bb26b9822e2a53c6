"""Lets a headless Chromium open an HTTPS page as an owner's browser would, and says whether it trusted the page.

The root is trusted through the NSS database of a throw-away HOME, the name is resolved by `--host-resolver-rules`.
There is no flag here that ignores a certificate error, and there must never be one: the refusal is what is tested.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.harness.parts import require_part

LIMIT_S = 60.0
# Newer versions refuse to dump an error page and say so on stderr; older ones dump it, with the error in its data.
LOAD_FAILED = re.compile(r"Page load failed: net::(ERR_[A-Z0-9_]+)")
ERROR_PAGE = re.compile(r"<script>var loadTimeDataRaw = \{.*?\"errorCode\":\"(?:net::)?([A-Z0-9_]+)\"", re.DOTALL)
CERTIFICATE_ERROR = re.compile(r"^ERR_(CERT|SSL)_")
FLAGS = (
    "--headless",
    # Chromium's own sandbox refuses to start as root; the page is one of the test's own.
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--dump-dom",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visit:
    """What the browser made of a page: its DOM and a picture, or the error for which it refused it."""

    dom: str
    screenshot: Path | None
    net_error: str | None
    log: str

    @property
    def certificate_error(self) -> bool:
        return self.net_error is not None and CERTIFICATE_ERROR.match(self.net_error) is not None


def visit(url: str, *, root_pem: str | None, host_rules: Mapping[str, str], folder: Path | None = None) -> Visit:
    """Open a page in a Chromium that has never run before.

    Args:
        url: of the page.
        root_pem: one root (or several) to trust in addition to Chromium's own; None adds none.
        host_rules: host name -> `address` or `address:port`; every other name does not exist.
        folder: for HOME, profile and screenshot; a new temporary one when None, which stays.
    """
    chromium = require_part("chromium")
    folder = Path(tempfile.mkdtemp(prefix="otscert-chromium-")) if folder is None else folder
    home, screenshot = folder / "home", folder / "page.png"
    _make_home(home, root_pem)
    rules = ",".join([*(f"MAP {host} {address}" for host, address in host_rules.items()), "MAP * ~NOTFOUND"])
    command = [
        str(chromium.path),
        *FLAGS,
        f"--user-data-dir={folder / 'profile'}",
        f"--host-resolver-rules={rules}",
        f"--screenshot={screenshot}",
        url,
    ]
    dom, log = _run(command, env={"HOME": str(home), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8", **chromium.env})
    failed = LOAD_FAILED.search(log) or ERROR_PAGE.search(dom)
    if failed is None and not screenshot.is_file():
        raise AssertionError(f"Chromium neither showed {url} nor said why not:\n{log}")
    return Visit(
        dom=dom,
        screenshot=screenshot if screenshot.is_file() else None,
        net_error=None if failed is None else failed[1],
        log=log,
    )


def assert_browser_accepts(
    url: str, root_pem: str | None, host_rules: Mapping[str, str], *, shows: str, folder: Path | None = None
) -> Visit:
    """Assert that the browser shows the page without complaint, with `shows` in it."""
    seen = visit(url, root_pem=root_pem, host_rules=host_rules, folder=folder)
    assert seen.net_error is None, f"Chromium refused {url}: {seen.net_error}"
    assert shows in seen.dom, f"Chromium shows something else at {url}:\n{seen.dom}"
    return seen


def assert_browser_refuses(
    url: str,
    root_pem: str | None,
    host_rules: Mapping[str, str],
    *,
    net_error: str,
    never_shows: str,
    folder: Path | None = None,
) -> Visit:
    """Assert that the browser refuses the page because of its certificate, with exactly this `net::` error."""
    seen = visit(url, root_pem=root_pem, host_rules=host_rules, folder=folder)
    assert seen.certificate_error, f"Chromium did not refuse the certificate of {url}: {seen.net_error}\n{seen.dom}"
    assert seen.net_error == net_error
    assert never_shows not in seen.dom
    return seen


def _make_home(home: Path, root_pem: str | None) -> None:
    certutil = require_part("certutil")
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    base = [str(certutil.path), "-d", f"sql:{database}"]
    subprocess.run([*base, "-N", "--empty-password"], check=True, capture_output=True, timeout=LIMIT_S)
    blocks = re.findall(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", root_pem or "", re.DOTALL)
    if root_pem is not None and not blocks:
        raise ValueError("the root to trust is not a PEM certificate")
    for number, block in enumerate(blocks):
        add = [*base, "-A", "-n", f"test root {number}", "-t", "C,,"]
        subprocess.run(add, input=block.encode(), check=True, capture_output=True, timeout=LIMIT_S)


def _run(command: list[str], *, env: Mapping[str, str]) -> tuple[str, str]:
    # A session of its own, so that Chromium's helper processes end with it when it hangs.
    process = subprocess.Popen(
        command,
        env=dict(env),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        dom, log = process.communicate(timeout=LIMIT_S)
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise
    return dom.decode(), log.decode(errors="replace")
