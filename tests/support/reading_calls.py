"""Every RPC that takes a path, a filter, an order or a mask, called by name with any fields a test wants to try."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from runtap.v1 import history_pb2, projects_pb2, runs_pb2, sweeps_pb2
from tests.support.many_accounts import PROJECT_PATH, SWEEP_PATH, Seat

LISTS_OF_RUNS = ("ListRuns", "StreamRuns", "ExplainQuery")
_RUN_PATH = f"{PROJECT_PATH}/r1"
_STREAMS = ("StreamRuns", "ReadDocument", "ReadHistory", "SampleHistory", "ReadHistories")
_Call = Callable[..., Any]
_CALLS: dict[str, Callable[[Seat], tuple[_Call, type, dict[str, Any]]]] = {
    "GetRun": lambda s: (s.runs().GetRun, runs_pb2.GetRunRequest, {"path": _RUN_PATH}),
    "BatchGetRuns": lambda s: (
        s.runs().BatchGetRuns,
        runs_pb2.BatchGetRunsRequest,
        {"paths": [_RUN_PATH]},
    ),
    "ListRuns": lambda s: (s.runs().ListRuns, runs_pb2.ListRunsRequest, {"project": PROJECT_PATH}),
    "StreamRuns": lambda s: (s.runs().StreamRuns, runs_pb2.StreamRunsRequest, {"project": PROJECT_PATH}),
    "ExplainQuery": lambda s: (
        s.runs().ExplainQuery,
        runs_pb2.ExplainQueryRequest,
        {"project": PROJECT_PATH},
    ),
    "ReadDocument": lambda s: (
        s.runs().ReadDocument,
        runs_pb2.ReadDocumentRequest,
        {"path": _RUN_PATH, "document": runs_pb2.DOCUMENT_CONFIG},
    ),
    "UpdateRun": lambda s: (
        s.runs().UpdateRun,
        runs_pb2.UpdateRunRequest,
        {"path": _RUN_PATH, "tags_add": ["t"], "request_id": "wrong"},
    ),
    "ReadHistory": lambda s: (
        s.histories().ReadHistory,
        history_pb2.ReadHistoryRequest,
        {"path": _RUN_PATH},
    ),
    "ReadHistories": lambda s: (
        s.histories().ReadHistories,
        history_pb2.ReadHistoriesRequest,
        {"project": PROJECT_PATH, "filter_json": "{}"},
    ),
    "GetHistoryKeys": lambda s: (
        s.histories().GetHistoryKeys,
        history_pb2.GetHistoryKeysRequest,
        {"path": _RUN_PATH},
    ),
    "SampleHistory": lambda s: (
        s.histories().SampleHistory,
        history_pb2.SampleHistoryRequest,
        {"path": _RUN_PATH},
    ),
    "GetProject": lambda s: (
        s.projects().GetProject,
        projects_pb2.GetProjectRequest,
        {"path": PROJECT_PATH},
    ),
    "ListProjects": lambda s: (s.projects().ListProjects, projects_pb2.ListProjectsRequest, {}),
    "GetSweep": lambda s: (s.sweeps().GetSweep, sweeps_pb2.GetSweepRequest, {"path": SWEEP_PATH}),
    "ListSweeps": lambda s: (s.sweeps().ListSweeps, sweeps_pb2.ListSweepsRequest, {"project": PROJECT_PATH}),
    "ListSweepRuns": lambda s: (
        s.sweeps().ListSweepRuns,
        sweeps_pb2.ListSweepRunsRequest,
        {"path": SWEEP_PATH},
    ),
    "GetBestRun": lambda s: (s.sweeps().GetBestRun, sweeps_pb2.GetBestRunRequest, {"path": SWEEP_PATH}),
}


def call(seat: Seat, rpc: str, **fields: Any) -> Any:
    """Calls an RPC with these fields; others that it needs are right. Streams are read to their end."""
    method, request, right = _CALLS[rpc](seat)
    answer = method(request(**right | fields), timeout=20)
    return list(answer) if rpc in _STREAMS else answer
