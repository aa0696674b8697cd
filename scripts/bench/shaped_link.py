"""A TCP proxy between two nodes that behaves like a slow line: so many bits a second and so much delay, each way."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections import deque

from wire.awaited import Crew, together
from wire.line import Line

CHUNK = 16 << 10
BUFFERED = 256 << 10   # bytes on their way, as in a router; more would hide the line from the sender


async def _carry(source: asyncio.StreamReader, sink: asyncio.StreamWriter, line: Line) -> None:
    """One direction: bytes leave at the line's rate and arrive `delay` later, in order."""
    loop = asyncio.get_running_loop()
    waiting: deque[tuple[float, bytes]] = deque()
    some, room = asyncio.Event(), asyncio.Event()
    room.set()

    async def deliver() -> None:
        while True:
            while not waiting:
                some.clear()
                await some.wait()
            due, data = waiting[0]
            await asyncio.sleep(max(0.0, due - loop.time()))
            waiting.popleft()
            room.set()
            if not data:
                return
            sink.write(data)
            await sink.drain()

    async def take() -> None:
        free = loop.time()
        while True:
            data = await source.read(CHUNK)
            free = max(free, loop.time()) + 8 * len(data) / line.rate
            await asyncio.sleep(max(0.0, free - loop.time()))
            while sum(len(part) for _, part in waiting) > BUFFERED + line.rate / 8 * line.delay:
                room.clear()
                await room.wait()
            waiting.append((free + line.delay, data))
            some.set()
            if not data:
                return

    try:
        with contextlib.suppress(ConnectionError):
            await together(take(), deliver())
    finally:
        with contextlib.suppress(ConnectionError, RuntimeError):
            sink.close()


class ShapedLinks:
    """Proxies in a thread of their own; `open` returns the address to dial instead of `target`."""

    def __init__(self, line: Line) -> None:
        self._line = line
        self._loop, self._over = asyncio.new_event_loop(), asyncio.Event()
        self._servers, self._carried = list[asyncio.Server](), Crew()
        self._thread = threading.Thread(target=self._serve, name="shaped-links", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:   # at its end cancels and awaits what runs
            runner.run(self._until_over())

    async def _until_over(self) -> None:
        await self._over.wait()
        for server in self._servers:
            server.close()

    def open(self, target: str) -> str:
        """Start a proxy to `host:port`."""
        return asyncio.run_coroutine_threadsafe(self._open(target), self._loop).result()

    async def _open(self, target: str) -> str:
        host, _, port = target.rpartition(":")

        async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
            except OSError:
                writer.close()
                return
            await together(_carry(reader, far_writer, self._line), _carry(far_reader, writer, self._line))

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._carried.start(carry(reader, writer))

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        self._servers.append(server)
        return f"127.0.0.1:{server.sockets[0].getsockname()[1]}"

    def close(self) -> None:
        """Stop the proxies."""
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
