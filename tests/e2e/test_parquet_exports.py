"""Histories that the local server exports: fetched from it without a key, and the same rows as its JSON."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from runtapd.history import exports, fetch, parquet
from runtapd.history.exports import Parts
from runtapd.history.table import Rows, joined
from runtapd.model.paths import RunPath
from runtapd.upstream.channel import Channel
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.turns import Turns
from tests.local.client import Client
from tests.support.local_server import LocalServer, local_server
from tests.support.upstream_client import Use, soon

ROWS: list[dict[str, Any]] = [
    {
        "_step": step * 3,
        "_timestamp": 1.7e9 + step,
        "loss": math.nan if step % 7 == 0 else 1 / (step + 1),
        "n": 2**60 + step,
        **({"sometimes": f"at {step}"} if step % 5 == 0 else {}),
        "mixed": [step, "text", {"deep": [1, math.inf]}][step % 3],
        **({"image": {"_type": "image-file", "path": f"{step}.png", "width": step}} if step % 4 == 0 else {}),
    }
    for step in range(130)
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    """One that offers exports, in parts of 40 rows."""
    with local_server(tmp_path_factory.mktemp("exporting") / "home", parquet=1, parquet_rows=40) as running:
        yield running


def asked(server: LocalServer, what: Use[Any]) -> Any:
    """What comes of asking the server as its first user."""
    with ThreadPoolExecutor(4) as threads:
        channel = Channel(server.url, server.api_key, "test", threads, Turns(server.url))
        try:
            return asyncio.run(_asked(what, GraphQLUpstream(channel)))
        finally:
            channel.close()


async def _asked(what: Use[Any], upstream: GraphQLUpstream) -> Any:
    await upstream.viewer(soon())  # which tells that the server has exports
    return await what(upstream)


def cells(rows: Rows) -> list[dict[str, str]]:
    """Rows with each value as it reads: NaN equals itself then."""
    found: list[dict[str, str]] = [{} for _ in range(rows.length)]
    for key, column in rows.columns.items():
        for row, value in zip(found, column.values.to_pylist(), strict=True):
            if value is not None:
                row[key] = repr(value)
    return found


def test_files_give_what_json_gives(server: LocalServer, tmp_path: Path) -> None:
    owner = Client(server.url, server.entity, server.api_key, project="exports")
    path = RunPath(server.entity, "exports", "r1")
    owner.upsert("r1")
    owner.log("r1", 0, ROWS)

    async def offered(upstream: GraphQLUpstream) -> Parts | None:
        found = await upstream.exports(path, soon())
        return await exports.download(upstream, path, found, tmp_path, soon)

    assert asked(server, offered) is None, "it still runs"
    owner.stream("r1", complete=True, exitcode=0)
    parts = asked(server, offered)
    assert parts is not None and len(parts.files) == 4 and parts.live_from is None

    async def by_json(upstream: GraphQLUpstream) -> Rows:
        pages = fetch.steps(upstream, path, begin=0, end=10**6, line_count=None, page_rows=1000, waits=soon)
        return joined([page async for page, _ in pages])

    wanted = asked(server, by_json)
    assert len(cells(wanted)) == len(ROWS)
    assert cells(joined(list(parquet.rows(parts.files, from_step=0)))) == cells(wanted)
    tail = joined(list(parquet.rows(parts.files[::-1], from_step=201)))
    assert cells(tail) == cells(wanted)[67:]
