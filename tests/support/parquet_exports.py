"""Parquet exports of histories, served from an address of their own as object stores do: signed, without credentials.

Owns which parts a history has, what is in them and what goes wrong with a download; what is asked by GraphQL is
`upstream_histories`'.
"""

from __future__ import annotations

import io
import itertools
import json
import re
import threading
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq

from tests.support.upstream_faults import CutShort, ShortBody, Status, UpstreamFailure
from tests.support.upstream_http import Server

_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPELLED = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


@dataclass
class Exports:
    """The files of one object store; enter it to start it."""

    arranged: Callable[[list[str]], list[str]] = lambda urls: urls
    """In which order a server names the parts."""
    downloads: Counter[str] = field(default_factory=Counter)
    """GETs of each part, by its name."""
    with_credentials: list[str] = field(default_factory=list)
    """Names of parts that were asked for with a key, which nobody but the server itself must see."""
    parts: dict[str, dict[str, bytes]] = field(default_factory=dict)
    """By path of the run: files by name."""
    exported: dict[str, int] = field(default_factory=dict)
    """By path of the run: how many of its rows, in step order, are in files."""
    _faults: dict[str, deque[UpstreamFailure]] = field(default_factory=dict)
    _signatures: set[str] = field(default_factory=set)
    _numbers: itertools.count[int] = field(default_factory=itertools.count)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _server: Server | None = None

    def export(self, path: str, stepped: Sequence[tuple[int, str]], cuts: Sequence[int]) -> None:
        """Makes the parts of a history: rows up to the first cut in the first, and so on. What is behind the last cut
        is live. A part whose rows are those it had before keeps its bytes."""
        texts = [text for _, text in stepped]
        files = {
            f"part-{i}.parquet": parquet(texts[low:high])
            for i, (low, high) in enumerate(itertools.pairwise((0, *cuts)))
        }
        with self._lock:
            self.parts[path] = files
            self.exported[path] = cuts[-1] if cuts else 0

    def truncate(self, path: str, name: str) -> None:
        """A part is from now on half of what it was."""
        with self._lock:
            self.parts[path][name] = self.parts[path][name][: len(self.parts[path][name]) // 2]

    def fail(self, name: str, failure: UpstreamFailure, times: int = 1) -> None:
        """The next downloads of the part go wrong so."""
        with self._lock:
            self._faults.setdefault(name, deque()).extend([failure] * times)

    def heal(self) -> None:
        """Downloads go well again."""
        with self._lock:
            self._faults.clear()

    def expire(self) -> None:
        """Addresses told so far are refused from now on."""
        with self._lock:
            self._signatures.clear()

    def told(self, path: str, stepped: Sequence[tuple[int, str]]) -> dict[str, Any]:
        """What `parquetHistory(liveKeys: ["_step"])` answers."""
        assert self._server is not None
        with self._lock:
            signature = f"s{next(self._numbers)}"
            self._signatures.add(signature)
            base = f"http://127.0.0.1:{self._server.server_address[1]}/{path}"
            urls = [f"{base}/{name}?X-Signature={signature}" for name in self.parts.get(path, ())]
            live = [{"_step": step} for step, _ in stepped[self.exported.get(path, 0) :]]
        return {"parquetUrls": self.arranged(urls), "liveData": live if urls else []}

    def __enter__(self) -> Exports:
        exports = self

        class Own(_Handler):
            owner = exports

        self._server = Server(("127.0.0.1", 0), Own)
        threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        ).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    def take(
        self, target: str, signed: str, has_key: bool, *, counts: bool
    ) -> tuple[bytes, UpstreamFailure | None]:
        """Notes a request for a file; returns its bytes, and what shall go wrong."""
        path, _, name = target.rpartition("/")
        with self._lock:
            if counts:
                self.downloads[name] += 1
            if has_key:
                self.with_credentials.append(name)
            if signed not in self._signatures:
                return b"", Status(403, b"<Error><Code>ExpiredToken</Code></Error>")
            if name not in self.parts.get(path, {}):
                return b"", Status(404, b"<Error><Code>NoSuchKey</Code></Error>")
            faults = self._faults.get(name)
            return self.parts[path][name], faults.popleft() if faults and counts else None


class _Handler(BaseHTTPRequestHandler):
    """Answers for files, with ranges."""

    owner: Exports
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        address = urlsplit(self.path)
        signature = parse_qs(address.query).get("X-Signature", [""])[0]
        keyed = any(header in self.headers for header in ("Authorization", "Cookie"))
        content, failure = self.owner.take(address.path.lstrip("/"), signature, keyed, counts=body)
        if isinstance(failure, Status):
            self._send(failure.code, failure.body, body=body)
        elif isinstance(failure, CutShort):
            self._send(200, content[: len(content) // 2], body=body)
        elif isinstance(failure, ShortBody):
            self._send(200, content, body=body, part=0.5)
            self.close_connection = True
        else:
            self._send_range(content, body=body)

    def _send_range(self, content: bytes, *, body: bool) -> None:
        wanted = self.headers.get("Range", "")
        first, _, last = wanted.removeprefix("bytes=").partition("-")
        if not wanted or not first:
            self._send(200, content, body=body)
            return
        low, high = int(first), min(int(last) if last else len(content), len(content) - 1)
        head = {"Content-Range": f"bytes {low}-{high}/{len(content)}"}
        self._send(206, content[low : high + 1], head, body=body)

    def _send(
        self,
        status: int,
        content: bytes,
        headers: dict[str, str] | None = None,
        *,
        body: bool,
        part: float = 1.0,
    ) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", f'"{hash(content) & 0xFFFFFFFF:08x}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content[: int(len(content) * part)])


def parquet(texts: Sequence[str]) -> bytes:
    """Rows as one Parquet file. What a row lacks is null there; keys whose values have no common type are JSON texts,
    and their columns say so."""
    rows = [exported(text) for text in texts]
    columns = {key: _array([row.get(key) for row in rows]) for key in dict.fromkeys(itertools.chain(*rows))}
    fields = [pa.field(key, array.type, metadata=more) for key, (array, more) in columns.items()]
    table = pa.Table.from_arrays([array for array, _ in columns.values()], schema=pa.schema(fields))
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def exported(text: str) -> dict[str, Any]:
    """A row as it can be in a file, which has no nulls besides what is missing, and no text that is none."""
    row = json.loads(text)
    if "\\ud" in text:
        row = json.loads(_LONE_SURROGATE.sub("\ufffd", json.dumps(row, ensure_ascii=False)))
    row["_step"] = int(row["_step"])
    return {key: value for key, value in row.items() if value is not None}


def _array(values: list[Any]) -> tuple[Any, dict[str, str] | None]:
    kinds = {type(value) for value in values if value is not None}
    if kinds <= {int, float, str} and kinds & {int, float}:
        numbers = [_SPELLED.get(value, value) if isinstance(value, str) else value for value in values]
        if not any(isinstance(value, str) for value in numbers):
            kinds, values = {type(value) for value in numbers if value is not None}, numbers
    if kinds == {int} and all(value is None or -(2**63) <= value < 2**63 for value in values):
        return pa.array(values, pa.int64()), None
    if kinds <= {int, float} and all(not isinstance(value, int) or abs(value) <= 2**53 for value in values):
        return pa.array(values, pa.float64(), from_pandas=False), None
    if kinds in ({bool}, {str}):
        return pa.array(values), None
    texts = [None if value is None else json.dumps(value) for value in values]
    return pa.array(texts, pa.string()), {"encoding": "json"}
