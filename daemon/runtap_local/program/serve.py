"""The serving process, from its first lock to its last breath.

1. lock the folder          one server per folder, whoever is first
2. open the database        made, or refused when another version wrote it
3. bind the port            the one kept in the info file, chosen at the first start
4. serve, then say so       info file first, readiness last: whoever reads it can connect
5. on SIGTERM               no new requests, a moment for those under way, info file at rest, lock freed
"""

import asyncio
import contextlib
import errno
import json
import logging
import os
import random
import secrets
import signal
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import uvicorn

from .. import __version__, auth
from ..app import LocalServer
from ..faults import Fault
from ..http.protocol import Http, ended_quietly
from ..settings import Settings
from ..store import exports, files, users
from ..store.database import Database, DatabaseError
from ..times import now_us
from .home import Home, HomeError, Info, Lock, open_home
from .process import started_mark
from .upkeep import upkeep

_LOG = logging.getLogger(__name__)
_HOST: Final = "127.0.0.1"
# Below the range from which systems take ports for outgoing connections, so that nothing sits on a kept one by chance.
_PORTS: Final = range(20000, 32768)
_LOCK_ATTEMPTS: Final = 10
_FIRST_USER: Final = "local"


class CannotServe(Exception):
    """The server cannot start. ``reason`` is for programs, the text for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Readiness:
    """Says to whoever waits on the other end of a pipe how the start went; without a pipe, to nobody."""

    descriptor: int | None

    def progress(self, text: str) -> None:
        """Say what takes long, to the log as well: whoever waits has patience from then on."""
        _LOG.info("%s", text)
        self._write({"progress": text})

    def tell(self, answer: dict[str, Any]) -> None:
        """Write the last line and close."""
        self._write(answer)
        if self.descriptor is not None:
            os.close(self.descriptor)

    def _write(self, line: dict[str, Any]) -> None:
        if self.descriptor is not None:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.descriptor, (json.dumps(line) + "\n").encode())


def serve(settings: Settings, port: int | None, readiness: Readiness) -> None:
    """Serve until told to stop. Raises CannotServe, after having said so to the pipe."""
    os.umask(0o077)
    try:
        with _prepared(settings, port, readiness) as (home, info, server, listener):
            asyncio.run(_serve(home, info, server, listener, readiness))
    except CannotServe as error:
        readiness.tell({"ok": False, "reason": error.reason, "message": str(error)})
        raise


@contextlib.contextmanager
def _prepared(
    settings: Settings, port: int | None, readiness: Readiness
) -> Iterator[tuple[Home, Info, LocalServer, socket.socket]]:
    try:
        home = open_home(settings.home)
    except HomeError as error:
        raise CannotServe("bad_home", str(error)) from None
    lock = home.serving_lock()
    with contextlib.ExitStack() as stack:
        stack.callback(lock.release)
        if not _acquire(lock):
            raise CannotServe("already_serving", f"another process serves {home.path} already")
        try:
            database = Database(home.database, readiness.progress)
        except DatabaseError as error:
            raise CannotServe("bad_database", str(error)) from None
        stack.callback(database.close)
        known = home.info()
        listener = _bind(port or (known.port if known else None))
        stack.enter_context(listener)
        try:
            database.give_back(readiness.progress)
            info = _info(database, known, listener.getsockname()[1])
            server = LocalServer(database, settings)
        except Fault as fault:
            raise CannotServe("bad_database", fault.message) from None
        with database.read() as connection:
            used = files.blobs(connection) | exports.blobs(connection)
        server.blobs.sweep(used)
        yield home, info, server, listener


def _acquire(lock: Lock) -> bool:
    """Take the lock. Whoever asks for the status holds it for an instant, which must not count."""
    for _ in range(_LOCK_ATTEMPTS):
        if lock.acquire():
            return True
        time.sleep(0.05)
    return False


def _bind(port: int | None) -> socket.socket:
    """Listen on the port, or, where none was ever chosen, on a free one."""
    if port is not None:
        listener = _try_bind(port)
        if listener is None:
            raise CannotServe(
                "port_taken",
                f"port {port} is used by another program: end that one, or choose another port with --port",
            )
        return listener
    for candidate in random.SystemRandom().sample(_PORTS, 50):
        listener = _try_bind(candidate)
        if listener is not None:
            return listener
    raise CannotServe(
        "no_port", f"no free port found in {_PORTS.start}-{_PORTS.stop - 1}: choose one with --port"
    )


def _try_bind(port: int) -> socket.socket | None:
    # Named as TCP, or asyncio does not turn Nagle's algorithm off and small answers take 40 ms each.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Without this a restart would have to wait for the last connections to be forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_HOST, port))
        listener.listen(1024)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            return None
        raise CannotServe(
            "bad_port", f"cannot listen on port {port}: {error.strerror}; choose another"
        ) from None
    return listener


def _info(database: Database, known: Info | None, port: int) -> Info:
    """The info file's content, with the key of the first user, made at the first start or when it was lost."""
    key = known.api_key if known else auth.mint_key()
    with database.write() as connection:
        user = users.by_key(connection, key) or users.add(connection, _FIRST_USER, key, now_us())
    return Info(
        url=f"http://{_HOST}:{port}",
        api_key=key,
        entity=user.entity,
        port=port,
        pid=os.getpid(),
        instance=secrets.token_hex(8),
        started=started_mark(os.getpid()),
        version=__version__,
    )


class _Uvicorn(uvicorn.Server):
    """Uvicorn with our signals and a word when it is ready."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Ours are set elsewhere: uvicorn's would end the process by the signal, before the lock is freed."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to answer, then say so."""
        await super().startup(sockets)
        self._ready()


async def _serve(
    home: Home, info: Info, server: LocalServer, listener: socket.socket, readiness: Readiness
) -> None:
    def ready() -> None:
        home.write_info(info)
        _LOG.info("serving %s at %s (pid %s)", home.path, info.url, info.pid)
        readiness.tell({"ok": True, "url": info.url, "pid": info.pid, "instance": info.instance})

    config = uvicorn.Config(
        ended_quietly(server.app()),
        lifespan="off",
        ws="none",
        http=Http,
        loop="asyncio",
        access_log=False,
        log_config=None,
        server_header=False,
        timeout_keep_alive=75,
        timeout_graceful_shutdown=server.settings.drain_s,
    )
    web = _Uvicorn(config, ready)
    loop = asyncio.get_running_loop()

    def stop() -> None:
        web.force_exit = web.should_exit  # the second signal does not wait
        web.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    async with upkeep(server):
        await web.serve(sockets=[listener])
    current = home.info()
    if current is not None and current.instance == info.instance:
        home.write_info(info.at_rest())
    _LOG.info("stopped")


def set_up_logging() -> None:
    """Log to standard error, which is the log file of a detached server."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # Its warnings are about what clients send: whoever sends nonsense could fill the disk with them.
    logging.getLogger("uvicorn").setLevel(logging.ERROR)
