"""Threads are shared: nobody's requests hold up those of others, nor a person's lists their own training."""

import asyncio
import threading
from pathlib import Path

import pytest
from starlette.requests import Request

from runtap_local.app import LocalServer
from runtap_local.settings import Settings
from runtap_local.store.database import Database


def asked(path: str, key: str) -> Request:
    return Request({"type": "http", "path": path, "headers": [(b"authorization", key.encode())]})


@pytest.mark.parametrize(
    ("path", "key", "waits"),
    [("/graphql", "ada", True), ("/files/a/p/r/file_stream", "ada", False), ("/graphql", "bob", False)],
)
def test_long_requests_hold_up_only_their_like(tmp_path: Path, path: str, key: str, waits: bool) -> None:
    database = Database(tmp_path / "local.db")
    server = LocalServer(database, Settings(home=tmp_path))
    release = threading.Event()

    async def scene() -> bool:
        lists = [
            asyncio.create_task(server.in_thread(release.wait, asked("/graphql", "ada"))) for _ in range(8)
        ]
        await asyncio.sleep(0.05)
        other = asyncio.create_task(server.in_thread(lambda: True, asked(path, key)))
        done, _ = await asyncio.wait([other], timeout=0.3 if waits else 20)
        release.set()
        await asyncio.gather(*lists, other)
        return not done

    try:
        assert asyncio.run(scene()) is waits
    finally:
        database.close()
