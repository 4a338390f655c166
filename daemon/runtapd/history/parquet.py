"""From the Parquet files of an exported history to rows. Pure but for reading the files; runs in threads.

Files come in any order and may overlap: servers cut them as they like, and promise nothing. What is known of them is
their steps, so those are read first, of every file. Then all row groups are merged by step, as sorted lists are, and
never more of them is in memory than a piece of each that holds the same steps.

A row that is in two files is one row: when its step and all its cells are equal, whatever types they are stored as (NaN
equals NaN, 3 equals 3.0). Rows that one file holds twice were logged twice, and stay: of equal rows, as many are given
as the file has that has most of them. Rows of one step that differ are different rows.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from runtapd.faults import InvalidAnswer
from runtapd.history import cells
from runtapd.history.table import NONE, STEP, Column, Rows, joined, ordered
from runtapd.model import jsontext

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from runtapd.history.table import Mask, Numbers

MOST_ROWS = 65_536
_PIECE_BYTES = 32 * 2**20
"""About how large a piece of a row group gets in memory, whatever its rows are."""
_READ_ROWS = 8192
"""As many rows are decoded at once; of wide tables fewer."""
_READ_CELLS = 2**21
_BUFFER = 64 * 1024
_NAN = object()


def rows(files: Sequence[Path], *, from_step: int) -> Generator[Rows, None, None]:
    """Yields the rows with `from_step` <= _step of all files in step order, at most 65,536 at once.

    Raises InvalidAnswer, naming the file by its place in the sequence, when one is not a Parquet file, is damaged, or
    holds what no history has. Nothing is yielded before the ends of all files, and their steps, have been read. Files
    are open until the end, or until `close`.
    """
    parts = [_Part(number, file) for number, file in enumerate(files)]
    try:
        groups = [group for part in parts for group in part.groups() if group.most >= from_step]
        groups.sort(key=lambda group: (group.least, group.most, group.part.number, group.number))
        for group in groups:
            group.part.left += 1
        yield from _merged(groups, from_step)
    finally:
        for part in parts:
            part.close()


def _merged(groups: Sequence[_Group], from_step: int) -> Iterator[Rows]:
    heap = [(group.least, place, group) for place, group in enumerate(groups)]  # sorted, so a heap
    pending = _Pending()
    while heap:
        _, place, group = heapq.heappop(heap)
        taken = group.take().between(from_step, None)
        if group.left:
            heapq.heappush(heap, (group.least, place, group))
        # No row before this step can come any more.
        ready = pending.with_more(taken, group.part.number, heap[0][0] if heap else None)
        for begin in range(0, ready.length, MOST_ROWS):
            yield ready.slice(begin, begin + MOST_ROWS).without_empty()


@dataclass
class _Pending:
    """Rows that have been read and wait for others of the same steps, and the file each comes from."""

    waiting: Rows = NONE
    files: Numbers | None = None

    def with_more(self, more: Rows, file: int, before: int | None) -> Rows:
        """Takes in rows of one file; returns, sorted and each once, all whose step is less (None: all)."""
        import numpy as np

        files = np.full(more.length, file)
        if self.waiting.length:
            assert self.files is not None
            files = np.concatenate((self.files, files))
            more = joined((self.waiting, more))
            order = np.argsort(more.steps, kind="stable")
            more, files = _taken(more, order), files[order]
        ready = more.between(None, before)
        self.waiting, self.files = more.slice(ready.length, more.length), files[ready.length :]
        return ready.filter(_once(ready, files[: ready.length]))


def _taken(of: Rows, places: Numbers) -> Rows:
    import numpy as np
    import pyarrow as pa

    indices = pa.array(places)
    columns = {}
    for key, column in of.columns.items():
        nulls = None
        if column.nulls is not None:
            nulls = np.flatnonzero(np.isin(places, column.nulls))
        columns[key] = Column(column.values.take(indices), column.json, nulls)
    return Rows(len(places), columns)


def _once(found: Rows, files: Numbers) -> Mask:
    """For each row, whether it is not the same as one of another file."""
    import numpy as np

    keep: Mask = np.ones(found.length, np.bool_)
    if found.length < 2:
        return keep
    steps = found.steps
    same = steps[1:] == steps[:-1]
    met = same & (files[1:] != files[:-1])
    if not met.any():
        return keep
    group = np.concatenate(([0], np.cumsum(~same)))  # rows of one step
    suspects = np.flatnonzero(np.isin(group, np.unique(group[1:][met])))
    given: Counter[Any] = Counter()
    had: Counter[Any] = Counter()
    for place, row in zip(suspects.tolist(), _comparable(found, suspects), strict=True):
        had[row, int(files[place])] += 1
        if had[row, int(files[place])] > given[row]:
            given[row] += 1
        else:
            keep[place] = False
    return keep


def _comparable(found: Rows, places: Numbers) -> Iterator[tuple[Any, ...]]:
    """The cells of these rows as values that are equal when the cells are."""
    picked = _taken(found, places)
    columns = []
    for column in picked.columns.values():
        values = column.values.to_pylist()
        if column.json:
            values = [None if text is None else _frozen(jsontext.loads(text)) for text in values]
        nulls = set() if column.nulls is None else set(column.nulls.tolist())
        columns.append([_null_or(value, i in nulls) for i, value in enumerate(values)])
    return zip(*columns, strict=True)


def _null_or(value: Any, is_null: bool) -> Any:
    return "null" if is_null else _NAN if value != value else (value,)


def _frozen(value: Any) -> Any:
    if isinstance(value, dict):
        return "{", tuple(sorted((key, _frozen(item)) for key, item in value.items()))
    if isinstance(value, list):
        return "[", tuple(map(_frozen, value))
    return (value,) if isinstance(value, bool) else value  # True equals 1


@dataclass(eq=False)
class _Part:
    """One file; open while it is read."""

    number: int
    path: Path
    left: int = 0
    """Row groups that are still to be read to their end."""
    _file: pq.ParquetFile | None = None

    def file(self) -> pq.ParquetFile:
        """The file, opened when it is not."""
        import pyarrow.parquet as pq

        if self._file is None:
            # Read ahead, a row group would be in memory as a whole.
            self._file = pq.ParquetFile(
                self.path, buffer_size=_BUFFER, pre_buffer=False, page_checksum_verification=True
            )
        return self._file

    def close(self) -> None:
        """Closes it; a second call does nothing."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def groups(self) -> list[_Group]:
        """The row groups that have rows, each with its least and its largest step; closes the file again."""
        with self.reading():
            file = self.file()
            names = file.schema_arrow.names
            if STEP not in names:
                raise ValueError(f"it has no column {STEP}")
            if len(set(names)) < len(names):
                raise ValueError("two of its columns have one name")
            found = []
            for number in range(file.metadata.num_row_groups):
                if len(steps := self.steps(number)):
                    found.append(_Group(self, number, int(steps.min()), int(steps.max()), len(steps)))
            self.close()
        return found

    def steps(self, group: int) -> Numbers:
        """The steps of a row group, as they lie there."""
        import pyarrow as pa

        table = self.file().read_row_group(group, columns=[STEP])
        column = table.column(table.schema.get_field_index(STEP)).combine_chunks()
        if not (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)) or column.null_count:
            raise ValueError(f"its column {STEP} does not hold whole numbers only")
        steps: Numbers = column.cast(pa.int64()).to_numpy()
        return steps

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Makes what is wrong with the file an InvalidAnswer that names it."""
        import pyarrow as pa

        try:
            yield
        except FileNotFoundError:
            raise  # that is our doing
        except (pa.ArrowException, OSError, ValueError, OverflowError, RecursionError) as error:
            words = str(error).replace(str(self.path), "it")[:300]
            raise InvalidAnswer(
                f"file {self.number} of an exported history cannot be read: {words or type(error).__name__}"
            ) from error


@dataclass(eq=False)
class _Group:
    """One row group, read in pieces whose steps ascend."""

    part: _Part
    number: int
    least: int
    """The least step of the rows that are still to be taken."""
    most: int
    left: int
    """Rows that are still to be taken."""
    _pieces: Iterator[Rows] | None = None
    _steps: np.ndarray[Any, Any] | None = field(default=None, repr=False)
    _taken: int = 0

    def take(self) -> Rows:
        """Returns the next rows."""
        with self.part.reading():
            if self._pieces is None:
                self._steps = self.part.steps(self.number)
                self._pieces = self._in_pieces(self._steps)
            assert self._steps is not None
            piece = next(self._pieces, NONE)
            if not piece.length:
                raise ValueError("it has fewer rows than it says")
            self._taken += piece.length
            self.left = len(self._steps) - self._taken
            if self.left:
                self.least = int(self._steps[self._taken])
            else:
                self._close()
        return piece

    def _close(self) -> None:
        self._pieces = self._steps = None
        self.part.left -= 1
        if not self.part.left:
            self.part.close()

    def _in_pieces(self, steps: Numbers) -> Iterator[Rows]:
        if (steps[1:] >= steps[:-1]).all():
            return map(_rows_of, self._tables())
        # Nothing says where the next step lies: all of the group is needed at once.
        whole = joined([_rows_of(table) for table in self._tables()])
        order = steps.argsort(kind="stable")
        self._steps = steps[order]
        return iter([_taken(whole, order)])

    def _tables(self) -> Iterator[pa.Table]:
        """The rows as they lie there, as many at once as a piece may have."""
        import pyarrow as pa

        file = self.part.file()
        at_once = max(1, min(_READ_ROWS, _READ_CELLS // max(1, file.metadata.num_columns)))
        held: list[pa.RecordBatch] = []
        for batch in file.iter_batches(at_once, row_groups=[self.number]):
            batch.validate(full=True)
            held.append(batch)
            count, size = sum(map(len, held)), sum(one.nbytes for one in held)
            if count + at_once > MOST_ROWS or size >= _PIECE_BYTES:
                yield pa.Table.from_batches(held).combine_chunks()
                held = []
        if held:
            yield pa.Table.from_batches(held).combine_chunks()


def _rows_of(table: pa.Table) -> Rows:
    import pyarrow as pa

    columns = {}
    for place, of_file in enumerate(table.schema):
        array = table.column(place).combine_chunks()
        if of_file.name == STEP:
            columns[STEP] = Column(array.cast(pa.int64()))
            continue
        try:
            column = cells.column(array, of_file)
        except ValueError as error:
            raise ValueError(f"column {of_file.name!r}: {error}") from error
        if not column.empty:
            columns[of_file.name] = column
    return Rows(table.num_rows, {key: columns[key] for key in ordered(columns)})
