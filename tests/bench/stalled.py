"""What stalled stream readers cost a small call: its latency with none and with 64 of them."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any

from runtap.v1 import runs_pb2 as pb
from runtap.v1 import runs_pb2_grpc
from tests.support.daemon import Daemon

READERS = 64
CALLS = 300


@dataclass(frozen=True)
class Latency:
    """Of one small call, in milliseconds."""

    median_ms: float
    p99_ms: float


def measure(daemon: Daemon, account: str, project: str, run: str) -> tuple[Latency, Latency]:
    """Returns the latency of a cached GetRun without and with stalled readers of a whole project."""
    stub = runs_pb2_grpc.RunServiceStub(daemon.channel("bench/1/small", account=account))
    stub.GetRun(pb.GetRunRequest(path=run))
    quiet = _latency(stub, run)
    streams: list[Any] = []
    try:
        for number in range(READERS):
            reader = runs_pb2_grpc.RunServiceStub(daemon.channel(f"bench/1/{number}", account=account))
            stream = reader.StreamRuns(pb.StreamRunsRequest(project=project))
            next(iter(stream))  # it has begun, and now nobody reads on
            streams.append(stream)
        loud = _latency(stub, run)
    finally:
        for stream in streams:
            stream.cancel()
    return quiet, loud


def _latency(stub: runs_pb2_grpc.RunServiceStub, run: str) -> Latency:
    times = []
    for _ in range(CALLS):
        began = time.perf_counter()
        stub.GetRun(pb.GetRunRequest(path=run))
        times.append((time.perf_counter() - began) * 1e3)
    return Latency(statistics.median(times), statistics.quantiles(times, n=100)[98])
