"""One HTTP request and its answer, blocking, in a thread; and ending it from outside at any moment.

The only user of `requests`. A body is read in pieces, because the timeout of `requests` alone does not end a body that
drips; ending an exchange shuts its socket down, which wakes the thread wherever it waits.
"""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import requests
from requests.adapters import HTTPAdapter
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, ReadTimeoutError

LONGEST_SILENCE_S = 30.0
"""A server that sends nothing for so long is taken for dead."""
LONGEST_CONNECT_S = 10.0
LARGEST_BODY = 512 * 2**20
PIECE = 256 * 1024
_under_way = threading.local()


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, whole."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def good(self) -> bool:
        """Whether the body is what was asked for, not words about an error."""
        return _is_good(self.status)


class Failed(Exception):
    """The connection failed before or inside the answer; the message says how, in few words and without secrets."""


class TooLarge(Exception):
    """A good answer has more bytes than were wanted; the rest of it was not read."""


class NotWritten(Exception):
    """A body could not be written into its file; the message says why."""


class Exchange:
    """One request under way in a thread; `close` ends it from the loop."""

    def __init__(
        self, time_s: float, on_head: Callable[[int, Mapping[str, str]], None], most_bytes: int = LARGEST_BODY
    ) -> None:
        self.time_s = time_s
        """How long connecting may take, which `close` cannot end; whoever waits may get more time meanwhile."""
        self.most_bytes = most_bytes
        """How large the body of a good answer may be, decompressed."""
        self.on_head = on_head
        """Called in the thread with status and headers as soon as they are there, however long the body takes."""
        self.closed = False
        self.received = 0
        """Bytes of the body that have come."""
        self._socket: socket.socket | None = None

    def close(self) -> None:
        """Ends it, wherever it is."""
        self.closed = True
        connection = self._socket  # the thread may forget it meanwhile
        if connection is not None:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # close() alone would not wake a thread in recv

    def uses(self, connection: socket.socket) -> None:
        """Notes the socket, in the thread, before anything is sent on it; raises TimeoutError when it is too late."""
        self._socket = connection
        if self.closed:
            raise TimeoutError

    def ended(self) -> None:
        """Forgets the socket: it belongs to the pool again."""
        self._socket = None


class Session:
    """A pool of connections to one server, used from many threads."""

    def __init__(self, base_url: str, api_key: str, user_agent: str, connections: int) -> None:
        self._auth = ("api", api_key)
        self._session = _Plain()
        # Proxies and certificates of the surroundings count, but never on the way to this very machine.
        self._session.trust_env = not _is_here(base_url)
        self._session.headers.update({"User-Agent": user_agent, "Use-Admin-Privileges": "true"})
        _mount(self._session, connections)

    def close(self) -> None:
        """Closes idle connections."""
        self._session.close()

    def post(self, exchange: Exchange, url: str, body: bytes) -> Answer:
        """Sends and reads the whole answer; raises Failed, TooLarge or TimeoutError."""
        with _under_way_as(exchange):
            response = self._session.post(
                url,
                data=body,
                headers={"Content-Type": "application/json"},
                auth=self._auth,
                timeout=_timeout(exchange),
                stream=True,
                allow_redirects=False,
            )
            with response:
                headers = _headers(response)
                exchange.on_head(response.status_code, headers)
                # What a server says about an error is short; cutting it would hide the status.
                most = exchange.most_bytes if _is_good(response.status_code) else LARGEST_BODY
                if _told_size(headers) > most:
                    raise TooLarge
                # Leaving early closes the connection: nobody reads the rest.
                return Answer(response.status_code, headers, b"".join(_pieces(exchange, response, most)))


def get_into(exchange: Exchange, url: str, file: Path, user_agent: str) -> Answer:
    """Gets without any credentials, and writes the body of status 200 into a private file; other bodies are not read.

    Each time as if it were the first: no key, no netrc, no cookies, and no connection that others have used. Raises
    Failed, TooLarge, NotWritten or TimeoutError.
    """
    with _under_way_as(exchange), _Plain() as session:
        session.trust_env = not _is_here(url)
        _mount(session, connections=1)
        response = session.get(
            url,
            headers={"User-Agent": user_agent, "Accept-Encoding": "identity"},
            auth=_nobody,
            timeout=_timeout(exchange),
            stream=True,
            allow_redirects=False,
        )
        with response:
            headers = _headers(response)
            exchange.on_head(response.status_code, headers)
            if response.status_code == 200:
                if _told_size(headers) > exchange.most_bytes:
                    raise TooLarge
                _store(_pieces(exchange, response, exchange.most_bytes), file)
            return Answer(response.status_code, headers, b"")


class _Plain(requests.Session):
    def get_redirect_target(self, resp: requests.Response) -> str | None:
        """None, whatever the head says: looking ahead, `requests` would read the whole body, with no limit."""
        return None


def _mount(session: requests.Session, connections: int) -> None:
    # Retrying is ours: urllib3's own sleeps in the thread and knows no total deadline.
    adapter = _Adapter(pool_connections=1, pool_maxsize=connections, max_retries=0)
    session.mount("http://", adapter)
    session.mount("https://", adapter)


def _nobody(request: requests.PreparedRequest) -> requests.PreparedRequest:
    """Proves nothing; without any such function `requests` would look into netrc and the address."""
    return request


def _store(pieces: Iterator[bytes], file: Path) -> None:
    try:
        descriptor = os.open(
            file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise NotWritten(error.strerror) from error
    with os.fdopen(descriptor, "wb", buffering=0) as target:
        for piece in pieces:
            rest = memoryview(piece)
            while rest:
                try:
                    rest = rest[target.write(rest) :]
                except OSError as error:
                    raise NotWritten(error.strerror) from error


@contextlib.contextmanager
def _under_way_as(exchange: Exchange) -> Iterator[None]:
    """Lets `Exchange.close` end what is done inside, and makes what goes wrong one of our exceptions."""
    _under_way.exchange = exchange
    try:
        if exchange.closed:
            raise TimeoutError
        yield
    except (requests.Timeout, ReadTimeoutError) as error:
        raise TimeoutError from error
    except (requests.RequestException, HTTPError, OSError, ValueError) as error:
        if exchange.closed or isinstance(error, TimeoutError):
            raise TimeoutError from error
        raise Failed(short_reason(error)) from error
    finally:
        _under_way.exchange = None
        exchange.ended()


def _timeout(exchange: Exchange) -> tuple[float, float]:
    return min(LONGEST_CONNECT_S, max(0.05, exchange.time_s)), LONGEST_SILENCE_S


def _is_here(url: str) -> bool:
    """Whether an address is one of this very machine, on the way to which no proxy counts."""
    return urlsplit(url).hostname in {"127.0.0.1", "localhost", "::1"}


def _headers(response: requests.Response) -> dict[str, str]:
    return {name.lower(): value for name, value in response.headers.items()}


def _is_good(status: int) -> bool:
    return 200 <= status < 300


def _told_size(headers: Mapping[str, str]) -> int:
    """The size of a body that its head tells; 0 when only reading it shows."""
    told = headers.get("content-length", "")
    return int(told) if told.isdecimal() and "content-encoding" not in headers else 0


def _pieces(exchange: Exchange, response: requests.Response, most: int) -> Iterator[bytes]:
    size = 0
    for piece in response.raw.stream(min(PIECE, most + 1), decode_content=True):
        size += len(piece)
        exchange.received = size
        if exchange.closed:
            raise TimeoutError
        if size > most:
            raise TooLarge
        yield piece


class _Noted:
    """A connection that tells the exchange under way in its thread which socket it uses."""

    sock: Any

    def connect(self) -> None:
        super().connect()  # type: ignore[misc]  # of the connection it is mixed into
        self._note()

    def request(self, *args: Any, **options: Any) -> None:
        self._note()  # one that was kept open is not connected again
        super().request(*args, **options)  # type: ignore[misc]

    def _note(self) -> None:
        exchange: Exchange | None = getattr(_under_way, "exchange", None)
        if exchange is not None and self.sock is not None:
            exchange.uses(self.sock)


class _Connection(_Noted, HTTPConnection):
    pass


class _SecureConnection(_Noted, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


class _Adapter(HTTPAdapter):
    def init_poolmanager(self, *args: Any, **options: Any) -> None:
        super().init_poolmanager(*args, **options)
        self.poolmanager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}


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
    ):
        if sign in text:
            return words
    return type(error).__name__
