"""Many users on several servers, one daemon for all of them, and callers whose surroundings name their keys."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import grpc
import pytest

from runtap.environment import CALLER_VARIABLES
from runtap.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    common_pb2,
    history_pb2_grpc,
    projects_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
    sweeps_pb2_grpc,
    writes_pb2_grpc,
)
from tests.support.daemon import Daemon
from tests.support.upstream import ENTITY, Node, Request
from tests.support.upstream_faults import Status
from tests.support.upstream_sweeps import SweepingUpstream

PROJECT = "vision"
PROJECT_PATH = f"{ENTITY}/{PROJECT}"
SWEEP_PATH = f"{PROJECT_PATH}/s1"
SLOW_DOWN = Status(429, b"{}", {"Retry-After": "60"})
_SEARCH = json.dumps({"method": "grid", "metric": {"name": "loss", "goal": "minimize"}})
CALL_S = 20.0
READER = "READER"
"""What texts of runs, projects and sweeps hold where each reader sees the own name."""


def key_of(name: str) -> str:
    """The key of a user of `PersonalUpstream`: one that no file or output may show."""
    return f"canary-{name}-{'0' * 40}"


@dataclass
class PersonalUpstream(SweepingUpstream):
    """A server that shows everybody something else under the same names and ids."""

    name: str = "server"

    def user(self, name: str, key: str = "") -> str:
        """Adds a user, or another key of one; returns the key."""
        self.add_user(key or key_of(name), name, ENTITY)
        return key or key_of(name)

    def answer(self, request: Request) -> dict[str, Any]:
        """The right answer, for this reader."""
        text = json.dumps(super().answer(request))
        reader = f"{self.users[request.key]['username']} at {self.name}"
        found: dict[str, Any] = json.loads(text.replace(READER, reader))
        return found

    def add_personal_run(self, run_id: str, **fields: Any) -> Node:
        """Adds a run whose texts name its reader."""
        told = {"reader": READER, "loss": 1}
        keys: Node = {"keys": {key: {} for key in (READER, "loss")}}
        return self.add_run(
            ENTITY, PROJECT, run_id, displayName=READER, summary=told, history_keys=keys, **fields
        )

    def furnish(self) -> None:
        """Adds runs r1, r2 and r3, of which r1 is of sweep s1, another sweep, and another project."""
        for run_id in ("r1", "r2", "r3"):
            self.add_personal_run(run_id, sweepName="s1" if run_id == "r1" else None)
        for name in (PROJECT, "other"):
            self.add_project(ENTITY, name, description=READER)
        for name in ("s1", "s2"):
            self.add_sweep(ENTITY, PROJECT, name, _SEARCH, displayName=READER)

    def sent_by(self, operation: str, name: str) -> int:
        """How many requests of this operation a user's keys have sent."""
        return sum(
            r.operation == operation and self.users.get(r.key, {}).get("username") == name
            for r in self.requests
        )


@dataclass
class Caller:
    """A program somewhere: its environment, its home, and the folder it works in."""

    folder: Path
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.home, self.work = self.folder / "home", self.folder / "work"
        self.home.mkdir(parents=True)
        self.work.mkdir()
        self.variables["HOME"] = str(self.home)

    @property
    def netrc_path(self) -> Path:
        return self.home / ".netrc"

    @property
    def settings_path(self) -> Path:
        return self.home / ".config" / "wandb" / "settings"

    def netrc(self, url: str, key: str) -> None:
        """Writes a netrc file with this key."""
        host = url.removeprefix("http://")
        self.netrc_path.write_text(f"machine {host}\n  login user\n  password {key}\n")

    def settings(self, *, workspace: bool = False, **values: str) -> None:
        """Writes a wandb settings file, of the user or of the working folder."""
        path = self.work / "wandb" / "settings" if workspace else self.settings_path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("[default]\n" + "".join(f"{name} = {value}\n" for name, value in values.items()))

    def environment(self) -> accounts_pb2.CallerEnvironment:
        """What a program in any language sends with Login."""
        return accounts_pb2.CallerEnvironment(variables=self.variables, working_directory=str(self.work))

    def become(self, monkeypatch: pytest.MonkeyPatch, daemon: Daemon) -> None:
        """Makes this process that program, for `runtap.Api`."""
        for name in [name for name in os.environ if name.startswith(("WANDB_", "RUNTAP_"))]:
            monkeypatch.delenv(name)
        for name in CALLER_VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in self.variables.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("RUNTAP_HOME", str(daemon.home))
        monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
        monkeypatch.chdir(self.work)


@dataclass
class Office:
    """One daemon and its servers."""

    daemon: Daemon
    here: PersonalUpstream
    there: PersonalUpstream

    def sign_in(self, **fields: Any) -> accounts_pb2.LoginResponse:
        """Logs in as any language would."""
        stub = accounts_pb2_grpc.AccountServiceStub(self.daemon.channel())
        return stub.Login(accounts_pb2.LoginRequest(**fields), timeout=CALL_S)

    def account(self, server: PersonalUpstream, key: str, **fields: Any) -> Seat:
        """Logs in with a key; the account's calls."""
        answer = self.sign_in(base_url=server.url, api_key=key, **fields)
        return Seat(
            self.daemon, answer.account.account_id, f"{answer.account.viewer.username} at {server.name}"
        )


@dataclass(frozen=True)
class Seat:
    """The calls of one account."""

    daemon: Daemon = field(repr=False)
    account_id: str
    reader: str = ""
    """What the server shows this account in the place of READER."""

    @cached_property
    def _channel(self) -> grpc.Channel:
        return self.daemon.channel(account=self.account_id)

    def accounts(self) -> accounts_pb2_grpc.AccountServiceStub:
        return accounts_pb2_grpc.AccountServiceStub(self._channel)

    def runs(self) -> runs_pb2_grpc.RunServiceStub:
        return runs_pb2_grpc.RunServiceStub(self._channel)

    def projects(self) -> projects_pb2_grpc.ProjectServiceStub:
        return projects_pb2_grpc.ProjectServiceStub(self._channel)

    def sweeps(self) -> sweeps_pb2_grpc.SweepServiceStub:
        return sweeps_pb2_grpc.SweepServiceStub(self._channel)

    def histories(self) -> history_pb2_grpc.HistoryServiceStub:
        return history_pb2_grpc.HistoryServiceStub(self._channel)

    def writes(self) -> writes_pb2_grpc.WriteServiceStub:
        return writes_pb2_grpc.WriteServiceStub(self._channel)

    def run(self, run_id: str, timeout: float = CALL_S, **options: Any) -> runs_pb2.Run:
        """Reads a run with these ReadOptions."""
        request = runs_pb2.GetRunRequest(
            path=f"{PROJECT_PATH}/{run_id}", options=common_pb2.ReadOptions(**options)
        )
        return self.runs().GetRun(request, timeout=timeout).run

    def logout(self, **fields: Any) -> accounts_pb2.LogoutResponse:
        return self.accounts().Logout(
            accounts_pb2.LogoutRequest(account_id=self.account_id, **fields), timeout=CALL_S
        )

    def told(self) -> accounts_pb2.Account | None:
        """What the daemon says of the account; None when it does not know it."""
        answer = self.accounts().ListAccounts(accounts_pb2.ListAccountsRequest(), timeout=CALL_S)
        return next((one for one in answer.accounts if one.account_id == self.account_id), None)
