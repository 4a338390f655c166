"""The cells of Arrow columns as Python values.

Read out of Arrow's buffers: pyarrow's own ways to numpy and to Python either import pandas, which takes longer than
most histories, or make values one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from runtap.values import parsed

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pyarrow as pa

_NUMBERS = {"int64": "i8", "double": "f8"}
"""The columns of numbers in the contract, and what numpy calls them."""


def valid_cells(column: pa.Array) -> npt.NDArray[np.bool_] | None:
    """For each cell whether there is one; None when there are all."""
    return _bits(column.buffers()[0], column) if column.null_count else None


def present_cells(
    column: pa.Array, valid: npt.NDArray[np.bool_] | None, *, are_json: bool = False
) -> list[Any]:
    """The values of the cells there are, in order; `valid` says which."""
    kind = str(column.type)
    if kind == "bool":
        return _there(_bits(column.buffers()[1], column), valid)
    if kind in _NUMBERS:
        return _there(_numbers(column, _NUMBERS[kind]), valid)
    texts: list[Any] = (column if valid is None else column.drop_null()).to_pylist()
    return _parsed_all(texts) if are_json else texts


def _there(cells: npt.NDArray[Any], valid: npt.NDArray[np.bool_] | None) -> list[Any]:
    there: list[Any] = (cells if valid is None else cells[valid]).tolist()
    return there


def _numbers(column: pa.Array, kind: str) -> npt.NDArray[Any]:
    import numpy as np

    data = column.buffers()[1]
    numbers = np.dtype(kind)
    if data is None or not len(column):
        return np.empty(0, numbers)
    return np.frombuffer(data, numbers, len(column), column.offset * numbers.itemsize)


def _bits(data: pa.Buffer | None, column: pa.Array) -> npt.NDArray[np.bool_]:
    import numpy as np

    if data is None or not len(column):
        return np.zeros(len(column), np.bool_)
    first, begin = divmod(column.offset, 8)
    end = begin + len(column)
    octets = np.frombuffer(data, np.uint8, (end + 7) // 8, first)
    return np.unpackbits(octets, count=end, bitorder="little")[begin:].view(np.bool_)


def _parsed_all(texts: list[str]) -> list[Any]:
    """The values of JSON texts. One long text is parsed several times faster than many short ones."""
    values: list[Any] = parsed(f"[{','.join(texts)}]")
    return values
