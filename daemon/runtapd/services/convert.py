"""Between messages and values: what every reading service needs. Pure."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import cast

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from runtap.v1 import common_pb2
from runtapd.cache.policy import Wishes
from runtapd.faults import DeadlineExceeded, Fault, InvalidRequest
from runtapd.model.freshness import Freshness
from runtapd.model.paths import ProjectPath, RunPath, SweepPath, project_path, run_path, sweep_path
from runtapd.reads.answers import Place
from runtapd.reads.query import Part
from runtapd.services import status
from runtapd.services.calls import Call
from runtapd.upstream.accounts import Account
from runtapd.upstream.api import Urgency, Wait, Waits

ANSWER_MARGIN_S = 0.25
"""Kept back from a call's deadline, so that the daemon's own words arrive before gRPC's."""
MOST_PATHS = 1000
LONGEST_REQUEST_S = 60.0
"""How long one request of a stream without a deadline may take, where the caller does not say."""


def wishes(options: common_pb2.ReadOptions) -> Wishes:
    """Reads ReadOptions; raises InvalidRequest when it contradicts itself."""
    if options.cache_only and options.no_cache:
        raise InvalidRequest("cache_only and no_cache exclude each other", field="options")
    return Wishes(
        max_age_s=seconds("options.max_age", options.max_age) if options.HasField("max_age") else None,
        cache_only=options.cache_only,
        no_cache=options.no_cache,
        allow_stale_on_error=options.allow_stale_on_error,
        not_before=options.not_before.ToNanoseconds() / 1e9 if options.HasField("not_before") else 0.0,
    )


def freshness(found: Freshness) -> common_pb2.Freshness:
    """Writes Freshness."""
    return common_pb2.Freshness(
        fetched_at=timestamp(found.fetched_at),
        source=cast(common_pb2.FreshnessSource.ValueType, int(found.source)),
        stale=found.stale,
        pending_writes=found.pending_writes,
        revalidated=sorted(found.revalidated),
    )


def item_errors(part: Part, behind: Place | None = None) -> list[common_pb2.ItemError]:
    """Writes the runs of a stretch of a list that could not be read, up to a place in it."""
    return [
        item_error(unread.path, unread.fault)
        for offset, unread in part.errors
        if behind is None or offset <= behind.offset
    ]


def item_error(item: str, fault: Fault) -> common_pb2.ItemError:
    """Writes why one item could not be had."""
    code, message = status.brief(fault)
    return common_pb2.ItemError(
        item=item, code=code, reason=fault.reason, message=message, metadata=fault.metadata
    )


def timestamp(unix_seconds: float) -> Timestamp:
    """Writes a moment."""
    moment = Timestamp()
    moment.FromNanoseconds(int(unix_seconds * 1e9))
    return moment


def seconds(field: str, duration: Duration) -> float:
    """Reads a span of time; raises InvalidRequest for a negative one."""
    value: float = duration.seconds + duration.nanos / 1e9
    if value < 0:
        raise InvalidRequest(f"{field} is {value:g} s; it cannot be negative", field=field)
    return value


def path_of_run(path: str, defaults: common_pb2.PathDefaults, account: Account) -> RunPath:
    """Parses a run's path, completed by the caller's defaults and the account's entity."""
    return run_path(path, defaults.entity or account.viewer.entity, defaults.project)


def paths_of_runs(paths: Sequence[str], defaults: common_pb2.PathDefaults, account: Account) -> list[RunPath]:
    """Parses the paths of several runs; the first that is none is named."""
    if len(paths) > MOST_PATHS:
        raise InvalidRequest(f"paths names {len(paths)} runs; ask for at most {MOST_PATHS}", field="paths")
    found = []
    for i, path in enumerate(paths):
        try:
            found.append(path_of_run(path, defaults, account))
        except InvalidRequest as fault:
            fault.field = f"paths[{i}]"
            raise
    return found


def path_of_sweep(path: str, defaults: common_pb2.PathDefaults, account: Account) -> SweepPath:
    """Parses a sweep's path, completed by the caller's defaults and the account's entity."""
    return sweep_path(path, defaults.entity or account.viewer.entity, defaults.project)


def path_of_project(
    path: str, defaults: common_pb2.PathDefaults, account: Account, *, field: str = "project"
) -> ProjectPath:
    """Parses a project's path, completed by the caller's defaults and the account's entity."""
    return project_path(path, defaults.entity or account.viewer.entity, defaults.project, field=field)


def wait(call: Call, options: common_pb2.ReadOptions | None = None) -> Wait:
    """Returns how long one request may take: to the call's deadline, or as long as the caller said.

    Raises DeadlineExceeded when the call's time is up already.
    """
    now, left = asyncio.get_running_loop().time(), call.deadline_s
    if left is not None and left <= 0:
        raise DeadlineExceeded("the call's deadline passed before it was begun")
    longest = LONGEST_REQUEST_S if left is None else max(left * 0.5, left - ANSWER_MARGIN_S)
    if options is not None and options.HasField("request_timeout"):
        asked = seconds("options.request_timeout", options.request_timeout)
        longest = asked if left is None else min(longest, asked)
    return Wait(now + longest)


def waits(call: Call, options: common_pb2.ReadOptions) -> Waits:
    """Returns how long each request of a stream may take."""
    wait(call, options)  # refuses at once what is no span of time

    def each() -> Wait:
        found = wait(call, options)
        found.urgency = Urgency.BULK
        return found

    return each


def page_size(asked: int, default: int, largest: int, *, field: str = "page_size") -> int:
    """Reads a page size: 0 is the default, too much is cut, less than nothing is refused."""
    if asked < 0:
        raise InvalidRequest(f"{field} is {asked}; it must be 0 (the default) or more", field=field)
    return min(asked or default, largest)


def with_runs(message: Message, bodies: Sequence[bytes]) -> bytes:
    """Serialises a message with these runs in its field 1, which all messages with runs have for that.

    The runs stay the bytes they are: putting serialised fields one after the other is what protobuf does itself.
    """
    pieces = [message.SerializeToString()]
    for body in bodies:
        pieces += [b"\x0a", _varint(len(body)), body]
    return b"".join(pieces)


def _varint(number: int) -> bytes:
    encoded = bytearray()
    while number > 0x7F:
        encoded.append(number & 0x7F | 0x80)
        number >>= 7
    encoded.append(number)
    return bytes(encoded)
