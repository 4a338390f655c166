"""`run.history()`: at most so many rows, spread evenly, as a pandas frame or as dicts.

Which rows and columns is decided here; `row_groups.py` reads them. `_step`, `_runtime` and `_timestamp` are in every
row, so they never decide whether a row has one of the wanted keys, unless nothing else is wanted.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from runtap import row_groups
from runtap.cautions import caution
from runtap.history import STREAMS, checked_keys, checked_number, refused
from runtap.history_columns import EVERYWHERE, ordered
from runtap.history_keys import warn_of_apart, warn_of_unknown
from runtap.row_groups import RowGroup
from runtap.v1 import history_pb2
from runtap.values import check_text

if TYPE_CHECKING:
    import pandas as pd

    from runtap.session import Session

DEFAULT_SAMPLES = 500


class SampledWarning(UserWarning):
    """A history has more rows than were returned, and nobody had asked for so few."""


@dataclass(frozen=True)
class Wanted:
    """What of a history is wanted."""

    samples: int
    keys: Sequence[str]
    """Empty: all."""
    x_axis: str
    stream: int
    inner: bool
    exact_columns: bool

    @property
    def columns(self) -> list[str]:
        """The columns of the answer, in order, when keys are wanted."""
        last = [] if self.exact_columns else ["_timestamp"]
        return list(dict.fromkeys([self.x_axis, *(key for key in self.keys if key not in last), *last]))

    @property
    def deciding(self) -> list[str]:
        """The keys that decide whether a row belongs to the answer."""
        metrics = [key for key in self.keys if key not in EVERYWHERE]
        if self.inner and self.x_axis not in EVERYWHERE:
            metrics.append(self.x_axis)
        return metrics or list(self.keys)


def history(
    session: Session,
    path: str,
    *,
    samples: int,
    keys: Iterable[str] | None,
    x_axis: str,
    pandas: bool,
    stream: str,
    how: str,
    columns: str,
) -> pd.DataFrame | list[row_groups.HistoryRow]:
    """Reads, chooses and shapes; see `Run.history`."""
    if stream not in STREAMS:
        raise refused("stream", f'stream is "default", "events" or "system", not {stream!r}')
    if how not in ("outer", "inner"):
        raise refused("how", f'how is "outer" or "inner", not {how!r}')
    if columns not in ("guide", "exact"):
        raise refused("columns", f'columns is "guide" or "exact", not {columns!r}')
    check_text(x_axis, "x_axis")
    wanted = Wanted(
        samples=checked_number("samples", samples, least=1),
        keys=checked_keys(keys),
        x_axis=x_axis,
        stream=STREAMS[stream],
        inner=how == "inner",
        exact_columns=columns == "exact",
    )
    library = _pandas() if pandas else None
    groups = _sampled(_matching(_read(session, path, wanted), wanted), wanted.samples, path)
    if library is None:
        return [row for group in groups for row in group.rows()]
    return frame(library, groups, wanted.columns if wanted.keys else ordered(groups))


def _pandas() -> ModuleType:
    """pandas, looked for before anything is read."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(
            "history() returns a pandas.DataFrame, and pandas cannot be imported: pip install 'runtap[pandas]', or use "
            "history(pandas=False) for a list of dicts"
        ) from error
    return pandas


def _read(session: Session, path: str, wanted: Wanted) -> list[RowGroup]:
    groups = list(row_groups.read(session, _request(session, path, wanted)))
    if wanted.keys:
        _warn_of_keys(session, path, groups, wanted)
    return groups


def _warn_of_keys(session: Session, path: str, groups: list[RowGroup], wanted: Wanted) -> None:
    """Warns of keys that no row has, or that no row has together."""
    asked = dict.fromkeys([*wanted.keys, wanted.x_axis])
    unknown = [key for group in groups[-1:] for key in group.unknown_keys if key in asked]
    metrics = [key for key in asked if key not in EVERYWHERE]
    if unknown:
        warn_of_unknown(session, path, unknown, system=wanted.stream != row_groups.METRICS)
    elif len(metrics) > 1 and not any(
        all(cells) for group in groups for cells in zip(*map(group.logged, metrics), strict=True)
    ):
        cure = 'how="outer" gives rows that have at least one' if wanted.inner else "every row lacks some"
        warn_of_apart(session, path, metrics, cure=cure, system=wanted.stream != row_groups.METRICS)


def _request(session: Session, path: str, wanted: Wanted) -> history_pb2.ReadHistoryRequest:
    # Outer in any case: the columns that only accompany the keys must not decide about rows, and here they do not.
    return history_pb2.ReadHistoryRequest(
        path=path,
        keys=[key for key in wanted.columns if key != "_step"] if wanted.keys else (),
        join=history_pb2.HISTORY_JOIN_OUTER,
        stream=history_pb2.HistoryStream.ValueType(wanted.stream),
        format=history_pb2.HISTORY_FORMAT_ARROW,
        options=session.options(),
    )


def _matching(groups: list[RowGroup], wanted: Wanted) -> list[RowGroup]:
    """Only the rows that have one of the wanted keys, or all of them, and only the wanted columns."""
    if not wanted.keys:
        return groups
    decide = all if wanted.inner else any
    matching = []
    for group in groups:
        group.columns = {name: group.columns[name] for name in wanted.columns if name in group.columns}
        logged = zip(*(group.logged(key) for key in wanted.deciding), strict=True)
        matching.append(group.take([row for row, cells in enumerate(logged) if decide(cells)]))
    return matching


def _sampled(groups: list[RowGroup], samples: int, path: str) -> list[RowGroup]:
    """At most so many rows of all groups together."""
    total = sum(group.length for group in groups)
    if total <= samples:
        return groups
    if samples == DEFAULT_SAMPLES:
        caution(
            f"history() returned {samples:,} of {total:,} rows of {path}, spread evenly; scan_history() gives all "
            "of them, history(samples=...) another number",
            SampledWarning,
            about="sampled",
        )
    chosen = spread(total, samples)
    sampled, begin, first = [], 0, 0
    for group in groups:
        end = begin + group.length
        last = first
        while last < len(chosen) and chosen[last] < end:
            last += 1
        sampled.append(group.take([row - begin for row in chosen[first:last]]))
        begin, first = end, last
    return sampled


def spread(total: int, samples: int) -> list[int]:
    """`samples` of the numbers below `total`, evenly spread, with the first and the last; always the same ones."""
    if samples == 1:
        return [total - 1]
    return [(index * (total - 1) + (samples - 1) // 2) // (samples - 1) for index in range(samples)]


def frame(pandas: ModuleType, groups: Sequence[RowGroup], columns: Sequence[str]) -> pd.DataFrame:
    """A frame of these columns, with NaN for what is missing or null."""
    length = sum(group.length for group in groups)
    cells = {name: _series(pandas, groups, name) for name in columns}
    return pandas.DataFrame(cells, columns=list(columns), index=pandas.RangeIndex(length))  # type: ignore[no-any-return]


def _series(pandas: ModuleType, groups: Sequence[RowGroup], name: str) -> pd.Series[Any]:
    """One column over all groups: as numbers where it holds numbers only, else as Python values."""
    import pyarrow as pa

    kinds = {group.columns[name].type for group in groups if name in group.columns}
    numbers = kinds <= {pa.int64(), pa.float64()} and not any(name in group.json_columns for group in groups)
    if numbers or (not kinds):
        kind = pa.int64() if kinds == {pa.int64()} else pa.float64()
        parts = [
            group.columns[name].cast(kind, safe=False)
            if name in group.columns
            else pa.nulls(group.length, kind)
            for group in groups
        ]
        return pandas.Series(pa.chunked_array(parts, kind).to_pandas())  # type: ignore[no-any-return]
    values = [value for group in groups for value in group.values(name, math.nan)]
    return pandas.Series([math.nan if value is None else value for value in values])  # type: ignore[no-any-return]
