"""A mail server for the tests: real SMTP on loopback, with TLS and log-in, and the ways in which one can refuse.

Speaks as much of RFC 5321, 3207 and 4954 as smtplib asks for. What it was told is in `taken` and `said`.
"""

from __future__ import annotations

import asyncio
import base64
import email.policy
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

import trustme

HOST = "127.0.0.1"


@dataclass(slots=True, kw_only=True)
class Taken:
    """A message that was accepted: envelope, content, and whether it came under TLS and after a log-in."""

    sender: str
    recipients: list[str]
    message: EmailMessage
    under_tls: bool
    user: str


@dataclass(slots=True, kw_only=True)
class MailSink:
    """The server while it runs; its members may be changed at any time.

    `answers` replaces what is said to a command, such as {"RCPT": "550 no such user"}; `hangs_at` is a command (or
    `greeting`) after which it says nothing any more; `drips` makes it say its greeting without end.
    """

    security: str = "starttls"
    users: dict[str, str] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    hangs_at: str = ""
    drips: bool = False
    offers_tls: bool = True
    port: int = 0
    trust_file: Path = Path()
    taken: list[Taken] = field(default_factory=list)
    said: list[str] = field(default_factory=list)
    context: ssl.SSLContext | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await _Conversation(self, reader, writer).run()
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass  # the client has hung up
        finally:
            writer.transport.abort()


class _Conversation:
    def __init__(self, sink: MailSink, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.sink, self.reader, self.writer = sink, reader, writer
        self.tls, self.user, self.sender = sink.security == "tls", "", ""
        self.recipients: list[str] = []

    async def run(self) -> None:
        while self.sink.drips:
            await self.say("220-still here")
            await asyncio.sleep(0.05)
        await self.hang_if("greeting")
        await self.say("220 sink ESMTP")
        while line := await self.line():
            word = line.split(maxsplit=1)[0].upper()
            self.sink.said.append(line if word != "AUTH" else "AUTH")
            await self.hang_if(word)
            if word in self.sink.answers:
                await self.say(self.sink.answers[word])
            elif not await getattr(self, f"do_{word.lower()}")(line):
                return

    async def hang_if(self, word: str) -> None:
        if self.sink.hangs_at == word:
            await asyncio.Event().wait()

    async def line(self) -> str:
        return (await self.reader.readline()).decode().rstrip("\r\n")

    async def say(self, text: str) -> bool:
        self.writer.write(f"{text}\r\n".encode())
        await self.writer.drain()
        return True

    async def do_ehlo(self, _: str) -> bool:
        extensions = ["sink"]
        if self.sink.security == "starttls" and self.sink.offers_tls and not self.tls:
            extensions.append("STARTTLS")
        if self.sink.users and (self.tls or self.sink.security == "none"):
            extensions.append("AUTH PLAIN")
        *first, last = extensions
        for each in first:
            await self.say(f"250-{each}")
        return await self.say(f"250 {last}")

    async def do_starttls(self, _: str) -> bool:
        assert self.sink.context is not None
        await self.say("220 go ahead")
        await self.writer.start_tls(self.sink.context)
        self.tls = True
        return True

    async def do_auth(self, line: str) -> bool:
        _, mechanism, given = line.split()
        assert mechanism == "PLAIN"
        _, user, password = base64.b64decode(given).decode().split("\0")
        if self.sink.users.get(user) != password:
            return await self.say("535 5.7.8 authentication failed")
        self.user = user
        return await self.say("235 welcome")

    async def do_mail(self, line: str) -> bool:
        self.sender, self.recipients = _address(line), []
        return await self.say("250 ok")

    async def do_rcpt(self, line: str) -> bool:
        self.recipients.append(_address(line))
        return await self.say("250 ok")

    async def do_data(self, _: str) -> bool:
        await self.say("354 go on")
        lines = []
        while (line := (await self.reader.readuntil(b"\r\n"))) != b".\r\n":
            lines.append(line.removeprefix(b"."))
        message = email.message_from_bytes(b"".join(lines), policy=email.policy.default)
        assert isinstance(message, EmailMessage)
        self.sink.taken.append(
            Taken(
                sender=self.sender,
                recipients=list(self.recipients),
                message=message,
                under_tls=self.tls,
                user=self.user,
            )
        )
        return await self.say("250 queued")

    async def do_rset(self, _: str) -> bool:
        return await self.say("250 ok")

    async def do_quit(self, _: str) -> bool:
        await self.say("221 bye")
        return False


@asynccontextmanager
async def running_mail_sink(folder: Path, sink: MailSink | None = None, *, name: str = HOST) -> AsyncIterator[MailSink]:
    """Run the server; `trust_file` holds the root of its certificate, which is for `name`."""
    sink = sink or MailSink()
    ca = trustme.CA()
    sink.trust_file = folder / f"mail-{id(ca)}.pem"
    ca.cert_pem.write_to_path(str(sink.trust_file))
    sink.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert(name).configure_cert(sink.context)
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(asyncio.CancelledError):
            await sink.serve(reader, writer)
        tasks.discard(task)

    server = await asyncio.start_server(accept, HOST, 0, ssl=sink.context if sink.security == "tls" else None)
    sink.port = server.sockets[0].getsockname()[1]
    try:
        yield sink
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _address(line: str) -> str:
    return line[line.index("<") + 1 : line.index(">")]
