"""A storage host: files at signed addresses, for whoever has one; nobody is asked for a key.

    with StorageHost() as storage:
        storage.files["/bucket/a.parquet"] = body
        address = storage.signed("/bucket/a.parquet")
        storage.fail("a.parquet", Status(503), times=2)

Faults and gates are named by the file (the last part of its path); whose files they are is the upstream's business,
see `exporting_upstream`.
"""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from tests.support.http_host import Handler, Host

SECRET = "canary0signature0of0an0address0"
_CREDENTIALS = {"authorization", "cookie", "use-admin-privileges"}


@dataclass
class Download:
    """One request that arrived."""

    name: str
    target: str
    """Path and query."""
    headers: dict[str, str]
    """By name in lower case."""


class _Giving(Handler):
    """Answers GET."""

    owner: StorageHost

    def do_GET(self) -> None:
        name = urlsplit(self.path).path.rpartition("/")[2]
        headers = {header.lower(): value for header, value in self.headers.items()}
        self.owner.arrived(Download(name, self.path, headers))
        try:
            self._give(name)
        finally:
            self.owner.finished()

    def _give(self, name: str) -> None:
        failure = self.owner.failure(name)
        waited = self._waited(name, failure)
        self.owner.waited()  # before the answer: whoever has read it may be here again at once
        if not waited or self._failed(failure):
            return
        status, body = self.owner.answer(self.path)
        if status == 200:
            self._send_spoilt(body, failure)
        else:
            self._send(body, status, {"Content-Type": "application/xml"})


@dataclass
class StorageHost(Host):
    """Gives files to whoever has a good address; enter it to start it."""

    files: dict[str, bytes] = field(default_factory=dict)
    """By path."""
    seen: list[Download] = field(default_factory=list)
    refuses_all: bool = False
    """Signed addresses are never good."""
    waiting: int = 0
    """How many requests wait for their answer to begin."""
    most_waiting: int = 0
    under_way: int = 0
    """How many requests have arrived and are not done with, answered or left by their client."""
    _signatures: dict[str, set[str]] = field(default_factory=dict)
    """Those that are good, by path; files whose address was never signed are everybody's."""
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _handler = _Giving

    def signed(self, path: str) -> str:
        """An address of the file; without one of its own signatures nobody gets it from now on."""
        with self._lock:
            signature = f"{SECRET}{next(self._numbers)}"
            self._signatures.setdefault(path, set()).add(signature)
        return f"{self.url}{path}?X-Amz-Signature={signature}"

    def expire(self) -> None:
        """Addresses signed so far are refused from now on."""
        with self._lock:
            for signatures in self._signatures.values():
                signatures.clear()

    # What it saw

    def downloads(self) -> Counter[str]:
        """How often each file was asked for, by name."""
        with self._lock:
            return Counter(download.name for download in self.seen)

    def with_credentials(self) -> list[str]:
        """Names of files that were asked for with a key, which nobody but the server itself must see."""
        with self._lock:
            return [download.name for download in self.seen if _CREDENTIALS & download.headers.keys()]

    # For the handler

    def arrived(self, download: Download) -> None:
        with self._lock:
            self.seen.append(download)
            self.under_way += 1
            self.waiting += 1
            self.most_waiting = max(self.most_waiting, self.waiting)

    def waited(self) -> None:
        with self._lock:
            self.waiting -= 1

    def finished(self) -> None:
        with self._lock:
            self.under_way -= 1

    def answer(self, target: str) -> tuple[int, bytes]:
        """Status and body for a request."""
        address = urlsplit(target)
        signature = parse_qs(address.query).get("X-Amz-Signature", [""])[0]
        with self._lock:
            good = self._signatures.get(address.path)
            if good is not None and (self.refuses_all or signature not in good):
                status, code = 403, "AccessDenied"
            elif address.path not in self.files:
                status, code = 404, "NoSuchKey"
            else:
                return 200, self.files[address.path]
        return status, f"<Error><Code>{code}</Code><Url>{target}</Url></Error>".encode()
