"""Every generated stub of the contract by the name of its service, imported only when it is used."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import grpc

    from runtap.v1 import (
        accounts_pb2_grpc,
        daemon_pb2_grpc,
        files_pb2_grpc,
        history_pb2_grpc,
        projects_pb2_grpc,
        runs_pb2_grpc,
        sweeps_pb2_grpc,
        writes_pb2_grpc,
    )

_MODULES = {
    "AccountServiceStub": "accounts",
    "DaemonServiceStub": "daemon",
    "FileServiceStub": "files",
    "HistoryServiceStub": "history",
    "ProjectServiceStub": "projects",
    "RunServiceStub": "runs",
    "SweepServiceStub": "sweeps",
    "WriteServiceStub": "writes",
}


class Services:
    """The stubs by name; where they come from is for the subclass to say."""

    def stub(self, name: str) -> Any:
        """Returns a stub by its class name, such as `RunServiceStub`."""
        raise AttributeError(name)

    @property
    def accounts(self) -> accounts_pb2_grpc.AccountServiceStub:
        return self.stub("AccountServiceStub")  # type: ignore[no-any-return]

    @property
    def daemon(self) -> daemon_pb2_grpc.DaemonServiceStub:
        return self.stub("DaemonServiceStub")  # type: ignore[no-any-return]

    @property
    def files(self) -> files_pb2_grpc.FileServiceStub:
        return self.stub("FileServiceStub")  # type: ignore[no-any-return]

    @property
    def history(self) -> history_pb2_grpc.HistoryServiceStub:
        return self.stub("HistoryServiceStub")  # type: ignore[no-any-return]

    @property
    def projects(self) -> projects_pb2_grpc.ProjectServiceStub:
        return self.stub("ProjectServiceStub")  # type: ignore[no-any-return]

    @property
    def runs(self) -> runs_pb2_grpc.RunServiceStub:
        return self.stub("RunServiceStub")  # type: ignore[no-any-return]

    @property
    def sweeps(self) -> sweeps_pb2_grpc.SweepServiceStub:
        return self.stub("SweepServiceStub")  # type: ignore[no-any-return]

    @property
    def writes(self) -> writes_pb2_grpc.WriteServiceStub:
        return self.stub("WriteServiceStub")  # type: ignore[no-any-return]


class Stubs(Services):
    """The stubs on one channel, each made once."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self._made: dict[str, Any] = {}

    def stub(self, name: str) -> Any:
        """Returns a stub by its class name, such as `RunServiceStub`."""
        if name not in self._made:
            module = _MODULES.get(name)
            if module is None:
                raise AttributeError(f"the contract has no {name}; there are {', '.join(_MODULES)}")
            kind = getattr(importlib.import_module(f"runtap.v1.{module}_pb2_grpc"), name)
            self._made[name] = kind(self._channel)
        return self._made[name]
