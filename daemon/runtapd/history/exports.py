"""Histories that a server exports as Parquet files: getting the files, and their rows one portion after the other.

What is in a file, `parquet.py` reads; how it is fetched, `upstream/downloads.py` knows. Files lie in a folder of their
own in the system's place for temporary ones, and are gone with the reading; what a killed daemon left there, the next
one that reads an export removes.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar

from runtapd import faults
from runtapd.history import parquet
from runtapd.history.table import Rows
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Exports, Upstream, Waits

P = ParamSpec("P")
T = TypeVar("T")
MOST_BYTES = 2 * 2**30
"""All files of one history together: temporary ones may lie in memory. Longer histories are read in pages."""
MOST_FILES = 10_000
AT_ONCE = 3
LEFT_BEHIND_S = 300.0
"""A folder so old in which nobody works was left behind."""
_PREFIX = "runtap-export-"
_OUT_OF_REACH = (faults.RateLimited, faults.UpstreamTimeout, faults.DiskFull)


@dataclass(frozen=True, slots=True)
class Parts:
    """The files of a history, in no order."""

    files: tuple[Path, ...]
    live_from: int | None = None
    """From this step on the server has rows that are in none of them; None when it tells of none."""


async def exported(upstream: Upstream, path: RunPath, waits: Waits) -> AsyncGenerator[Rows, None]:
    """Yields the rows that a server has exported, in step order, at most 65,536 at once; none when it offers none.

    Rows from the first step on of which the server has rows outside the files are left out: they are to be read in
    pages. What is wrong with files may be found after some of their rows were given. It is InvalidAnswer,
    UpstreamRefused or UpstreamUnavailable; the rows can still be had in pages then.
    """
    offered = await upstream.exports(path, waits())
    if not offered.urls:
        return
    async with _folder() as folder:
        parts = await download(upstream, path, offered, folder, waits)
        if parts is None:
            return
        reading = parquet.rows(parts.files, from_step=0)
        try:
            while (found := await _to_its_end(next, reading, None)) is not None:
                rows = found.between(None, parts.live_from)
                if rows.length:
                    yield rows
                if rows.length < found.length:
                    return
        finally:
            await _to_its_end(reading.close)


async def download(
    upstream: Upstream, path: RunPath, offered: Exports, folder: Path, waits: Waits
) -> Parts | None:
    """Fetches all files of a history into a private folder; None when the server offers none any more.

    Whoever calls removes the folder, also after a fault: the files are of use only together. Addresses are good for a
    while only. When one is refused, new ones are asked for, once; refused again, UpstreamRefused is what is raised.
    """
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
    todo = iter(zip(offered.urls, files, strict=True))
    room = MOST_BYTES

    async def work() -> None:
        nonlocal room
        for url, file in todo:  # shared: the time of a file begins when it is its turn
            try:
                await upstream.download(url, file, waits(), most_bytes=room)
            except _OUT_OF_REACH as fault:
                # For whoever wants the rows, it is all the same why files cannot be had: there is another way.
                raise faults.UpstreamUnavailable(fault.message, metadata=fault.metadata) from fault
            room -= file.stat().st_size

    workers = [asyncio.ensure_future(work()) for _ in range(AT_ONCE)]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)
    return Parts(files, offered.live_from)


@asynccontextmanager
async def _folder() -> AsyncIterator[Path]:
    """A private folder; locked while it is used, so that it can be told from one that was left behind."""
    await asyncio.to_thread(_remove_left_behind)
    folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
    lock = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield folder
    finally:
        os.close(lock)
        # Not on the loop, and also when this is cancelled once more.
        await _to_its_end(shutil.rmtree, folder, ignore_errors=True)


def _remove_left_behind() -> None:
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # somebody else's, gone meanwhile, or in use
            found = folder.lstat()
            if found.st_uid != os.geteuid() or found.st_mtime > time.time() - LEFT_BEHIND_S:
                continue
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


async def _to_its_end(call: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Runs in a thread; ends no earlier than the thread does, also when cancelled: it uses what is closed next."""
    job = asyncio.ensure_future(asyncio.to_thread(call, *arguments, **options))
    try:
        return await asyncio.shield(job)
    finally:
        if not job.done():
            await asyncio.wait([job])
            job.cancelled() or job.exception()  # nobody's business any more
