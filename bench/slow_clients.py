"""TCP clients that send a byte a second: `python -m bench.slow_clients PORT COUNT`; whoever is dropped comes again."""

from __future__ import annotations

import asyncio
import json
import sys

QUERY = bytes.fromhex("001d 1234 0000 0001 0000 0000 0000") + b"\x05boxes\x05bench\x00\x00\x01\x00\x01"
PAUSE_S = 1.0


async def _client(port: int, first: asyncio.Event) -> None:
    while True:
        writer: asyncio.StreamWriter | None = None
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            first.set()
            for octet in QUERY:
                writer.write(bytes([octet]))
                await writer.drain()
                await asyncio.sleep(PAUSE_S)
        except OSError:
            await asyncio.sleep(PAUSE_S)  # dropped, as slow clients may be
        finally:
            if writer is not None:
                writer.close()


async def main() -> None:
    port, count = map(int, sys.argv[1:])
    connected = [asyncio.Event() for _ in range(count)]
    async with asyncio.TaskGroup() as group:
        for each in connected:
            group.create_task(_client(port, each))
        for each in connected:
            await each.wait()
        print(json.dumps({"kind": "ready"}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
