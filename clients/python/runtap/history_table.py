"""`run.history_table()`: all rows of a run as columns, in memory, with missing, null and NaN told apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from runtap import history_columns, row_groups
from runtap.errors import CommError
from runtap.freshness import Freshness, older
from runtap.history import JOINS, STREAMS, checked_choice, checked_keys, checked_number
from runtap.history_keys import span_of, warn_of_apart, warn_of_unknown
from runtap.libraries import pandas_for, polars_for
from runtap.row_groups import HistoryRow, RowGroup
from runtap.v1 import history_pb2

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    from runtap.session import Session


class HistoryTable(Iterable[HistoryRow]):
    """Rows of a run as columns. Made by `run.history_table(...)`, not by hand. Picklable; it never changes.

    Its columns are `_step`, the metrics in the order in which they were first logged, `_runtime` and `_timestamp`; with
    keys, `_step` and the keys as asked for.
    """

    def __init__(self, path: str, groups: Sequence[RowGroup], names: Sequence[str]) -> None:
        self._path = path
        self._groups = [group for group in groups if group.length]
        self._names = list(names)
        self._length = sum(group.length for group in groups)
        self.exact = all(group.exact for group in groups)
        """False when the server gave fewer rows than there are, as it does of long system metrics."""
        self.freshness: Freshness | None = None
        """Where the oldest rows came from and when they left the server; None when nobody said."""
        for group in groups:
            if group.freshness is not None:
                self.freshness = older(self.freshness, group.freshness)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[HistoryRow]:
        for group in self._groups:
            yield from group.rows()

    def rows(self) -> Iterator[HistoryRow]:
        """The rows as dicts, which hold None for null and lack what was not logged; as `scan_history()` gives them."""
        return iter(self)

    def __repr__(self) -> str:
        sampled = "" if self.exact else ", a sample"
        return f"<HistoryTable of {self._path} ({self._length} rows x {len(self._names)} columns{sampled})>"

    @property
    def column_names(self) -> list[str]:
        """The columns, in order."""
        return list(self._names)

    def missing(self, key: str) -> list[int]:
        """The numbers of the rows that did not log a key, from 0 on; for `frame.iloc[...]` or `table.take(...)`.

        Raises:
            KeyError: there is no such column.
        """
        return history_columns.missing_rows(self._groups, self._column(key))

    def nulls(self, key: str) -> list[int]:
        """The numbers of the rows that logged null under a key, from 0 on; what was NaN is in neither list.

        Raises:
            KeyError: there is no such column.
        """
        return history_columns.null_rows(self._groups, self._column(key))

    def to_arrow(self) -> pa.Table:
        """A `pyarrow.Table`.

        Columns are int64, double, bool, string, or JSON texts (string, with the field metadata `runtap.json` = `1`):
        what is nested, and keys whose values are of several kinds. Integers and doubles are one column of doubles,
        unless an integer beyond 2^53 is among them, which only JSON texts keep. What is missing or null is an Arrow
        null; the rows that logged null are listed in the field metadata `runtap.nulls`, separated by commas.
        """
        return history_columns.arrow_table(self._groups, self._names)

    def to_pandas(self) -> pd.DataFrame:
        """A `pandas.DataFrame`, with NaN for what is missing or null.

        Integers are int64; with gaps float64, as NaN is a float, unless one of them is beyond 2^53: then they are
        pandas' nullable Int64, and none is rounded. Truth values with gaps, nested values and keys whose values are of
        several kinds are Python objects.

        Raises:
            ImportError: without pandas, saying how to install it.
        """
        return history_columns.pandas_frame(
            pandas_for("to_pandas()", "to_arrow() or rows()"), self._groups, self._names
        )

    def to_polars(self) -> Any:
        """A `polars.DataFrame` of what `to_arrow()` gives: null for what is missing or null, JSON texts for what nests.

        Raises:
            ImportError: without polars, saying how to install it.
        """
        return polars_for("to_polars()", "to_arrow() or rows()").from_arrow(self.to_arrow())

    def _column(self, key: str) -> str:
        if key not in self._names:
            raise KeyError(f"{self._path} has no column {key!r} here; there are {', '.join(self._names)}")
        return key


def read(
    session: Session,
    path: str,
    keys: Iterable[str] | None,
    how: str,
    min_step: int | None,
    max_step: int | None,
    stream: str,
    last: int | None,
) -> HistoryTable:
    """Reads a table; see `Run.history_table`."""
    wanted = checked_keys(keys)
    # Every row has a step: as a key like others it would let every row in.
    metrics = [key for key in wanted if key != "_step"] or wanted
    request = history_pb2.ReadHistoryRequest(
        path=path,
        keys=metrics,
        join=history_pb2.HistoryJoin.ValueType(checked_choice("how", how, JOINS)),
        stream=history_pb2.HistoryStream.ValueType(checked_choice("stream", stream, STREAMS)),
        min_step=None if min_step is None else checked_number("min_step", min_step),
        max_step=None if max_step is None else checked_number("max_step", max_step),
        last_rows=0 if last is None else checked_number("last", last, least=1),
        format=history_pb2.HISTORY_FORMAT_ARROW,
        options=session.options(),
    )
    groups = _groups(session, request)
    system = request.stream != row_groups.METRICS
    unknown = [key for group in groups[-1:] for key in group.unknown_keys]
    span = span_of(min_step, max_step)
    if unknown:
        last_ones = f"among the last {last:,}" if last is not None else span
        warn_of_unknown(session, path, unknown, system=system, span=last_ones)
    elif len(metrics) > 1 and how == "inner" and not any(group.length for group in groups):
        cure = 'how="outer" gives rows that have at least one'
        warn_of_apart(session, path, metrics, cure=cure, system=system, span=span)
    first = [] if system else ["_step"]
    names = list(dict.fromkeys([*first, *wanted])) if wanted else history_columns.ordered(groups)
    return HistoryTable(path, groups, names)


def _groups(session: Session, request: history_pb2.ReadHistoryRequest) -> list[RowGroup]:
    try:
        return list(row_groups.read(session, request))
    except CommError as error:
        if error.reason != "HISTORY_REWRITTEN":
            raise
    # Nobody has seen a row yet, so that it can begin anew. A history that changes all the time is an error.
    request.resume_token = ""
    return list(row_groups.read(session, request))
