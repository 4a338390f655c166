"""`runs.histories()`: the rows of many runs in one call, below each other.

Runs arrive as they are ready and are put into the order of the list. ReadHistories knows no system metrics, which are
therefore read run by run. The daemon chooses rows, but for all rows with an x axis that comes along and must not count.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runtap import history_columns, row_groups
from runtap.cautions import caution
from runtap.errors import CommError, DaemonError
from runtap.frames import DEFAULT_SAMPLES, SampledWarning
from runtap.freshness import Freshness, older
from runtap.history import STREAMS, checked_choice, checked_keys, checked_number, checked_word
from runtap.history_columns import EVERYWHERE
from runtap.history_keys import warn_of_none
from runtap.libraries import pandas_for, polars_for
from runtap.row_groups import METRICS, Assembly, MissingRowsWarning, RowGroup
from runtap.samples import read_sample
from runtap.unread import item_error
from runtap.v1 import history_pb2
from runtap.values import check_text

if TYPE_CHECKING:
    from runtap.session import Session

RUN_ID = "run_id"
FORMATS = ("default", "pandas", "polars", "arrow")
MOST_RUNS = 1000
"""Runs asked for in one call."""


@dataclass(frozen=True)
class Wanted:
    """What of the histories is wanted."""

    samples: int
    """0: all rows."""
    keys: Sequence[str]
    """Empty: all."""
    x_axis: str
    stream: int
    format: str
    library: ModuleType | None = None
    """What `format` needs."""

    @property
    def columns(self) -> list[str]:
        """The columns behind `run_id`, in order, when keys are wanted."""
        return history_columns.asked_for(
            self.keys, self.x_axis, ["_timestamp"], stepped=self.stream == METRICS
        )

    @property
    def deciding(self) -> list[str]:
        """The keys of which a row must have one; what is in every row decides only when nothing else is wanted."""
        return [key for key in self.keys if key not in EVERYWHERE] or list(self.keys)

    @property
    def chosen_here(self) -> bool:
        """Whether rows are chosen in this process: unless it samples, the daemon takes an x axis for a key as well."""
        return bool(self.keys) and self.x_axis not in EVERYWHERE and not self.samples


@dataclass
class Answer:
    """What came of it."""

    rows: Any
    """In the format wanted."""
    errors: list[CommError]
    """Why runs could not be read."""


@dataclass
class _Collected:
    """Rows by run, and why there are none."""

    groups: dict[str, list[RowGroup]] = field(default_factory=dict)
    errors: dict[str, CommError] = field(default_factory=dict)

    def has(self, path: str) -> bool:
        """Whether this run is done."""
        return path in self.groups or path in self.errors


def wanted(samples: int | None, keys: Iterable[str] | None, x_axis: str, format: str, stream: str) -> Wanted:
    """Checks the arguments of `Runs.histories`, before anything is read."""
    checked_word("format", format, FORMATS)
    check_text(x_axis, "x_axis")
    find = {"pandas": pandas_for, "polars": polars_for}.get(format)
    return Wanted(
        samples=0 if samples is None else checked_number("samples", samples, least=1, bits=31),
        keys=checked_keys(keys),
        x_axis=x_axis,
        stream=checked_choice("stream", stream, STREAMS),
        format=format,
        library=find and find(f'histories(format="{format}")', 'format="arrow" or format="default"'),
    )


def read(session: Session, paths: Sequence[str], wanted: Wanted) -> Answer:
    """Reads the histories of these runs; see `Runs.histories`."""
    collect = _collected if wanted.stream == METRICS else _collected_one_by_one
    collected = collect(session, paths, wanted)
    groups: list[RowGroup] = []
    for path in paths:
        of_run = [group for group in collected.groups.get(path, ()) if group.length]
        groups += [_long(group, path.rpartition("/")[2], wanted) for group in of_run]
    _warn(session, [path for path in paths if path in collected.groups], groups, wanted)
    return Answer(_shaped(groups, wanted), list(collected.errors.values()))


def _collected(session: Session, paths: Sequence[str], wanted: Wanted) -> _Collected:
    collected = _Collected()
    for begin in range(0, len(paths), MOST_RUNS):
        part = paths[begin : begin + MOST_RUNS]
        try:
            _stream(session, part, wanted, collected)
        except DaemonError:  # the next daemon has on disk what this one had read
            if rest := [path for path in part if not collected.has(path)]:
                _stream(session, rest, wanted, collected)
    return collected


def _stream(session: Session, paths: Sequence[str], wanted: Wanted, collected: _Collected) -> None:
    """Collects the runs of one call, each when all of it has come."""
    assembly, groups = Assembly(), list[RowGroup]()
    request = _request(session, paths, wanted)
    for message in session.stream("history.ReadHistories", request, meanwhile=row_groups.load):
        path = message.run_path
        if message.HasField("error"):
            collected.errors[path] = item_error(message.error)
        elif message.HasField("rows") and (group := assembly.add(message.rows)) is not None:
            groups.append(_matching(group, wanted))
        if message.run_end:
            # Of a run that broke off in the middle, nobody could tell the rows from all rows.
            if path not in collected.errors:
                collected.groups[path] = groups
            assembly, groups = Assembly(), []


def _request(session: Session, paths: Sequence[str], wanted: Wanted) -> history_pb2.ReadHistoriesRequest:
    keys: Sequence[str] = ()
    if wanted.keys:
        keys = [*wanted.keys, "_timestamp"] if wanted.samples else wanted.columns
    return history_pb2.ReadHistoriesRequest(
        paths=paths,
        keys=keys,
        join=history_pb2.HISTORY_JOIN_OUTER,
        samples=wanted.samples,
        x_axis=wanted.x_axis if wanted.samples else "",
        format=history_pb2.HISTORY_FORMAT_ARROW,
        options=session.options(),
    )


def _collected_one_by_one(session: Session, paths: Sequence[str], wanted: Wanted) -> _Collected:
    """System metrics, of which ReadHistories knows nothing."""
    collected = _Collected()
    for path in paths:
        try:
            groups = _system_metrics(session, path, wanted)
        except DaemonError:
            raise
        except CommError as error:
            collected.errors[path] = error
        else:
            collected.groups[path] = [_matching(group, wanted) for group in groups]
    return collected


def _system_metrics(session: Session, path: str, wanted: Wanted) -> list[RowGroup]:
    if not wanted.samples:
        request = history_pb2.ReadHistoryRequest(
            path=path,
            keys=wanted.columns if wanted.keys else (),
            join=history_pb2.HISTORY_JOIN_OUTER,
            stream=history_pb2.HISTORY_STREAM_SYSTEM,
            format=history_pb2.HISTORY_FORMAT_ARROW,
            options=session.options(),
        )
        return list(row_groups.read(session, request))
    sample = read_sample(
        session,
        history_pb2.SampleHistoryRequest(
            path=path,
            keys=[*wanted.keys, "_timestamp"] if wanted.keys else (),
            samples=wanted.samples,
            x_axis="" if wanted.x_axis == "_step" else wanted.x_axis,
            join=history_pb2.HISTORY_JOIN_OUTER,
            stream=history_pb2.HISTORY_STREAM_SYSTEM,
            format=history_pb2.HISTORY_FORMAT_ARROW,
            options=session.options(),
        ),
    )
    whole = sample.total is not None and sample.length >= sample.total
    return [replace(group, exact=whole) for group in sample.groups]


def _matching(group: RowGroup, wanted: Wanted) -> RowGroup:
    """Only the rows that have one of the wanted keys, where the daemon could not choose them."""
    if not wanted.chosen_here:
        return group
    logged = zip(*(group.logged(key) for key in wanted.deciding), strict=True)
    return group.take([row for row, cells in enumerate(logged) if any(cells)])


def _long(group: RowGroup, run_id: str, wanted: Wanted) -> RowGroup:
    """The group with the run's id as its first column, and only what was wanted."""
    import pyarrow as pa

    names = wanted.columns if wanted.keys else list(group.columns)
    kept = {name: group.columns[name] for name in names if name in group.columns and name != RUN_ID}
    return replace(
        group,
        columns={RUN_ID: pa.repeat(run_id, group.length), **kept},
        json_columns=group.json_columns - {RUN_ID},
        nulls=_without(group.nulls, RUN_ID),
    )


def _without(nulls: Mapping[str, set[int]], name: str) -> dict[str, set[int]]:
    return {key: rows for key, rows in nulls.items() if key != name}


def _warn(session: Session, paths: Sequence[str], groups: Sequence[RowGroup], wanted: Wanted) -> None:
    """Says what the rows do not show by themselves."""
    asked = dict.fromkeys([*wanted.keys, *([wanted.x_axis] if wanted.keys else ())])
    lacking = [key for key in asked if not any(key in group.columns for group in groups)]
    unknown = [key for key in lacking if key not in EVERYWHERE]
    if unknown and paths:
        warn_of_none(session, paths, unknown, system=wanted.stream != METRICS)
    exact = all(group.exact for group in groups)
    if not exact and wanted.samples == DEFAULT_SAMPLES:
        caution(
            f"histories() returned {DEFAULT_SAMPLES} rows of each longer history, spread over it; "
            "histories(samples=None) gives all rows, histories(samples=...) another number of them",
            SampledWarning,
            about="sampled",
        )
    # System metrics are a sample by nature.
    if not exact and not wanted.samples and wanted.stream == METRICS:
        caution(f"{session.base_url} did not give all rows of these runs", MissingRowsWarning)
    freshness: Freshness | None = None
    for group in groups:
        freshness = freshness if group.freshness is None else older(freshness, group.freshness)
    # Of runs read one by one this was said already.
    if freshness is not None and wanted.stream == METRICS:
        session.warn_of_age(freshness, "the oldest of these histories")


def _shaped(groups: Sequence[RowGroup], wanted: Wanted) -> Any:
    if wanted.format == "default":
        return [row for group in groups for row in group.rows()]
    listed = wanted.columns if wanted.keys else history_columns.ordered(groups)
    names = [RUN_ID, *(name for name in listed if name != RUN_ID)]
    if wanted.format == "pandas" and wanted.library:
        return history_columns.pandas_frame(wanted.library, groups, names)
    table = history_columns.arrow_table(groups, names)
    return wanted.library.from_arrow(table) if wanted.library else table
