"""A daemon, a server behind a proxy, an account and a run: what tests of write-back need, all of it real."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration

from runtap.v1 import accounts_pb2, accounts_pb2_grpc, runs_pb2_grpc, writes_pb2_grpc
from runtap.v1 import daemon_pb2 as daemon_pb
from runtap.v1 import daemon_pb2_grpc as daemon_rpc
from runtap.v1 import runs_pb2 as pb
from runtap.v1 import writes_pb2 as wpb
from runtap_local.program.home import Home
from runtap_local.program.manage import add_user
from tests.local.client import Client
from tests.support.daemon import Daemon, eventually
from tests.support.local_server import LocalServer
from tests.support.meddling_proxy import MeddlingProxy

MUTATION = "UpsertBucket"
CALL_S = 20.0


@dataclass
class Writer:
    """A logged-in client of one daemon."""

    daemon: Daemon
    server: Client
    proxy: MeddlingProxy
    account: str = ""
    run: str = field(default_factory=lambda: "r" + uuid.uuid4().hex[:8])

    @property
    def path(self) -> str:
        return f"{self.server.entity}/{self.server.project}/{self.run}"

    def make_run(self) -> None:
        """The run is made at the server, past daemon and proxy."""
        self.server.upsert(
            self.run, config={"lr": {"value": 0.1}}, summaryMetrics={"acc": 0.5}, tags=["base"]
        )

    def login(self, *, store: bool = True) -> None:
        stub = accounts_pb2_grpc.AccountServiceStub(self.daemon.channel())
        answer = stub.Login(
            accounts_pb2.LoginRequest(base_url=self.proxy.url, api_key=self.server.api_key, store=store),
            timeout=CALL_S,
        )
        self.account = answer.account.account_id

    @property
    def channel(self) -> grpc.Channel:
        return self.daemon.channel(account=self.account)

    @property
    def writes(self) -> Any:
        return writes_pb2_grpc.WriteServiceStub(self.channel)

    def request(self, lr: float = 0.2, request_id: str = "", **fields: Any) -> pb.UpdateRunRequest:
        wait_s = fields.pop("wait_s", None)
        request = pb.UpdateRunRequest(
            path=self.path,
            config=[pb.JsonEdit(path=["lr"], set_json=json.dumps(lr))],
            request_id=request_id or uuid.uuid4().hex,
            **{"wait_for": pb.WAIT_FOR_APPLIED, **fields},
        )
        if wait_s is not None:
            request.wait_timeout.CopyFrom(Duration(nanos=int(wait_s * 1e9)))
        return request

    def update(self, request: pb.UpdateRunRequest) -> pb.UpdateRunResponse:
        stub = runs_pb2_grpc.RunServiceStub(self.channel)
        response: pb.UpdateRunResponse = stub.UpdateRun(request, timeout=CALL_S)
        return response

    def read(self) -> pb.Run:
        stub = runs_pb2_grpc.RunServiceStub(self.channel)
        run: pb.Run = stub.GetRun(pb.GetRunRequest(path=self.path), timeout=CALL_S).run
        return run

    def status(self) -> daemon_pb.GetStatusResponse:
        stub = daemon_rpc.DaemonServiceStub(self.daemon.channel())
        status: daemon_pb.GetStatusResponse = stub.GetStatus(daemon_pb.GetStatusRequest(), timeout=CALL_S)
        return status

    def wait_all(self, timeout_s: float = 15.0) -> wpb.WaitWritesResponse:
        request = wpb.WaitWritesRequest(timeout=Duration(seconds=int(timeout_s)))
        response: wpb.WaitWritesResponse = self.writes.WaitWrites(request, timeout=CALL_S)
        return response

    def lr_at_server(self) -> float:
        value: float = lr_of(self.server.run(self.run, "config")["config"])
        return value

    @property
    def mutations(self) -> int:
        """How many changes the daemon sent to the server."""
        return self.proxy.counts.get(MUTATION, 0)

    def restart(self, daemon: Daemon) -> None:
        """Goes on with another daemon of the same home."""
        self.daemon = daemon

    def until_state(self, write_id: str, state: wpb.WriteState.ValueType) -> wpb.Write:
        """Waits until the write has that state."""
        found: list[wpb.Write] = []

        def reached() -> bool:
            found[:] = [self.writes.GetWrite(wpb.GetWriteRequest(write_id=write_id), timeout=CALL_S).write]
            return found[0].state == state

        eventually(reached, f"write in state {state}")
        return found[0]


def lr_of(config_json: str) -> float:
    value: float = json.loads(config_json)["lr"]["value"]
    return value


@contextmanager
def new_writer(server: LocalServer, daemon: Daemon) -> Iterator[Writer]:
    """A new user with a run of their own, not logged in yet."""
    user, key = add_user(Home(server.home), "u" + uuid.uuid4().hex[:10], None)
    with MeddlingProxy(server.url).running() as proxy:
        writer = Writer(daemon, Client(server.url, user.entity, key), proxy)
        writer.make_run()
        yield writer
