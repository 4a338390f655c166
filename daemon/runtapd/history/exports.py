"""Getting the Parquet files in which a server offers a history. What is in them, `parquet.py` reads."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

from runtapd import faults
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Exports, Upstream, Waits

MOST_BYTES = 8 * 2**30
"""All files of one history together; a longer one is read in pages, which need no room beside the store."""
MOST_FILES = 10_000


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a history, in no order."""

    files: tuple[Path, ...]
    live_from: int | None = None
    """From this step on the server has rows that are in none of them; None when it tells of none."""


async def download(upstream: Upstream, path: RunPath, folder: Path, waits: Waits) -> Parts | None:
    """Fetches all files of a history into a private folder; None when the server offers none now.

    Whoever calls removes the folder, also after a fault: the files are of use only together. Addresses are good for a
    while only. When one is refused, new ones are asked for, once; refused again, UpstreamRefused is what is raised.
    """
    offered = await upstream.exports(path, waits())
    try:
        return await _all(upstream, path, offered, folder, waits)
    except faults.UpstreamRefused:
        offered = await upstream.exports(path, waits())
    return await _all(upstream, path, offered, folder, waits)


async def _all(
    upstream: Upstream, path: RunPath, offered: Exports, folder: Path, waits: Waits
) -> Parts | None:
    if not offered.urls:
        return None
    if len(offered.urls) > MOST_FILES:
        raise faults.InvalidAnswer(
            f"the history of {path} is exported in {len(offered.urls)} files, too many"
        )
    files = tuple(folder / f"part-{number:05}.parquet" for number in range(len(offered.urls)))
    room = MOST_BYTES

    async def one(url: str, file: Path) -> None:
        nonlocal room
        await upstream.download(url, file, waits(), most_bytes=room)
        room -= file.stat().st_size  # noqa: ASYNC240 - a look at a file that was just written

    jobs = [asyncio.ensure_future(one(url, file)) for url, file in zip(offered.urls, files, strict=True)]
    try:
        await asyncio.gather(*jobs)
    finally:
        for job in jobs:
            job.cancel()
        # Nothing may be written any more once this returns: the folder is the caller's again.
        await asyncio.gather(*jobs, return_exceptions=True)
    return Parts(files, offered.live_from)
