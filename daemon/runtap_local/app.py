"""The wiring of the server and its HTTP routes: who asks, what for, and every fault as an answer.

Requests are worked off in threads, since SQLite and GraphQL are work, not waiting; only bodies travel on the loop.
"""

import asyncio
import logging
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from . import __version__, jsontext
from .auth import CURE, Viewer, key_from_header
from .faults import BadRequest, Busy, Fault, Forbidden, NotFound, Unauthorized
from .graphql.engine import INTERNAL, Engine
from .graphql.resolvers.context import RequestContext
from .histories import filestream
from .histories.exports import Exports, PartPath
from .http import bodies, pages, transfer
from .http.noticed import Refused
from .http.protocol import FILE_ADDRESS
from .http.signing import Direction, FilePath, Signer
from .http.threads import Threads
from .settings import Settings
from .store import runs, users
from .store.blobs import DiskBlobs
from .store.database import Database, fault_of
from .sweeps.running import run_ended
from .times import now_us

_LOG = logging.getLogger(__name__)
_LARGE = 256 * 1024
_NO_SNIFF = {"x-content-type-options": "nosniff"}
_HOST = re.compile(r"[A-Za-z0-9.\-_\[\]:]{1,255}")
T = TypeVar("T")


@dataclass(slots=True)
class Stats:
    """How many requests came; benchmarks and tests count with it."""

    requests: int = 0
    by_kind: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def count(self, kind: str) -> None:
        """Note a request."""
        with self.lock:
            self.requests += 1
            self.by_kind[kind] += 1

    def operation(self, name: str) -> None:
        """Note a GraphQL operation."""
        with self.lock:
            self.operations[name] += 1


class LocalServer:
    """Everything a request needs. Made once, by ``serve``."""

    def __init__(self, database: Database, settings: Settings) -> None:
        self.database = database
        self.settings = settings
        self.blobs = DiskBlobs(settings.home / "files")
        self.signer = Signer(database.secret("signing"), settings.url_ttl_s)
        self.engine = Engine(database, settings)
        self.exports = Exports(database, self.blobs, settings)
        self.stats = Stats()
        self._threads = Threads()
        self._refused = Refused()

    def app(self) -> Starlette:
        """The routes."""
        routes = [
            Route("/graphql", _answering("graphql", self.graphql), methods=["POST"]),
            Route(
                "/files/{entity}/{project}/{run}/file_stream",
                _answering("file_stream", self.stream, self._refused),
                methods=["POST"],
            ),
            Route(FILE_ADDRESS, _answering("download", self.download), methods=["GET", "HEAD"]),
            Route(FILE_ADDRESS, _answering("upload", self.upload, self._refused), methods=["PUT"]),
            Route(
                "/exports/{entity}/{project}/{run}/{name}",
                _answering("export", self.export),
                methods=["GET", "HEAD"],
            ),
            Route("/healthz", self.health, methods=["GET"]),
            Route("/runtap/stats", _answering("stats", self.show_stats), methods=["GET"]),
        ]
        app = Starlette(routes=routes, exception_handlers={HTTPException: _no_such_page})
        app.router.redirect_slashes = False
        return app

    async def in_thread(self, work: Callable[[], T], request: Request | None = None) -> T:
        """Do work that takes time in one of a few threads; who sends many requests does not hold up the others."""
        return await self._threads.run(work, _turn(request) if request else "")

    def viewer(self, request: Request) -> Viewer:
        """Whose key the request carries. Raises Unauthorized."""
        key = key_from_header(request.headers.get("authorization"))
        with self.database.read() as connection:
            found = users.by_key(connection, key)
        if found is None:
            raise Unauthorized(f"invalid API key: nobody here has it; {CURE}")
        return found

    async def _body(self, request: Request) -> bytes:
        """The body of a request; of whom nobody knows, no large one."""
        length = bodies.declared_length(request)
        if length is None or length > _LARGE:
            await self.in_thread(lambda: self.viewer(request), request)
        return await bodies.read(request, self.settings.max_body_bytes, self.settings.max_idle_s)

    # --- GraphQL and streams

    async def graphql(self, request: Request) -> Response:
        """Execute a GraphQL document."""
        raw = await self._body(request)

        def work() -> Response:
            self.stats.count("graphql")
            deadline = time.monotonic() + self.settings.max_request_s
            viewer = self.viewer(request)
            body = bodies.json_object(raw)
            base_url = _base_url(request)

            def context(connection: Any) -> RequestContext:
                return RequestContext(
                    viewer,
                    connection,
                    base_url,
                    self.signer,
                    now_us(),
                    self.settings,
                    self.exports,
                    request.headers,
                    delete_blob=self.blobs.delete,
                    deadline=deadline,
                )

            status, answer = self.engine.execute(body, context, self.stats.operation)
            return _json(answer, status)

        return await self.in_thread(work, request)

    async def stream(self, request: Request) -> Response:
        """Take what a running program logs."""
        raw = await self._body(request)

        def work() -> Response:
            self.stats.count("file_stream")
            viewer = self.viewer(request)
            path = request.path_params
            _require_own(viewer, path["entity"])
            wanted = filestream.understand(bodies.json_object(raw))
            with self.database.write() as connection:
                run = runs.by_path(
                    connection, path["entity"], path["project"], path["run"], heavy=filestream.READS
                )
                if run is None:
                    raise NotFound(f"run {path['entity']}/{path['project']}/{path['run']} not found")
                answer = filestream.apply(connection, run, wanted, now_us())
                if wanted.complete and run.sweep_name:
                    run_ended(connection, run, now_us(), int(self.settings.crash_after_s * 1_000_000))
            return _json(answer)

        return await self.in_thread(work, request)

    # --- files

    async def download(self, request: Request) -> Response:
        """Send a file, whole or in part."""
        path = _file_path(request)

        def work() -> Response:
            self.stats.count("download")
            self._admit(request, path, "read")
            return transfer.download(self.database, self.blobs, path)

        return await self.in_thread(work, request)

    async def export(self, request: Request) -> Response:
        """Send a part of an exported history."""
        path = PartPath(**request.path_params)

        def work() -> Response:
            self.stats.count("export")
            self._admit(request, path, "read")
            blob = self.exports.find(path)
            if not self.blobs.hold(blob.name):
                raise NotFound(f"run {path.run} has no such export now: ask for its parts again")
            return transfer.Held(self.blobs, blob.name, {}, "application/vnd.apache.parquet")

        return await self.in_thread(work, request)

    async def upload(self, request: Request) -> Response:
        """Take a file."""
        path = _file_path(request)

        def admit() -> None:
            self.stats.count("upload")
            self._admit(request, path, "write")
            transfer.require_run(self.database, path)

        await self.in_thread(admit, request)
        settings = self.settings
        upload = await transfer.receive(request, self.blobs, settings.max_file_bytes, settings.max_idle_s)
        await self.in_thread(
            lambda: transfer.register(self.database, self.blobs, path, upload, now_us()), request
        )
        return Response(status_code=200)

    def _admit(self, request: Request, path: FilePath, direction: Direction) -> None:
        """A signed address suffices: the SDK's uploader sends no credentials. Else the owner's key does."""
        if self.signer.allows(path, direction, request.query_params, now_us() / 1_000_000):
            return
        if "signature" in request.query_params and "authorization" not in request.headers:
            raise Forbidden("this address has run out or was altered: ask for a new one")
        _require_own(self.viewer(request), path.entity)

    # --- the server itself

    async def health(self, _request: Request) -> Response:
        """Whether the server answers; anyone may ask."""
        return _json({"ok": True, "version": __version__})

    async def show_stats(self, request: Request) -> Response:
        """How many requests came, of which kind."""
        await self.in_thread(lambda: self.viewer(request))
        stats = self.stats
        with stats.lock:
            shown = {
                "requests": stats.requests,
                "kinds": dict(stats.by_kind),
                "operations": dict(stats.operations),
            }
        return _json(shown)


def _turn(request: Request) -> str:
    """Who waits behind whom for a thread: each key behind itself, but training not behind the reading of lists."""
    key = request.headers.get("authorization", "")
    return f"stream {key}" if request.scope["path"].endswith("/file_stream") else key


Endpoint = Callable[[Request], Awaitable[Response]]


def _answering(kind: str, endpoint: Endpoint, refused: Refused | None = None) -> Endpoint:
    """The top of every request: faults become answers, surprises are logged and become a plain 500."""

    async def answer(request: Request) -> Response:
        try:
            if "transfer-encoding" in request.headers and "content-length" in request.headers:
                raise BadRequest("a request has a Content-Length or a Transfer-Encoding, not both")
            return await endpoint(request)
        except Fault as fault:
            if refused is not None:
                refused.note(kind, fault)
            return _refusal(fault.message, fault.status, fault.code)
        except asyncio.CancelledError:
            return _refusal("the server is stopping: send it again", Busy.status, Busy.code)
        except ClientDisconnect:
            return _refusal("the client went away", 400, BadRequest.code)
        except Exception as error:  # noqa: BLE001 - the top of a request
            trouble = fault_of(error)
            if trouble is not None:
                _LOG.error("%s request failed: %s", kind, trouble.message)
                return _refusal(trouble.message, trouble.status, trouble.code)
            _LOG.exception("%s request failed", kind)
            return _refusal(INTERNAL, 500, "INTERNAL")

    return answer


def _refusal(message: str, status: int, code: str) -> Response:
    """The only form of error whose text the SDK shows."""
    response = _json({"errors": [{"message": message, "extensions": {"code": code}}]}, status)
    if status == 401:
        response.headers["www-authenticate"] = 'Basic realm="runtap local server"'
    return response


async def _no_such_page(request: Request, _error: Exception) -> Response:
    if request.method == "GET" and "text/html" in request.headers.get("accept", ""):
        # Somebody follows the link that the SDK prints for a run.
        return PlainTextResponse(pages.page(request.scope["path"]), 404, _NO_SNIFF)
    # 404 for a wrong method as well: the SDK repeats a 405 twenty times.
    return _refusal(f"this server has no {request.method} {request.url.path[:200]}", 404, NotFound.code)


def _json(value: Any, status: int = 200) -> Response:
    return Response(jsontext.encode(value), status, media_type="application/json")


def _base_url(request: Request) -> str:
    """The address as the client knows it, which tunnels and forwarded ports change."""
    host = request.headers.get("host", "")
    if not _HOST.fullmatch(host):
        raise BadRequest("the request has no usable Host header")
    return f"http://{host}"


def _file_path(request: Request) -> FilePath:
    path = request.path_params
    return FilePath(path["entity"], path["project"], path["run"], path["name"])


def _require_own(viewer: Viewer, entity: str) -> None:
    if not viewer.may_use(entity):
        raise Forbidden(f"user {viewer.name!r} has no access to entity {entity!r}")
