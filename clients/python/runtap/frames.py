"""`run.history()`: at most so many rows that stand for all, as a pandas frame or as dicts.

The daemon chooses the rows, `samples.py` reads them; which columns there are is decided here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtap import row_groups
from runtap.cautions import caution
from runtap.history import JOINS, STREAMS, checked_choice, checked_keys, checked_number, checked_word
from runtap.history_columns import EVERYWHERE, asked_for, ordered, pandas_frame
from runtap.history_keys import warn_of_apart, warn_of_axis, warn_of_unknown
from runtap.libraries import pandas_for
from runtap.row_groups import RowGroup
from runtap.samples import Sample, read_sample
from runtap.v1 import history_pb2
from runtap.values import check_text

if TYPE_CHECKING:
    import pandas as pd

    from runtap.session import Session

DEFAULT_SAMPLES = 500
COLUMNS = ("guide", "exact")


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
    join: int
    exact_columns: bool

    @property
    def inner(self) -> bool:
        """Whether a row must have all keys."""
        return self.join == JOINS["inner"]

    @property
    def more_columns(self) -> list[str]:
        """What comes beside `keys` and the x axis."""
        return [] if self.exact_columns else ["_timestamp"]

    @property
    def columns(self) -> list[str]:
        """The columns of the answer, in order, when keys are wanted."""
        stepped = self.stream == row_groups.METRICS
        return asked_for(self.keys, self.x_axis, self.more_columns, stepped=stepped)


def wanted(
    samples: int, keys: Iterable[str] | None, x_axis: str, stream: str, how: str, columns: str
) -> Wanted:
    """Checks the arguments of `Run.history`, before anything is read."""
    check_text(x_axis, "x_axis")
    return Wanted(
        samples=checked_number("samples", samples, least=1, bits=31),
        keys=checked_keys(keys),
        x_axis=x_axis,
        stream=checked_choice("stream", stream, STREAMS),
        join=checked_choice("how", how, JOINS),
        exact_columns=checked_word("columns", columns, COLUMNS) == "exact",
    )


def history(
    session: Session, path: str, wanted: Wanted, *, pandas: bool
) -> pd.DataFrame | list[row_groups.HistoryRow]:
    """Reads, chooses and shapes; see `Run.history`."""
    library = pandas_for("history()", "history(pandas=False)") if pandas else None
    groups = _read(session, path, wanted)
    if library is None:
        return [row for group in groups for row in group.rows()]
    return pandas_frame(library, groups, wanted.columns if wanted.keys else ordered(groups))


def _read(session: Session, path: str, wanted: Wanted) -> Sequence[RowGroup]:
    sample = read_sample(session, _request(session, path, wanted))
    if wanted.keys:
        _warn_of_keys(session, path, sample, wanted)
        for group in sample.groups:
            group.columns = {name: group.columns[name] for name in wanted.columns if name in group.columns}
    elif wanted.x_axis not in ("", "_step"):
        _warn_of_axis(session, path, sample, wanted)
    if sample.total is not None and sample.length < sample.total and wanted.samples == DEFAULT_SAMPLES:
        how = "as the server chose them" if sample.chosen else "spread evenly"
        # Of several keys, scanning gives only the rows that have all of them.
        outer = len(wanted.keys) > 1 and not wanted.inner
        whole = "history_table()" if outer or wanted.stream != row_groups.METRICS else "scan_history()"
        caution(
            f"history() returned {sample.length:,} of {sample.total:,} rows of {path}, {how}; {whole} "
            "gives all of them, history(samples=...) another number",
            SampledWarning,
            about="sampled",
        )
    return sample.groups


def _warn_of_axis(session: Session, path: str, sample: Sample, wanted: Wanted) -> None:
    """Warns of an x axis that no row has; where the rows that were chosen have it, nobody needs to be asked."""
    seen = any(wanted.x_axis in group.columns for group in sample.groups)
    if sample.length and not seen and wanted.stream == row_groups.METRICS:
        warn_of_axis(session, path, wanted.x_axis)


def _warn_of_keys(session: Session, path: str, sample: Sample, wanted: Wanted) -> None:
    """Warns of keys that no row has, or that no row has together."""
    asked = dict.fromkeys([*wanted.keys, wanted.x_axis])
    unknown = [key for key in asked if key in sample.unknown_keys]
    metrics = [key for key in asked if key not in EVERYWHERE]
    system = wanted.stream != row_groups.METRICS
    if unknown:
        warn_of_unknown(session, path, unknown, system=system)
    elif len(metrics) > 1 and not sample.with_all_keys:
        cure = 'how="outer" gives rows that have at least one' if wanted.inner else "every row lacks some"
        warn_of_apart(session, path, metrics, cure=cure, system=system)


def _request(session: Session, path: str, wanted: Wanted) -> history_pb2.SampleHistoryRequest:
    return history_pb2.SampleHistoryRequest(
        path=path,
        # `_timestamp` only comes along: beside other keys it does not decide which rows there are.
        keys=[*wanted.keys, *wanted.more_columns] if wanted.keys else (),
        samples=wanted.samples,
        x_axis=wanted.x_axis,
        join=history_pb2.HistoryJoin.ValueType(wanted.join),
        stream=history_pb2.HistoryStream.ValueType(wanted.stream),
        format=history_pb2.HISTORY_FORMAT_ARROW,
        options=session.options(),
    )
