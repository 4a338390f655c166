"""A daemon that answers from a script: a real gRPC server on a real socket, with the contract's own servicers.

For tests of the client that need answers on demand: pages, conflicts, faults, broken streams. What is scripted are
runs and their rows; paging, filtering by key and applying edits are done here in the simplest way. Rules of the daemon
itself (caching, paths, filters) are not: tests of those use the real one.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from runtap.channel import NEEDED_CAPABILITIES
from runtap.discovery import folders, make_private
from runtap.v1 import (
    accounts_pb2,
    accounts_pb2_grpc,
    common_pb2,
    daemon_pb2,
    daemon_pb2_grpc,
    history_pb2,
    history_pb2_grpc,
    runs_pb2,
    runs_pb2_grpc,
    writes_pb2,
)
from tests.support.scripted_rows import messages_of, messages_of_many, sample_of

TOKEN = "scripted-token"
KEY = "k" * 40
Context = grpc.ServicerContext


@dataclass
class Fault:
    """What one call shall fail with."""

    code: grpc.StatusCode
    reason: str
    message: str = "scripted"
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Call:
    """One call as it came."""

    method: str
    request: Any
    account: str


class ScriptedDaemon:
    """What the daemon says, and what it was asked."""

    def __init__(self) -> None:
        self.runs: dict[str, runs_pb2.Run] = {}
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.bad_runs: list[common_pb2.ItemError] = []
        """Runs that cannot be read; named on the last page of a list."""
        self.incomplete_reason = ""
        self.omit_over = 1 << 20
        self.freshness = common_pb2.Freshness(source=common_pb2.FRESHNESS_SOURCE_UPSTREAM)
        self.freshness.fetched_at.GetCurrentTime()
        self.explanation = runs_pb2.ExplainQueryResponse()
        self.write = writes_pb2.Write(write_id="w1", state=writes_pb2.WRITE_STATE_APPLIED)
        """What an update answers beside the run."""
        self.users = {"": "ada", KEY: "ada"}
        """Login names by API key; "" is the key found in the environment."""
        self.break_history_after = -1
        """Ends a stream of rows as a dying daemon would, after so many messages; once, unless `breaks_always`."""
        self.breaks_always = False
        self.group_rows = 1000
        self.keys_page = 1000
        """How many keys of a history fit one answer."""
        self.history_errors: dict[str, common_pb2.ItemError] = {}
        """Why ReadHistories cannot read a run, by its path."""
        self.exact = True
        """Whether rows are said to be all there are."""
        self.lock = threading.Lock()
        self.calls: list[Call] = []
        self.faults: defaultdict[str, list[Fault]] = defaultdict(list)
        self.known_accounts: set[str] = set()

    def add_run(self, run_id: str = "r1", **fields: Any) -> runs_pb2.Run:
        """Adds a run of `ada/digits`; `config` and `summary` are given as dicts."""
        path = f"ada/digits/{run_id}"
        documents = {
            f"{name}_json": json.dumps(value)
            for name in ("config", "summary", "system_metrics", "history_keys")
            if (value := fields.pop(name, None)) is not None
        }
        defaults: dict[str, Any] = {
            "display_name": f"run {run_id}",
            "state": "finished",
            "url": f"https://app.test/{path}",
            "storage_id": f"id-{run_id}",
            "created_at": "2026-01-02T03:04:05Z",
            "user": runs_pb2.User(username="ada", name="Ada Lovelace"),
            "etag": '"1"',
        }
        run = runs_pb2.Run(
            path=path, entity="ada", project="digits", run_id=run_id, **{**defaults, **documents, **fields}
        )
        self.runs[path] = run
        return run

    def fail(self, method: str, *faults: Fault) -> None:
        """Lets the next calls of a method fail, one after another."""
        self.faults[method].extend(faults)

    def count(self, method: str) -> int:
        """How often a method was called."""
        return Counter(call.method for call in self.calls)[method]

    def last(self, method: str) -> Any:
        """The last request of a method."""
        return next(call.request for call in reversed(self.calls) if call.method == method)

    def enter(self, method: str, request: Any, context: Context) -> None:
        """Notes a call, and ends it here when it may not be made or shall fail."""
        metadata: dict[str, Any] = dict(context.invocation_metadata())
        account = str(metadata.get("runtap-account", ""))
        with self.lock:
            self.calls.append(Call(method, request, account))
            fault = self.faults[method].pop(0) if self.faults[method] else None
        if metadata.get("runtap-token") != TOKEN:
            fault = Fault(grpc.StatusCode.UNAUTHENTICATED, "TOKEN_INVALID")
        elif account not in self.known_accounts and method not in ("accounts.Login", "daemon.GetServerInfo"):
            fault = Fault(grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_UNKNOWN")
        if fault is not None:
            context.abort_with_status(rpc_status.to_status(_status(fault)))

    def sent(self, run: runs_pb2.Run) -> runs_pb2.Run:
        """A copy of a run without the documents that are too large."""
        copy = runs_pb2.Run()
        copy.CopyFrom(run)
        for name, document in _DOCUMENTS.items():
            text = getattr(copy, name)
            if len(text.encode()) > self.omit_over:
                copy.ClearField(name)  # type: ignore[arg-type]
                copy.omitted.add(document=document, size_bytes=len(text.encode()))
        return copy

    def found(self, path: str, context: Context) -> runs_pb2.Run:
        """The run of a path, or NOT_FOUND."""
        if path not in self.runs:
            text = f"no run {path} at https://api.test for ada"
            fault = Fault(grpc.StatusCode.NOT_FOUND, "RUN_NOT_FOUND", text)
            context.abort_with_status(rpc_status.to_status(_status(fault)))
        return self.runs[path]


class _Daemon(daemon_pb2_grpc.DaemonServiceServicer):
    def __init__(self, script: ScriptedDaemon) -> None:
        self.script = script

    def GetServerInfo(
        self, request: daemon_pb2.GetServerInfoRequest, context: Context
    ) -> daemon_pb2.GetServerInfoResponse:
        self.script.enter("daemon.GetServerInfo", request, context)
        return daemon_pb2.GetServerInfoResponse(
            version="0.1.0", api_revision=1, instance_id="scripted", capabilities=NEEDED_CAPABILITIES
        )


class _Accounts(accounts_pb2_grpc.AccountServiceServicer):
    def __init__(self, script: ScriptedDaemon) -> None:
        self.script = script

    def Login(self, request: accounts_pb2.LoginRequest, context: Context) -> accounts_pb2.LoginResponse:
        self.script.enter("accounts.Login", request, context)
        user = self.script.users[request.api_key]
        viewer = accounts_pb2.Viewer(
            username=user, entity=user, email=f"{user}@test", teams=["vision"], id="u1"
        )
        account = accounts_pb2.Account(
            account_id=f"account-of-{user}", base_url=request.base_url or "https://api.test", viewer=viewer
        )
        self.script.known_accounts.add(account.account_id)
        variables = request.environment.variables
        return accounts_pb2.LoginResponse(
            account=account,
            defaults=common_pb2.PathDefaults(
                entity=variables.get("WANDB_ENTITY", user), project=variables.get("WANDB_PROJECT", "")
            ),
        )


class _Runs(runs_pb2_grpc.RunServiceServicer):
    def __init__(self, script: ScriptedDaemon) -> None:
        self.script = script

    def GetRun(self, request: runs_pb2.GetRunRequest, context: Context) -> runs_pb2.GetRunResponse:
        self.script.enter("runs.GetRun", request, context)
        run = self.script.found(_full(request.path, request.defaults), context)
        return runs_pb2.GetRunResponse(run=self.script.sent(run), freshness=self.script.freshness)

    def ListRuns(self, request: runs_pb2.ListRunsRequest, context: Context) -> runs_pb2.ListRunsResponse:
        script = self.script
        script.enter("runs.ListRuns", request, context)
        runs = list(script.runs.values())
        begin = int(request.page_token or 0)
        end = begin + (request.page_size or 50)
        at_end = end >= len(runs)
        return runs_pb2.ListRunsResponse(
            runs=[script.sent(run) for run in runs[begin:end]],
            next_page_token="" if at_end else str(end),
            total_size=len(runs) + len(script.bad_runs),
            errors=script.bad_runs if at_end else [],
            incomplete_reason=script.incomplete_reason if at_end else "",
            freshness=script.freshness,
        )

    def ExplainQuery(
        self, request: runs_pb2.ExplainQueryRequest, context: Context
    ) -> runs_pb2.ExplainQueryResponse:
        self.script.enter("runs.ExplainQuery", request, context)
        return self.script.explanation

    def ReadDocument(
        self, request: runs_pb2.ReadDocumentRequest, context: Context
    ) -> Iterator[runs_pb2.ReadDocumentResponse]:
        self.script.enter("runs.ReadDocument", request, context)
        run = self.script.found(request.path, context)
        name = next(name for name, document in _DOCUMENTS.items() if document == request.document)
        data = getattr(run, name).encode()
        for begin in range(0, len(data), 7):  # small parts, so that characters are cut
            yield runs_pb2.ReadDocumentResponse(
                offset=begin, data=data[begin : begin + 7], total_bytes=len(data), etag=run.etag
            )

    def UpdateRun(self, request: runs_pb2.UpdateRunRequest, context: Context) -> runs_pb2.UpdateRunResponse:
        self.script.enter("runs.UpdateRun", request, context)
        run = self.script.found(request.path, context)
        run.config_json = _edited(run.config_json, request.config, wrapped=True)
        run.summary_json = _edited(run.summary_json, request.summary, wrapped=False)
        for name in request.update_mask.paths:
            if request.fields.HasField(name):  # type: ignore[arg-type]
                setattr(run, name, getattr(request.fields, name))
            else:
                run.ClearField(name)  # type: ignore[arg-type]
        tags = [tag for tag in run.tags if tag not in request.tags_remove]
        tags += [tag for tag in request.tags_add if tag not in tags]
        run.tags[:] = request.tags_replace.tags if request.HasField("tags_replace") else tags
        write = writes_pb2.Write(request_id=request.request_id, run_path=run.path)
        write.MergeFrom(self.script.write)
        return runs_pb2.UpdateRunResponse(run=self.script.sent(run), write=write)


class _History(history_pb2_grpc.HistoryServiceServicer):
    def __init__(self, script: ScriptedDaemon) -> None:
        self.script = script

    def ReadHistory(
        self, request: history_pb2.ReadHistoryRequest, context: Context
    ) -> Iterator[history_pb2.ReadHistoryResponse]:
        script = self.script
        script.enter("history.ReadHistory", request, context)
        rows = script.rows.get(request.path, [])
        for number, message in enumerate(messages_of(rows, request, script.group_rows, script.exact)):
            self.break_after(number, context)
            message.freshness.CopyFrom(script.freshness)
            yield message

    def SampleHistory(
        self, request: history_pb2.SampleHistoryRequest, context: Context
    ) -> Iterator[history_pb2.SampleHistoryResponse]:
        script = self.script
        script.enter("history.SampleHistory", request, context)
        rows = script.rows.get(request.path, [])
        for number, message in enumerate(sample_of(rows, request, script.group_rows, script.exact)):
            self.break_after(number, context)
            message.freshness.CopyFrom(script.freshness)
            yield message

    def GetHistoryKeys(
        self, request: history_pb2.GetHistoryKeysRequest, context: Context
    ) -> history_pb2.GetHistoryKeysResponse:
        script = self.script
        script.enter("history.GetHistoryKeys", request, context)
        rows = script.rows.get(request.path, [])
        keys = sorted(Counter(key for row in rows for key in row).items())
        begin = int(request.page_token or 0)
        end = begin + script.keys_page
        return history_pb2.GetHistoryKeysResponse(
            keys=[
                history_pb2.HistoryKey(key=key, type_counts={"number": count})
                for key, count in keys[begin:end]
            ],
            next_page_token=str(end) if end < len(keys) else "",
            total_size=len(keys),
            history_line_count=len(rows),
        )

    def ReadHistories(
        self, request: history_pb2.ReadHistoriesRequest, context: Context
    ) -> Iterator[history_pb2.ReadHistoriesResponse]:
        script = self.script
        script.enter("history.ReadHistories", request, context)
        messages = messages_of_many(script.rows, script.history_errors, request, script.group_rows)
        for number, message in enumerate(messages):
            self.break_after(number, context)
            if message.HasField("rows"):
                message.rows.freshness.CopyFrom(script.freshness)
            yield message

    def break_after(self, number: int, context: Context) -> None:
        """Ends a stream before this message, when the script says so."""
        script = self.script
        if number == script.break_history_after:
            script.break_history_after = number if script.breaks_always else -1
            context.abort(grpc.StatusCode.UNAVAILABLE, "Socket closed")


_DOCUMENTS = {
    "config_json": runs_pb2.DOCUMENT_CONFIG,
    "summary_json": runs_pb2.DOCUMENT_SUMMARY,
    "system_metrics_json": runs_pb2.DOCUMENT_SYSTEM_METRICS,
    "history_keys_json": runs_pb2.DOCUMENT_HISTORY_KEYS,
    "notes": runs_pb2.DOCUMENT_NOTES,
}


def _full(path: str, defaults: common_pb2.PathDefaults) -> str:
    parts = path.split("/")
    return "/".join([*[defaults.entity, defaults.project][: 3 - len(parts)], *parts])


def _edited(text: str, edits: Sequence[runs_pb2.JsonEdit], *, wrapped: bool) -> str:
    document = json.loads(text or "{}")
    for edit in edits:
        path = [edit.path[0], "value", *edit.path[1:]] if wrapped else list(edit.path)
        place = document
        for key in path[:-1]:
            place = place.setdefault(key, {})
        if not edit.unset:
            place[path[-1]] = json.loads(edit.set_json)
        elif wrapped and len(edit.path) == 1:
            document.pop(path[0], None)
        else:
            place.pop(path[-1], None)
    return json.dumps(document)


def _status(fault: Fault) -> status_pb2.Status:
    detail = any_pb2.Any()
    detail.Pack(
        error_details_pb2.ErrorInfo(domain="runtap", reason=fault.reason, metadata=dict(fault.metadata))
    )
    return status_pb2.Status(code=fault.code.value[0], message=fault.message, details=[detail])


@contextmanager
def scripted_daemon(home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    """Makes a scripted daemon the one that `runtap` finds, for the length of a block."""
    monkeypatch.setenv("RUNTAP_HOME", str(home))
    monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
    script = ScriptedDaemon()
    server = grpc.server(ThreadPoolExecutor(8), options=[("grpc.max_receive_message_length", 16 * 2**20)])
    # Abstract to mypy only: methods that are not scripted answer UNIMPLEMENTED.
    daemon_pb2_grpc.add_DaemonServiceServicer_to_server(_Daemon(script), server)  # type: ignore[abstract]
    accounts_pb2_grpc.add_AccountServiceServicer_to_server(_Accounts(script), server)  # type: ignore[abstract]
    runs_pb2_grpc.add_RunServiceServicer_to_server(_Runs(script), server)  # type: ignore[abstract]
    history_pb2_grpc.add_HistoryServiceServicer_to_server(_History(script), server)  # type: ignore[abstract]
    place = tempfile.mkdtemp(prefix="runtap-")  # short enough for a socket, whatever `home` is
    endpoint = f"unix:{place}/d.sock"
    server.add_insecure_port(endpoint)
    server.start()
    _announce(endpoint)
    try:
        yield script
    finally:
        server.stop(None).wait(5)
        shutil.rmtree(place)


def _announce(endpoint: str) -> None:
    where = folders()
    make_private(where.runtime)
    info = {"format": 1, "instance_id": "scripted", "pid": os.getpid(), "endpoint": endpoint, "token": TOKEN}
    handle = os.open(where.info_path, os.O_WRONLY | os.O_CREAT, 0o600)
    with open(handle, "w") as file:
        json.dump(info, file)
