"""HTTP, and nothing above it: one POST of JSON with a true deadline, retried by status.

The only user of `requests`. Waiting (backoff, Retry-After) happens on the loop, never in a thread; a body is read in
pieces and the deadline checked between them, because the timeout of `requests` alone does not end a body that drips;
cancelling the caller closes the response, which ends the thread's read.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter

from runtapd import faults
from runtapd.model import jsontext
from runtapd.upstream import retry
from runtapd.upstream.api import Wait

LONGEST_SILENCE_S = 30.0
"""A server that sends nothing for so long is taken for dead."""
LARGEST_BODY = 512 * 2**20
PIECE = 256 * 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes


class _Cut(Exception):
    """The connection failed before or inside the answer."""


@dataclass(slots=True)
class _Exchange:
    """One request under way in a thread; `close` ends it from the loop."""

    response: requests.Response | None = None
    closed: bool = False

    def close(self) -> None:
        self.closed = True
        if self.response is not None:
            with contextlib.suppress(OSError, RuntimeError, AttributeError):
                # Wakes a thread that sits in recv; close() alone would wait for it.
                self.response.raw.shutdown()
            self.response.close()


@dataclass
class Transport:
    """Sends requests to one server as one account."""

    base_url: str
    api_key: str = field(repr=False)
    user_agent: str
    threads: ThreadPoolExecutor = field(repr=False)
    draw: random.Random = field(default_factory=random.Random, repr=False)
    requests_sent: int = 0
    refused: bool = False
    """True once the server answered 401 to this key."""
    _session: requests.Session = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._session = requests.Session()
        # Proxies and certificates of the surroundings count, but never on the way to this very machine.
        self._session.trust_env = urlsplit(self.base_url).hostname not in {"127.0.0.1", "localhost", "::1"}
        self._session.headers.update({"User-Agent": self.user_agent, "Use-Admin-Privileges": "true"})
        # Retrying is ours: urllib3's own sleeps in the thread and knows no total deadline.
        adapter = HTTPAdapter(pool_connections=1, pool_maxsize=16, max_retries=0)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def close(self) -> None:
        """Closes idle connections."""
        self._session.close()

    async def graphql(
        self, operation: str, query: str, variables: dict[str, Any], wait: Wait, *, once: bool = False
    ) -> dict[str, Any]:
        """Executes a document and returns its `data`. With `once` nothing is sent a second time.

        Raises NeedsLogin (401), UpstreamForbidden (403), UpstreamRefused (other final statuses and GraphQL errors),
        RateLimited, UpstreamUnavailable, UpstreamTimeout or InvalidAnswer.
        """
        payload = {"query": query, "variables": variables, "operationName": operation}
        body = jsontext.dumps(payload).encode("utf-8", "surrogatepass")
        loop = asyncio.get_running_loop()
        errors = 0
        while True:
            remaining = wait.deadline - loop.time()
            if remaining <= 0:
                raise faults.UpstreamTimeout(f"{self.base_url} did not answer {operation} in time")
            fault = await self._attempt(operation, body, remaining)
            if isinstance(fault, dict):
                return fault
            if once or not isinstance(
                fault, (faults.UpstreamUnavailable, faults.RateLimited, faults.InvalidAnswer)
            ):
                raise fault
            errors += fault.retry_after_s is None
            remaining = wait.deadline - loop.time()
            again = retry.decide(
                errors=errors, retry_after_s=fault.retry_after_s, remaining_s=remaining, draw=self.draw
            )
            if again is None:
                raise fault
            await asyncio.sleep(again.after_s)

    async def _attempt(
        self, operation: str, body: bytes, remaining_s: float
    ) -> dict[str, Any] | faults.Fault:
        try:
            answer = await self._post(f"{self.base_url}/graphql", body, remaining_s)
        except TimeoutError:
            return faults.UpstreamTimeout(f"{self.base_url} did not answer {operation} in time")
        except _Cut as error:
            return faults.UpstreamUnavailable(
                f"{self.base_url} cannot be reached: {error}", metadata=self._where()
            )
        if answer.status != 200:
            return self._refusal(operation, answer)
        # Parsing a page of runs takes milliseconds; the loop must not wait for it.
        return await asyncio.get_running_loop().run_in_executor(
            self.threads, functools.partial(self._data, operation, answer)
        )

    def _data(self, operation: str, answer: Answer) -> dict[str, Any] | faults.Fault:
        try:
            parsed = jsontext.loads(answer.body)
        except ValueError:
            kind = answer.headers.get("content-type", "no content type")
            return faults.InvalidAnswer(
                f"{self.base_url} answered {operation} with something that is not JSON ({kind})",
                metadata=self._where() | {"http_status": "200"},
            )
        if not isinstance(parsed, dict) or ("data" not in parsed and not parsed.get("errors")):
            return faults.InvalidAnswer(
                f"{self.base_url} answered {operation} without data", metadata=self._where()
            )
        if parsed.get("errors"):
            words = error_words(parsed) or "a GraphQL error without a message"
            return faults.UpstreamRefused(
                f"{self.base_url} refused {operation}: {words}",
                metadata=self._where() | {"http_status": "200", "body": words[:4000]},
            )
        data = parsed["data"]
        return data if isinstance(data, dict) else {}

    def _refusal(self, operation: str, answer: Answer) -> faults.Fault:
        status = answer.status
        words = ""
        with contextlib.suppress(ValueError):
            words = error_words(jsontext.loads(answer.body))
        said = words or answer.body[:300].decode("utf-8", "replace").strip() or "no text"
        metadata = self._where() | {"http_status": str(status), "body": said[:4000]}
        text = f"{self.base_url} answered {operation} with HTTP {status}: {said[:500]}"
        pause = retry.retry_after(answer.headers.get("retry-after"), time.time())
        if status == 401:
            self.refused = True
            return faults.NeedsLogin(
                f"{self.base_url} refused the API key of this account; `runtap login` sets a new one",
                reason="API_KEY_REJECTED",
                metadata=metadata,
            )
        if status == 403:
            return faults.UpstreamForbidden(text, metadata=metadata)
        if status == 429:
            return faults.RateLimited(text, metadata=metadata, retry_after_s=pause)
        if retry.may_retry(status):
            return faults.UpstreamUnavailable(text, metadata=metadata, retry_after_s=pause)
        return faults.UpstreamRefused(text, metadata=metadata)

    def _where(self) -> dict[str, str]:
        return {"server": self.base_url}

    async def _post(self, url: str, body: bytes, remaining_s: float) -> Answer:
        exchange = _Exchange()
        self.requests_sent += 1
        work = asyncio.get_running_loop().run_in_executor(
            self.threads, self._post_blocking, exchange, url, body, time.monotonic() + remaining_s
        )
        try:
            async with asyncio.timeout(remaining_s):
                return await asyncio.shield(work)
        except BaseException:
            exchange.close()
            # The thread ends by itself now; its outcome is nobody's business any more.
            work.add_done_callback(lambda done: done.cancelled() or done.exception())
            raise

    def _post_blocking(self, exchange: _Exchange, url: str, body: bytes, end: float) -> Answer:
        """Runs in a thread: sends, and reads the body piece by piece until `end`."""
        silence = min(LONGEST_SILENCE_S, max(0.05, end - time.monotonic()))
        try:
            response = self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                auth=("api", self.api_key),
                timeout=(min(10.0, silence), silence),
                stream=True,
                allow_redirects=False,
            )
            exchange.response = response
            with response:
                pieces: list[bytes] = []
                size = 0
                while piece := response.raw.read1(PIECE, decode_content=True):
                    pieces.append(piece)
                    size += len(piece)
                    if exchange.closed or time.monotonic() > end:
                        raise TimeoutError
                    if size > LARGEST_BODY:
                        raise _Cut(f"the answer is larger than {LARGEST_BODY >> 20} MiB")
                self._check_length(response, size)
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Answer(response.status_code, headers, b"".join(pieces))
        except requests.Timeout as error:
            raise TimeoutError from error
        except (requests.RequestException, OSError, ValueError) as error:
            raise _Cut(short_reason(error)) from error
        except Exception as error:
            # urllib3 raises its own kinds while reading the raw body.
            if type(error).__module__.startswith("urllib3"):
                raise _Cut(short_reason(error)) from error
            raise

    @staticmethod
    def _check_length(response: requests.Response, size: int) -> None:
        """Refuses a body that ended early; only checkable when it was not compressed."""
        promised = response.headers.get("Content-Length", "")
        if promised.isdigit() and "Content-Encoding" not in response.headers and int(promised) != size:
            raise _Cut(f"the answer ended after {size} of {promised} bytes")


def error_words(parsed: Any) -> str:
    """Returns the messages of a GraphQL or HTTP error body, joined; empty when there are none."""
    if not isinstance(parsed, dict):
        return ""
    errors = parsed.get("errors") or ([parsed["error"]] if parsed.get("error") else [])
    if not isinstance(errors, list):
        errors = [errors]
    words = [str(e.get("message", "")) if isinstance(e, dict) else str(e) for e in errors]
    return "; ".join(word for word in words if word)


def short_reason(error: BaseException) -> str:
    """Returns what went wrong in few words, without the address, which may hold a secret."""
    text = str(error).lower()
    for sign, words in (
        ("refused", "connection refused"),
        ("reset", "connection reset"),
        ("name or service", "the host name is not known"),
        ("resolve", "the host name is not known"),
        ("certificate", "its TLS certificate is not trusted"),
        ("unreachable", "network unreachable"),
        ("incompleteread", "the answer broke off"),
        ("closed connection", "the connection was closed"),
        ("aborted", "the connection was closed"),
        ("the answer", str(error)),
    ):
        if sign in text:
            return words
    return type(error).__name__
