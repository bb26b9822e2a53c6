"""A visitor who takes what there is of threads and descriptors: the page is back as soon as he is gone."""

from __future__ import annotations

import resource
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from otscert_agent.plain import PlainServer


@pytest.fixture
def page() -> Iterator[PlainServer]:
    server = PlainServer(("127.0.0.1", 0), lambda _request: b"HTTP/1.1 200 OK\r\n\r\n")
    server.start()
    yield server
    server.stop()


def ask(client: socket.socket) -> bytes:
    with client:
        client.settimeout(10.0)
        client.sendall(b"GET / HTTP/1.1\r\n\r\n")
        return client.recv(100)


def test_a_page_outlives_the_want_of_threads(page: PlainServer) -> None:
    threading.stack_size(1 << 46)  # more than there is: no thread can be had
    try:
        for _ in range(3):
            with socket.create_connection(page.address, 10.0) as client:
                assert client.recv(100) == b""
    finally:
        threading.stack_size(0)
    assert ask(socket.create_connection(page.address, 10.0)).startswith(b"HTTP/1.1 200")


def test_a_page_outlives_the_want_of_descriptors_and_does_not_burn_the_processor(page: PlainServer) -> None:
    client = socket.socket()
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, limits[1]))
    try:
        client.connect(page.address)
        began, used = time.monotonic(), time.process_time()
        while time.monotonic() - began < 1.0:
            time.sleep(0.1)  # a second of its life
        assert time.process_time() - used < 0.5
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert ask(client).startswith(b"HTTP/1.1 200")
