"""A server at a distance: a TCP proxy that holds each HTTP request back for a while, and counts them.

Requests of different connections do not wait for each other. Bytes pass untouched; a request begins with the first
bytes that a client sends after an answer, which holds for every client that does not pipeline.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

_PIECE = 2**18


class FarServer:
    """Speaks for the server at `target` on `url`, `delay_s` later."""

    def __init__(self, target: str, delay_s: float) -> None:
        self.requests = 0
        self.url = ""
        self._target = urlsplit(target)
        self._delay_s = delay_s
        self._open: set[asyncio.Task[None]] = set()

    @contextlib.contextmanager
    def running(self) -> Iterator[FarServer]:
        """Serves for the length of a block, in a thread of its own."""
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever, name="far-server")
        thread.start()
        try:
            server = asyncio.run_coroutine_threadsafe(
                asyncio.start_server(self._serve, "127.0.0.1", 0), loop
            ).result(10)
            self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            yield self
            asyncio.run_coroutine_threadsafe(self._close(server), loop).result(10)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _close(self, server: asyncio.Server) -> None:
        server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
            try:
                connection = _Connection(self)
                answers = asyncio.create_task(connection.answers(there, writer))
                try:
                    await connection.requests(reader, back, self._delay_s)
                    await answers
                finally:
                    answers.cancel()
            finally:
                back.close()
        except (OSError, asyncio.CancelledError):
            pass  # either side hung up, or the block has ended
        finally:
            self._open.discard(task)
            writer.close()


class _Connection:
    """Whose turn it is to speak on one connection."""

    def __init__(self, server: FarServer) -> None:
        self._server = server
        self._answered = True

    async def requests(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay_s: float
    ) -> None:
        while data := await reader.read(_PIECE):
            if self._answered:
                self._answered = False
                self._server.requests += 1
                await asyncio.sleep(delay_s)
            writer.write(data)
            await writer.drain()
        writer.write_eof()

    async def answers(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_PIECE):
            self._answered = True
            writer.write(data)
            await writer.drain()
        writer.close()
