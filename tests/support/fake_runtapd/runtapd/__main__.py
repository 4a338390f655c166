"""Does what RUNTAP_FAKE says: starts as an old daemon, or fails in one of the ways a daemon can fail.

`old`: an idle daemon of revision 0; `busy`: the same, which refuses to end; `die`, `silent`, `garbage`: no readiness
line, or none that can be understood; `fail`: a typed failure, given as JSON in RUNTAP_FAKE_WORD.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
import tempfile
import threading
from concurrent import futures
from typing import Any

import grpc

from runtap.discovery import folders
from runtap.v1 import daemon_pb2, daemon_pb2_grpc


class OldDaemon(daemon_pb2_grpc.DaemonServiceServicer):
    """Knows two calls, and that it is old."""

    def __init__(self, busy: bool) -> None:
        self.busy = busy
        self.over = threading.Event()

    def GetServerInfo(self, request: Any, context: Any) -> daemon_pb2.GetServerInfoResponse:
        return daemon_pb2.GetServerInfoResponse(
            version="0.0.1", api_revision=0, instance_id="old", pid=os.getpid()
        )

    def Shutdown(self, request: daemon_pb2.ShutdownRequest, context: Any) -> daemon_pb2.ShutdownResponse:
        if self.busy and request.only_if_idle:
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "others are using it")
        os.unlink(folders().info_path)
        self.over.set()
        return daemon_pb2.ShutdownResponse(pid=os.getpid())


def serve(ready: int, busy: bool) -> None:
    """Lives as a daemon does, until it is shut down."""
    where = folders()
    lock = os.open(where.daemon_lock, os.O_RDWR | os.O_CREAT, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    service = OldDaemon(busy)  # type: ignore[abstract]  # the rest is unimplemented, as in an old daemon
    server = grpc.server(futures.ThreadPoolExecutor(4))
    daemon_pb2_grpc.add_DaemonServiceServicer_to_server(service, server)
    endpoint = (
        f"unix:{tempfile.mkdtemp()}/d-{os.getpid()}-old.sock"  # a test's folder may be too deep for a socket
    )
    server.add_insecure_port(endpoint)
    server.start()
    info = {
        "format": 1,
        "instance_id": "old",
        "pid": os.getpid(),
        "endpoint": endpoint,
        "token": "t",
        "version": "0.0.1",
    }
    with open(os.open(where.info_path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        json.dump(info, file)
    os.write(ready, b'{"ok": true}\n')
    os.close(ready)
    service.over.wait()
    server.stop(1.0).wait()


def main() -> None:
    """The program."""
    mode = os.environ["RUNTAP_FAKE"]
    ready = int(sys.argv[sys.argv.index("--ready-fd") + 1])
    if mode in ("old", "busy"):
        serve(ready, mode == "busy")
    elif mode == "die":
        raise RuntimeError("the fake daemon died as it was told to")
    elif mode == "silent":
        threading.Event().wait(20)
    elif mode == "garbage":
        os.write(ready, b"Segmentation fault\n")
    elif mode == "fail":
        word = os.environ["RUNTAP_FAKE_WORD"]
        sys.stderr.write(
            f"runtapd: {json.loads(word).get('message')}\n"
        )  # as the daemon does, where people look
        os.write(ready, word.encode() + b"\n")


main()
