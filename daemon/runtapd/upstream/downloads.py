"""Files that lie where a server points to: fetched without credentials, a few at once, and tried again by status.

They lie with a storage host, so they take no turns of the account's GraphQL requests; a pause that such a host asks for
holds all downloads of the account. Addresses are secrets, since they let anybody in: what is told of one is its host.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from runtapd import faults
from runtapd.upstream import retry
from runtapd.upstream.api import Wait
from runtapd.upstream.threads import on_loop, outcome
from runtapd.upstream.transport import Answer, Exchange, Failed, NotWritten, TooLarge, get_into

AT_ONCE = 3
TRIES = 4
"""How often a file is tried in all; pauses that the host asked for do not count. There is another way to the rows."""
UNREACHED_TRIES = 3
"""How often a host is tried that does not even begin to answer."""
SHUNNED_S = 300.0
"""How long such a host is left alone: storage that only the server itself can reach is not rare."""
LONGEST_CONNECT_S = 5.0
MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_AGAIN = (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.RateLimited, faults.InvalidAnswer)


@dataclass
class Downloads:
    """Fetches files for one account. Lives on the loop."""

    base_url: str
    user_agent: str
    threads: ThreadPoolExecutor = field(repr=False)
    draw: random.Random = field(default_factory=random.Random, repr=False)
    _slots: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(AT_ONCE), repr=False)
    _paused_until: float = 0.0
    """In the loop's time."""
    _shunned: dict[str, float] = field(default_factory=dict)
    """Until when hosts are left alone."""

    async def fetch(self, url: str, file: Path, wait: Wait, most_bytes: int) -> None:
        """See `Upstream.download`."""
        address = self._address(url)
        loop = asyncio.get_running_loop()
        failed = unreached = 0
        fault: faults.Fault | None = None
        while True:
            self._check_reach(_host(address))
            found = await self._attempt(address, file, wait, most_bytes)
            if found is None:
                return
            # A time that ran out says less than what the tries before it met.
            fault = fault if fault and isinstance(found, faults.UpstreamTimeout) else found
            failed += found.retry_after_s is None
            if found.retry_after_s is not None:
                self._paused_until = max(self._paused_until, loop.time() + found.retry_after_s)
            unreached = unreached + 1 if _unreached(found) and loop.time() < wait.deadline else 0
            if unreached == UNREACHED_TRIES:
                self._shunned[found.metadata["host"]] = loop.time() + SHUNNED_S
            if wait.once or failed == TRIES or unreached == UNREACHED_TRIES or not _may_pass(found):
                raise fault
            again = retry.decide(
                errors=failed,
                retry_after_s=found.retry_after_s,
                remaining_s=wait.deadline - loop.time(),
                draw=self.draw,
            )
            if again is None:
                raise fault
            await asyncio.sleep(again.after_s)

    async def _attempt(self, address: str, file: Path, wait: Wait, most_bytes: int) -> faults.Fault | None:
        """Tries once, redirects included; returns what went wrong."""
        host = _host(address)
        heard: list[int] = []
        try:
            answer = await self._redirected(address, file, wait, most_bytes, heard)
        except TimeoutError:
            return faults.UpstreamTimeout(
                f"{host} did not give a file in time", metadata=self._where(host, heard)
            )
        except TooLarge:
            return faults.AnswerTooLarge(
                f"a file at {host} is larger than the {most_bytes} bytes it may have",
                metadata=self._where(host) | {"most_bytes": str(most_bytes)},
            )
        except NotWritten as error:
            return faults.DiskFull(f"a file from {host} cannot be kept in {file.parent}: {error}")
        except Failed as error:
            return faults.UpstreamUnavailable(
                f"a file could not be had from {host}: {error}", metadata=self._where(host, heard)
            )
        except faults.Fault as fault:
            return fault
        return None if answer.status == 200 else self._refusal(host, answer)

    async def _redirected(
        self, address: str, file: Path, wait: Wait, most_bytes: int, heard: list[int]
    ) -> Answer:
        for _ in range(MOST_REDIRECTS + 1):
            answer = await self._sent(address, file, wait, most_bytes, heard)
            onward = answer.headers.get("location", "")
            if answer.status not in _REDIRECTS or not onward:
                break
            onward = self._joined(address, onward)
            if address.startswith("https:") and not onward.startswith("https:"):
                break  # a secret does not go on in the clear
            address = onward
        return answer

    async def _sent(self, address: str, file: Path, wait: Wait, most_bytes: int, heard: list[int]) -> Answer:
        """Sends one request; the status is `heard` as soon as the answer begins."""
        loop = asyncio.get_running_loop()
        await self._slot(wait)
        connect_s = min(LONGEST_CONNECT_S, wait.deadline - loop.time())
        exchange = Exchange(connect_s, lambda status, headers: heard.append(status), most_bytes)
        try:
            job = self.threads.submit(get_into, exchange, address, file, self.user_agent)
        except RuntimeError:
            self._slots.release()
            raise
        # Not when nobody waits any more, but when the thread is free.
        job.add_done_callback(lambda _: on_loop(loop, self._slots.release)())
        return await outcome(job, exchange, lambda: wait.deadline - loop.time())

    def _check_reach(self, host: str) -> None:
        """Raises UpstreamUnavailable while a host is left alone."""
        if self._shunned.get(host, 0.0) > asyncio.get_running_loop().time():
            raise faults.UpstreamUnavailable(
                f"{host}, where files lie, could not be reached when it was last tried",
                metadata=self._where(host),
            )

    async def _slot(self, wait: Wait) -> None:
        """Waits until one more download may begin; raises RateLimited or TimeoutError when that is too late."""
        loop = asyncio.get_running_loop()
        while (pause := self._paused_until - loop.time()) > 0:
            if pause >= wait.deadline - loop.time():
                raise faults.RateLimited(
                    f"where {self.base_url} keeps its files a pause was asked for, of which {pause:.1f} s are left; "
                    "that is longer than this download can wait",
                    metadata=self._where(),
                    retry_after_s=pause,
                )
            await asyncio.sleep(pause)
        while loop.time() < wait.deadline:
            try:
                async with asyncio.timeout_at(wait.deadline):
                    await self._slots.acquire()
                return
            except TimeoutError:
                continue  # others may have joined the wait meanwhile
        raise TimeoutError

    def _refusal(self, host: str, answer: Answer) -> faults.Fault:
        status = answer.status
        text = f"{host} answered HTTP {status} where a file should be"  # its words repeat what it was sent
        metadata = self._where(host) | {"http_status": str(status)}
        pause = retry.retry_after(answer.headers.get("retry-after"), time.time())
        if status == 429:
            return faults.RateLimited(text, metadata=metadata, retry_after_s=pause)
        if retry.may_retry(status):
            return faults.UpstreamUnavailable(text, metadata=metadata, retry_after_s=pause)
        if status < 300 or retry.is_odd(status):
            return faults.InvalidAnswer(text, metadata=metadata)
        return faults.UpstreamRefused(text, metadata=metadata)

    def _address(self, url: str) -> str:
        """Returns an absolute address; one without a host belongs to the server, below the place where it lies."""
        below = url.startswith("/") and not url.startswith("//")
        return self._joined(self.base_url + "/", self.base_url + url if below else url)

    def _joined(self, base: str, url: str) -> str:
        with contextlib.suppress(ValueError):  # brackets that are no address of any version
            address = urljoin(base, url)
            parts = urlsplit(address)
            if parts.scheme in ("http", "https") and parts.hostname:
                return address
        raise faults.InvalidAnswer(
            f"{self.base_url} gave an address of a file that is not one of the web", metadata=self._where()
        )

    def _where(self, host: str = "", heard: Sequence[int] = ()) -> dict[str, str]:
        where = {"server": self.base_url} | ({"host": host} if host else {})
        return where | ({"http_status": str(heard[-1])} if heard else {})


def _may_pass(fault: faults.Fault) -> bool:
    return isinstance(fault, _AGAIN) and not isinstance(fault, faults.AnswerTooLarge)


def _unreached(fault: faults.Fault) -> bool:
    """Whether not even the beginning of an answer came from the host that was asked."""
    return "host" in fault.metadata and "http_status" not in fault.metadata


def _host(address: str) -> str:
    """What may be told of an address: who is asked, without names and passwords before it."""
    return urlsplit(address).netloc.rpartition("@")[2]
