"""Lines as they lie on disk: many in one compressed blob, with their steps beside it. Pure; no SQL here.

One row per line cost as much in indexes and row headers as in text, and the text itself packs to less than half.
"""

import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

MAX_LINES: Final = 128
"""The most lines of a chunk. Who appends writes the last chunk anew, so this bounds what an append costs. It may grow,
but readers count on no chunk that was ever written being longer."""

_MAX_BYTES: Final = 64 * 1024
_LEVEL: Final = 1  # a tenth larger than with the default, at four times the speed


@dataclass(frozen=True, slots=True)
class Line:
    """One line: its place in the stream, the step it belongs to, and its text."""

    number: int
    step: int
    text: str


Placed = tuple[int, int, str]
"""(step, number, text): sorts in the order in which rows are read."""


def cut(lines: Sequence[Line]) -> Iterator[Sequence[Line]]:
    """Lines sorted by number, in pieces that are without a gap and not too large."""
    start = size = 0
    for index, line in enumerate(lines):
        length = len(line.text)
        gap = index > start and lines[index - 1].number + 1 != line.number
        if index > start and (gap or index - start == MAX_LINES or size + length > _MAX_BYTES):
            yield lines[start:index]
            start, size = index, 0
        size += length
    if lines:
        yield lines[start:]


def pack(lines: Sequence[Line]) -> dict[str, Any]:
    """The columns of one chunk."""
    steps = [line.step for line in lines]
    encoded = [line.text.encode() for line in lines]
    lengths = struct.pack(f"<{len(encoded)}I", *map(len, encoded))
    usual = steps == list(range(steps[0], steps[0] + len(steps)))
    return {
        "first_line": lines[0].number,
        "last_line": lines[-1].number,
        "min_step": min(steps),
        "max_step": max(steps),
        "steps": b"" if usual else zlib.compress(struct.pack(f"<{len(steps)}q", *steps), _LEVEL),
        "texts": zlib.compress(lengths + b"".join(encoded), _LEVEL),
    }


def steps_of(chunk: Any) -> Sequence[int]:
    """The steps of a chunk's lines; nothing is stored where they are consecutive, as they mostly are."""
    count = chunk.last_line - chunk.first_line + 1
    if not chunk.steps:
        return range(chunk.min_step, chunk.min_step + count)
    return struct.unpack(f"<{count}q", zlib.decompress(chunk.steps))


def texts_of(chunk: Any) -> list[str]:
    """The texts of a chunk's lines."""
    count = chunk.last_line - chunk.first_line + 1
    content = zlib.decompress(chunk.texts)
    begin, found = count * 4, []
    for length in struct.unpack_from(f"<{count}I", content):
        found.append(content[begin : begin + length].decode())
        begin += length
    return found


def unpack(chunk: Any) -> list[Placed]:
    """A chunk's lines in the order of their numbers."""
    numbers = range(chunk.first_line, chunk.last_line + 1)
    return list(zip(steps_of(chunk), numbers, texts_of(chunk), strict=True))
