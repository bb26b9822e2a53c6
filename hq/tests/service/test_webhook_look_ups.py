"""The maker's server whose name cannot be looked up, and what else its answers could bring into the log."""

from __future__ import annotations

import asyncio
import socket
import threading
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import uvloop

from otscert.notify.errors import NotDelivered
from otscert.notify.https import HttpsSender
from otscert.notify.resolving import AT_ONCE
from tests.harness.maker import answers, running_maker, sends

LOOPBACK = (ip_network("127.0.0.0/8"),)


class SilentNameServers:
    """Look-ups that do not come back before they are let go."""

    def __init__(self) -> None:
        self.asked = 0
        self.go_on = threading.Event()

    def __call__(self, *_: Any) -> list[Any]:
        self.asked += 1
        self.go_on.wait(60)
        raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


def test_a_name_that_nobody_answers_for_holds_up_no_other_look_up_and_no_commit() -> None:
    silent = SilentNameServers()

    async def ask() -> None:
        sender = HttpsSender(total_s=0.2, look_up=silent)
        for _ in range(3):
            told = await asyncio.gather(*(_told(sender) for _ in range(8)))
            assert set(told) == {"shop.example.com did not answer within 0.2 s"}
        assert silent.asked == AT_ONCE
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(10):
            await loop.getaddrinfo("localhost", 443)  # as the CA's name is looked up
            await asyncio.to_thread(lambda: None)  # as the store commits
        silent.go_on.set()
        async with asyncio.timeout(10):
            while "resolution" not in await _told(sender):  # every place is free again
                pass
        await sender.aclose()

    try:
        uvloop.run(ask())  # as HQ runs: its look-ups have four threads and no more
    finally:
        silent.go_on.set()


async def _told(sender: HttpsSender) -> str:
    with pytest.raises(NotDelivered) as caught:
        await sender.post("https://shop.example.com/admit", b"{}", {})
    return str(caught.value)


async def test_a_name_is_looked_up_and_its_server_is_asked(tmp_path: Path) -> None:
    async with running_maker(answers({"decision": "allow"}), tmp_path, host="localhost") as server:
        sender = HttpsSender(networks=LOOPBACK, trust_file=server.trust_file)
        answer = await sender.post(f"https://localhost:{server.port}/", b"{}", {})
        assert answer.status == 200
        await sender.aclose()


async def test_what_is_told_of_a_broken_answer_has_no_url_in_it(tmp_path: Path) -> None:
    async with running_maker(sends(b"HTTP/1.1 many OK\r\n\r\n"), tmp_path) as server:
        sender = HttpsSender(networks=LOOPBACK, trust_file=server.trust_file)
        with pytest.raises(NotDelivered) as caught:
            await sender.post(f"{server.url}/a-secret-of-the-maker", b"{}", {})
        assert "status" in str(caught.value)
        assert "a-secret" not in str(caught.value)
        assert "\n" not in str(caught.value)
        await sender.aclose()


async def test_a_url_that_is_none_is_a_failure_like_others() -> None:
    sender = HttpsSender()
    with pytest.raises(NotDelivered, match="the URL cannot be used"):
        await sender.post("https://127.0.0.1\\@shop.example.com/", b"{}", {})
    await sender.aclose()


async def test_a_name_that_changes_its_mind_and_a_private_second_address_reach_nothing(tmp_path: Path) -> None:
    addresses = ["127.0.0.2"]

    def look_up(_host: str, port: int, *_: int) -> list[Any]:
        found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]
        addresses[:] = ["127.0.0.1"]
        return found

    async with running_maker(answers({"decision": "allow"}), tmp_path, host="shop.example.com") as server:
        only = (ip_network("127.0.0.2/32"),)
        sender = HttpsSender(networks=only, trust_file=server.trust_file, look_up=look_up)
        for _ in range(2):
            with pytest.raises(NotDelivered):
                await sender.post(f"https://shop.example.com:{server.port}/", b"{}", {})
        addresses[:] = ["127.0.0.2", "127.0.0.1"]
        with pytest.raises(NotDelivered):
            await sender.post(f"https://shop.example.com:{server.port}/", b"{}", {})
        assert server.connections == 0
        await sender.aclose()
