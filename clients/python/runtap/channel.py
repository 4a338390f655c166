"""Talking to the daemon: the authenticated channel, the process-wide handle, calls with deadlines and one reconnect.

`daemon()` gives the handle. It connects when first used, finds the next daemon when its own one is gone, and begins
anew in a forked child, which must not touch its parent's channel. Whatever needs gRPC is imported inside functions:
importing this module costs next to nothing.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import os
import re
import sys
import threading
import warnings
from collections.abc import Callable, Generator, Iterator
from functools import cached_property
from typing import TYPE_CHECKING, Any

from runtap import discovery, errors, launch
from runtap.discovery import Folders, Info
from runtap.environment import surroundings
from runtap.stubs import Services, Stubs

if TYPE_CHECKING:
    import grpc
    from google.protobuf.message import Message

    from runtap.v1 import daemon_pb2

CHANNEL_OPTIONS = (
    ("grpc.default_authority", "localhost"),  # servers in Rust and .NET refuse a quoted socket path
    ("grpc.enable_http_proxy", 0),
    ("grpc.initial_reconnect_backoff_ms", 50),
    # Not a pause but how long one attempt may take: with 50 ms a busy machine makes a living daemon look dead.
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 500),
    ("grpc.max_receive_message_length", 16 * 1024**2),
    ("grpc.use_local_subchannel_pool", 1),  # a forked child's channel must not share its parent's connection
    # Streams without a thread of their own: a fork beside an open one would crash the child in gRPC's locks.
    ("SingleThreadedUnaryStream", 1),
)
CALL_S = 30.0
MINIMUM_REVISION = 1
NEEDED_CAPABILITIES = frozenset(
    {
        "accounts",
        "history.read",
        "history.sample",
        "runs.document",
        "runs.get",
        "runs.list",
        "runs.stream",
        "runs.update",
    }
)
"""What this client cannot do without; a daemon that lacks another RPC says so when it is called."""

Metadata = tuple[tuple[str, str | bytes], ...]


class Connection:
    """One channel to one daemon, which has shown that it is the one of the info file."""

    def __init__(self, info: Info, channel: grpc.Channel) -> None:
        self.info = info
        self.channel = channel
        self.stubs = Stubs(channel)
        self.server: daemon_pb2.GetServerInfoResponse

    def __repr__(self) -> str:
        return f"<Connection to {self.info.endpoint}>"

    def metadata(self, account: str = "") -> Metadata:
        """What every call must carry."""
        pairs = (("runtap-token", self.info.token), ("runtap-client", _process.client))
        return (*pairs, ("runtap-account", account)) if account else pairs

    def method(self, name: str) -> Any:
        """The callable of a method such as `runs.GetRun`."""
        service, _, method = name.partition(".")
        return getattr(getattr(self.stubs, service), method)

    @cached_property
    def authenticated(self) -> Stubs:
        """Stubs that add token and client name by themselves."""
        from runtap.authentication import authenticated

        return Stubs(authenticated(self.channel, self.metadata()))


def probe(info: Info, timeout: float) -> Connection:
    """Connects and asks the daemon who it is, in one call; raises `launch.Unreachable`."""
    from runtap.v1 import daemon_pb2

    connection = _open(info)
    connection.server = _ask(connection, "daemon.GetServerInfo", daemon_pb2.GetServerInfoRequest(), timeout)
    if connection.server.instance_id != info.instance_id:
        connection.channel.close()
        raise launch.Unreachable("another daemon answers at this place")
    return connection


def probe_status(info: Info, timeout: float) -> daemon_pb2.GetStatusResponse:
    """Asks only how the daemon is doing, which does not count as using it; raises `launch.Unreachable`."""
    from runtap.v1 import daemon_pb2

    connection = _open(info)
    answer: daemon_pb2.GetStatusResponse = _ask(
        connection, "daemon.GetStatus", daemon_pb2.GetStatusRequest(), timeout
    )
    connection.channel.close()
    return answer


def shut_down(info: Info, timeout: float) -> daemon_pb2.ShutdownResponse:
    """Asks the daemon to end; raises `launch.Unreachable`."""
    from runtap.v1 import daemon_pb2

    connection = _open(info)
    answer: daemon_pb2.ShutdownResponse = _ask(
        connection, "daemon.Shutdown", daemon_pb2.ShutdownRequest(), timeout
    )
    connection.channel.close()
    return answer


def connect(where: Folders, *, reason: str = "call", may_start: bool | None = None) -> Connection:
    """Finds or starts a daemon that is not too old for this client."""
    connection = launch.find_or_start(
        where, probe, reason=reason, may_start=may_start, while_starting=import_early
    )
    missing = lacks(connection.server)
    return _replace(where, connection, missing) if missing else connection


def lacks(server: daemon_pb2.GetServerInfoResponse) -> str:
    """What this client needs and the daemon does not have, in words; empty when it will do."""
    if server.api_revision < MINIMUM_REVISION:
        return f"API revision {MINIMUM_REVISION} (it has {server.api_revision})"
    return ", ".join(sorted(NEEDED_CAPABILITIES.difference(server.capabilities)))


class Daemon(Services):
    """The daemon of one user on this host, as this process sees it. Thread-safe; may be kept for ever."""

    def __init__(self, where: Folders) -> None:
        self.folders = where
        # Held while connecting, so that a process opens one channel however many threads call at once.
        self._lock = threading.Lock()
        self._current: Connection | None = None
        self._ticks = itertools.count(1)
        self.calls = 0
        """Another number whenever a call begins or ends."""

    def __repr__(self) -> str:
        state = self._current.info.endpoint if self._current else "not connected"
        return f"<Daemon {state}>"

    def connection(self) -> Connection:
        """The connection, made when there is none."""
        current = self._current
        if current is not None:
            return current
        with self._lock:
            if self._current is None:
                self._current = connect(self.folders)
            return self._current

    def call(
        self,
        method: str,
        request: Message,
        *,
        account: str = "",
        timeout: float | None = CALL_S,
        in_earnest: bool = True,
    ) -> Any:
        """Calls a unary method such as `runs.GetRun`; raises only what `runtap.errors` has.

        A daemon that is gone or going is replaced and asked once more, but for a write without a `request_id`, which
        may have been taken, and for what is not asked `in_earnest` yet: that does not show in `calls` either.
        """
        if not in_earnest:
            return self._call(method, request, account, timeout, False)
        self.calls = next(self._ticks)
        try:
            return self._call(method, request, account, timeout, True)
        finally:
            self.calls = next(self._ticks)

    def _call(self, method: str, request: Message, account: str, timeout: float | None, again: bool) -> Any:
        import grpc

        connection = self.connection()
        try:
            return self._asked(connection, method, request, account, timeout)
        except grpc.RpcError as error:
            if not (again and self._is_lost(connection, error, request)):
                raise errors.from_rpc(error, method) from error
        try:
            return self._asked(self.connection(), method, request, account, timeout)
        except grpc.RpcError as error:
            raise errors.from_rpc(error, method) from error

    def _asked(
        self, connection: Connection, method: str, request: Message, account: str, timeout: float | None
    ) -> Any:
        import grpc

        try:
            return _invoke(connection, method, request, account, timeout)
        except grpc.RpcError:
            raise
        except BaseException:
            self._abandon(connection)
            raise

    def stream(
        self,
        method: str,
        request: Message,
        *,
        account: str = "",
        timeout: float | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Generator[Any, None, None]:
        """Calls a server-streaming method. Closing the generator cancels the call; before its first message a lost
        daemon is replaced as in `call`. `meanwhile` is done once the daemon has the request, before any message."""
        import grpc

        may_repeat = True
        while True:
            connection = self.connection()
            call = None
            try:
                call = _invoke(connection, method, request, account, timeout)
                if meanwhile is not None:
                    meanwhile()
                for message in call:
                    may_repeat = False
                    yield message
                return
            except grpc.RpcError as error:
                if not (may_repeat and self._is_lost(connection, error, request)):
                    raise errors.from_rpc(error, method) from error
                may_repeat = False
            except GeneratorExit:
                raise
            except BaseException:
                self._abandon(connection)
                raise
            finally:
                if call is not None:
                    call.cancel()

    @contextlib.contextmanager
    def attached(self, description: str = "") -> Iterator[None]:
        """Shows presence: the daemon running now does not end for idleness meanwhile. For long-lived programs."""
        from runtap.v1 import daemon_pb2

        with contextlib.closing(
            self.stream("daemon.Attach", daemon_pb2.AttachRequest(description=description))
        ) as events:
            next(events)
            yield

    def stub(self, name: str) -> Any:
        """Returns an authenticated stub of the daemon of now; it does not move on to the next one."""
        return self.connection().authenticated.stub(name)

    def _is_lost(self, connection: Connection, error: grpc.RpcError, request: Message) -> bool:
        """Whether the daemon is gone and the request may be repeated at another one; forgets the connection then."""
        fault = errors.fault_of(error)
        if fault.reason in ("DAEMON_DRAINING", "TOKEN_INVALID"):
            repeatable = True
        elif fault.code == "UNAVAILABLE" and not fault.reason:
            repeatable = getattr(request, "request_id", None) != ""
        else:
            return False
        with self._lock:
            if self._current is connection:
                # Not closed: other threads' streams may be reading their last messages.
                self._current = None
        return repeatable

    def _abandon(self, connection: Connection) -> None:
        """After what is no error of gRPC, such as an interrupt: it may have come while gRPC held a lock of the channel,
        which nobody releases then, and another thread's next call would wait for ever."""
        _process.untouched.append(connection)
        with self._lock:
            if self._current is connection:
                self._current = None

    def _begin_anew(self) -> None:
        """In a forked child."""
        self._lock = threading.Lock()
        if self._current is not None:
            _process.untouched.append(self._current)
            self._current = None


def daemon() -> Daemon:
    """The handle of this process for the daemon of the current RUNTAP_HOME; connects when first used."""
    where = discovery.folders()
    with _process.lock:
        return _process.handles.setdefault(where.runtime, Daemon(where))


def _open(info: Info) -> Connection:
    """A channel; gRPC connects when it is first used."""
    import grpc

    return Connection(info, grpc.insecure_channel(info.endpoint, options=CHANNEL_OPTIONS))


def _ask(connection: Connection, method: str, request: Message, timeout: float) -> Any:
    """Calls, and gives up the connection when that fails."""
    import grpc

    try:
        return _invoke(connection, method, request, "", timeout)
    except grpc.RpcError as error:
        connection.channel.close()
        raise launch.Unreachable(error.code().name) from error


def _invoke(
    connection: Connection, method: str, request: Message, account: str, timeout: float | None
) -> Any:
    return connection.method(method)(request, timeout=timeout, metadata=connection.metadata(account))


def _replace(where: Folders, old: Connection, missing: str) -> Connection:
    """Puts a newer daemon in place of an old one that nobody else uses; else says in one line why not."""
    import grpc

    from runtap.v1 import daemon_pb2

    problem = f"the running daemon (version {old.server.version}) lacks {missing}; `runtap restart` starts a newer one"
    if not surroundings().autostart or old.server.version == _own_version():
        warnings.warn(problem, stacklevel=4)
        return old
    try:
        request = daemon_pb2.ShutdownRequest(only_if_idle=True, reason="replaced")
        old.stubs.daemon.Shutdown(request, timeout=launch.PROBE_S, metadata=old.metadata())
    except grpc.RpcError:
        warnings.warn(f"{problem}; others are using it now", stacklevel=4)
        return old
    old.channel.close()
    return launch.find_or_start(where, probe, reason="replaced")


def _own_version() -> str:
    from importlib import metadata

    return metadata.version("runtap")


def import_early() -> None:
    """Imports what every script's first calls need, so that they do not wait for it."""
    from runtap.v1 import accounts_pb2_grpc, daemon_pb2_grpc, runs_pb2_grpc  # noqa: F401

    with contextlib.suppress(ImportError):  # what gRPC itself imports with the first channel
        importlib.import_module("grpc._channel")


class _Process:
    """What belongs to this very process and must begin anew in a forked child."""

    def __init__(self) -> None:
        self.handles: dict[str, Daemon] = {}
        self.untouched: list[Connection] = []
        """Channels inherited by a fork, or abandoned: even closing one could block."""
        self.lock = threading.Lock()
        self.client = _client_name()

    def begin_anew(self) -> None:
        """Runs in a forked child, before anything else of it does."""
        self.lock = threading.Lock()
        self.client = _client_name()
        for handle in self.handles.values():
            handle._begin_anew()


def _client_name() -> str:
    """`name/pid/nonce`, for limits and `runtap status`."""
    script = (getattr(sys, "argv", None) or [""])[0]
    folder, name = os.path.split(script)
    if name == "__main__.py":
        name = os.path.basename(folder)
    name = re.sub(r"[^A-Za-z0-9._-]", "-", name)[:40] or "python"
    return f"{name}/{os.getpid()}/{os.urandom(3).hex()}"


_process = _Process()
os.register_at_fork(after_in_child=_process.begin_anew)
