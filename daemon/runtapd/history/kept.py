"""What is kept of a run's history: its mark, and its rows as blobs in segments and groups. Pure.

A *segment* is one blob with all keys of some rows: cheap to append, and for few rows cheapest altogether. A *group* is
a blob per key, of up to 65,536 rows: cheap to read by key. `store.py` says which blobs lie where; here is what they
hold and how rows are cut into them.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtapd.history import encode
from runtapd.history.table import STEP, Column, Rows, ordered

if TYPE_CHECKING:
    from runtapd.history.table import Numbers

GROUP_ROWS = 65_536
GROUP_BYTES = 2**23
"""Of cells, in memory: groups of very many keys have fewer rows."""
KEY_BYTES = 2**21
"""Of the texts of one key in a group."""
_CELL_BYTES = 8
SMALL = 16
"""Rows are few when they fill less than such a part of a group."""


@dataclass(frozen=True, slots=True)
class Mark:
    """What the server said when the stored rows were last known to be right."""

    line_count: int | None
    last_step: int | None
    heartbeat_at: str
    state: str
    next_step: int
    """Rows with smaller steps are all here."""
    checked_at: float
    """Unix seconds; 0 until it was checked for the first time."""
    settled: bool
    """Whether the run had ended and all its rows are here."""
    shortfall: int = 0
    """Rows the server counts but did not give (a hidden cap, a wrong count)."""


@dataclass(frozen=True, slots=True)
class Kept:
    """One run's stored history."""

    storage_id: str
    generation: str
    rows: int
    mark: Mark


class Lost(Exception):
    """A stretch of rows cannot be read; fetched anew, it can be put back in its place."""

    def __init__(self, first: int, rows: int, first_step: int, last_step: int) -> None:
        super().__init__(f"rows {first} to {first + rows - 1}, steps {first_step} to {last_step}")
        self.first = first
        self.rows = rows
        self.first_step = first_step
        self.last_step = last_step


@dataclass(frozen=True, slots=True)
class Piece:
    """A segment or a group."""

    first: int
    """The ordinal of its first row."""
    rows: int
    first_step: int
    last_step: int
    grouped: bool
    texts: int
    """The bytes of its texts in memory."""

    @property
    def lost(self) -> Lost:
        """What there is to say when it cannot be read."""
        return Lost(self.first, self.rows, self.first_step, self.last_step)


@dataclass(frozen=True, slots=True)
class Blob:
    """One key's cells in a group, or all of a segment."""

    key: str | None
    body: bytes
    crc: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """The blobs of one piece as they were read, and what is wanted of them."""

    piece: Piece
    blobs: Sequence[Blob]
    keys: Sequence[str] | None
    """None: all."""
    first: int
    """The ordinal of the first row that is wanted."""

    def decoded(self) -> Rows:
        """Returns the rows; Lost when a blob is not as it was written. Needs no store: call it in any thread."""
        columns: dict[str, Column] = {}
        for blob in self.blobs:
            columns |= _unpacked(self.piece, blob, self.keys)
        keys = ordered(columns if self.keys is None else [key for key in self.keys if key in columns])
        rows = Rows(self.piece.rows, {key: columns[key] for key in keys})
        return rows.slice(self.first - self.piece.first, rows.length)


def needed(keys: Sequence[str]) -> list[str]:
    """Returns the keys of the columns that a choice of these keys looks at, without repetitions."""
    outer = (key.partition(".")[0] for key in keys if "." in key)
    return list(dict.fromkeys((STEP, *keys, *outer)))


def piece_of(first: int, rows: Rows, *, grouped: bool) -> Piece:
    """Describes rows as a piece."""
    steps = rows.steps
    return Piece(first, rows.length, int(steps[0]), int(steps[-1]), grouped, text_bytes(rows))


def blobs_of(rows: Rows, *, grouped: bool) -> list[Blob]:
    """Returns rows as the blobs of a group, which has none for keys that were not logged, or of a segment."""
    rows = rows.without_empty()
    if not grouped:
        return [_packed(None, rows)]
    return [_packed(key, rows.only([key])) for key in rows.columns]


def _packed(key: str | None, rows: Rows) -> Blob:
    body = encode.to_ipc(rows, compressed=True)
    return Blob(key, body, zlib.crc32(body))


def _unpacked(piece: Piece, blob: Blob, keys: Sequence[str] | None) -> dict[str, Column]:
    if zlib.crc32(blob.body) != blob.crc:
        raise piece.lost
    try:
        rows = encode.from_ipc(blob.body, keys)
    except (ValueError, OSError) as error:  # pyarrow's errors are one or the other
        raise piece.lost from error
    if rows.columns and rows.length != piece.rows:
        raise piece.lost
    return dict(rows.columns)


def too_large(rows: int, texts: int, width: int, part: int = 1) -> bool:
    """Whether so many rows of so many keys fill (a part of) a group, or more."""
    return rows >= GROUP_ROWS // part or rows * width * _CELL_BYTES + texts > GROUP_BYTES // part


def absorbed(pieces: Sequence[Piece], rows: Rows, width: int) -> list[Piece]:
    """Returns the last segments to be written again as one with these rows, so that there are never many small ones.

    Each is no larger than what follows it, so that every row is written again a few times only.
    """
    return _taken(pieces, rows.length, text_bytes(rows), width, SMALL)


def reopened(pieces: Sequence[Piece], rows: int, texts: int, width: int) -> list[Piece]:
    """Returns the last groups to be written again with these rows, which follow: short ones of a run that resumed."""
    return _taken(pieces, rows, texts, width, 1)


def _taken(pieces: Sequence[Piece], rows: int, texts: int, width: int, part: int) -> list[Piece]:
    taken: list[Piece] = []
    for piece in reversed(pieces):
        fits = not too_large(rows + piece.rows, texts + piece.texts, width, part)
        if piece.rows > rows or not fits:
            break
        taken.insert(0, piece)
        rows += piece.rows
        texts += piece.texts
    return taken


def full_groups(rows: Rows, width: int) -> list[int]:
    """Returns where groups that are full end; the rows behind the last end fill none. `width` is the run's keys."""
    import numpy as np

    texts = [lengths.cumsum() for lengths in _text_lengths(rows)]
    cells = np.arange(1, rows.length + 1, dtype=np.int64) * (width * _CELL_BYTES)
    measures = [(sum(texts, cells), GROUP_BYTES), *((lengths, KEY_BYTES) for lengths in texts)]
    ends: list[int] = []
    begin = 0
    while begin < rows.length:
        end = begin + GROUP_ROWS
        for running, limit in measures:
            before = int(running[begin - 1]) if begin else 0
            end = min(end, int(running.searchsorted(before + limit, side="right")))
        end = max(end, begin + 1)
        if end == rows.length and end - begin < GROUP_ROWS:
            break  # there is room for more
        ends.append(end)
        begin = end
    return ends


def text_bytes(rows: Rows) -> int:
    """Returns the bytes of all texts."""
    return sum(int(lengths.sum()) for lengths in _text_lengths(rows))


def _text_lengths(rows: Rows) -> list[Numbers]:
    """For each key of texts, the bytes of its cells."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [column.values for column in rows.columns.values() if pa.types.is_string(column.values.type)]
    return [
        pc.binary_length(values).fill_null(0).to_numpy(zero_copy_only=False).astype(np.int64)
        for values in columns
    ]
