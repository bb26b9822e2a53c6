from __future__ import annotations

import http.client
import json
import signal
import ssl
import time
from typing import Any

import dns.message
import dns.query

Installation = Any  # the class lives in conftest.py, which cannot be imported
STOP_S = 2.0


def get(installed: Installation) -> tuple[int, bytes]:
    """Ask HQ as a box does: only its own root is trusted."""
    trust = ssl.create_default_context(cafile=str(installed.folder / "hq-data" / "pki" / "root.pem"))
    connection = http.client.HTTPSConnection("127.0.0.1", installed.device_port, context=trust, timeout=10)
    try:
        connection.request("GET", "/")
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def test_a_fresh_hq_becomes_ready_answers_and_stops_on_sigterm(installed: Installation) -> None:
    with installed.started("serve", "--json") as hq:
        ready = json.loads(hq.stdout.readline())
        assert ready == {
            "kind": "ready",
            "device": [["127.0.0.1", installed.device_port]],
            "dns": [["127.0.0.1", installed.dns_port]],
            "metrics": [],
        }
        status, body = get(installed)
        assert status == 404
        assert b"this is HQ's device API" in body
        query = dns.message.make_query("boxes.example.com", "SOA")
        for ask in (dns.query.udp, dns.query.tcp):
            assert ask(query, "127.0.0.1", port=installed.dns_port, timeout=5).answer
        begin_s = time.monotonic()
        hq.send_signal(signal.SIGTERM)
        assert hq.wait(10) == 0
        assert time.monotonic() - begin_s < STOP_S


def test_a_second_hq_on_the_same_folder_says_that_one_is_running(installed: Installation) -> None:
    with installed.started("serve", "--json") as hq:
        hq.stdout.readline()
        second = installed.run("serve")
        assert second.returncode == 1
        assert second.stderr.splitlines()[-1] == "otscert: another HQ is running on hq-data"
        assert hq.poll() is None
        assert get(installed)[0] == 404


def test_a_missing_root_and_secrets_open_to_others_are_warned_of_at_the_start(installed: Installation) -> None:
    data = installed.folder / "hq-data"
    (data / "pki" / "root.pem").unlink()
    (data / "token-box").chmod(0o644)
    with installed.started("serve", "--json") as hq:
        assert '"ready"' in hq.stdout.readline()
        hq.send_signal(signal.SIGTERM)
        _, told = hq.communicate(timeout=10)
    assert "pki.root_missing file=hq-data/pki/root.pem mend=put it back from a copy of the folder" in told
    assert "file.open_to_others what=hq-data/token-box has mode 0644" in told
    assert "mend=chmod 600 hq-data/token-box" in told


def test_an_hq_on_a_folder_without_keys_says_so(installed: Installation) -> None:
    (installed.folder / "hq-data" / "pki" / "answer.pem").unlink()
    done = installed.run("serve")
    assert done.returncode == 1
    assert "answer.pem cannot be read (No such file or directory): run otscert init, or restore" in done.stderr
    assert "Traceback" not in done.stderr
