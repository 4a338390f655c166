"""Columns of Parquet files as columns of ours: which kind each Arrow type becomes. Pure.

The rule is that a file gives what the same rows would give as JSON. A null is a cell that was not logged, since a file
says nothing else of those that its rows lack; inside an object it is a key that is not there, in a list or a map it is
a null. Objects, lists and maps become JSON texts, and so do texts whose column says that they are JSON.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from runtapd.history.columns import column_of
from runtapd.history.rows import ABSENT
from runtapd.history.table import Column
from runtapd.model import jsontext

if TYPE_CHECKING:
    import pyarrow as pa

_SPELLED = ("NaN", "Infinity", "-Infinity")
_EPOCH = datetime(1970, 1, 1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Read = Callable[[Any], Any]


class Unknown(ValueError):
    """Histories have no values of this type."""


def column(array: pa.Array, field: pa.Field) -> Column:
    """Returns a column of a file as one of ours. Raises Unknown, or what pyarrow raises for what is damaged."""
    import pyarrow as pa

    kind = array.type
    is_json = (field.metadata or {}).get(b"encoding") == b"json"
    while isinstance(kind, pa.BaseExtensionType | pa.DictionaryType):
        if isinstance(kind, pa.DictionaryType):
            array = array.dictionary_decode()
        else:
            is_json = is_json or kind.extension_name == "arrow.json"
            array = array.storage
        kind = array.type
    if is_json:
        return _parsed(array.cast(pa.string()))
    if (quick := _quick(array)) is not None:
        return Column(quick)
    if pa.types.is_timestamp(kind):
        return column_of(_moments(array, as_number=field.name == "_timestamp"))
    read = _reader(kind)
    return column_of([ABSENT if cell is None else read(cell) for cell in array.to_pylist()])


def _quick(array: pa.Array) -> pa.Array | None:
    """The values of a plain type, without a look at each; None when they must be looked at."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = array.type, pa.types
    if types.is_null(kind):
        return pa.nulls(len(array), pa.float64())
    if types.is_boolean(kind):
        return array
    if types.is_floating(kind):
        return array.cast(pa.float64())
    if types.is_integer(kind):
        beyond = types.is_uint64(kind) and (pc.max(array).as_py() or 0) >= 2**63
        return None if beyond else array.cast(pa.int64())
    if types.is_string(kind) or types.is_large_string(kind):
        texts = array.cast(pa.string())
        return None if _all_spelled_numbers(texts) else texts
    return None


def _all_spelled_numbers(texts: pa.Array) -> bool:
    """Whether all are NaN or infinities as servers spell them: what was never a finite number was written as texts."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if texts.null_count == len(texts):
        return False
    first = texts[pc.index(texts.is_valid(), True).as_py()]
    if first.as_py() not in _SPELLED:
        return False
    spelled = pc.is_in(texts.drop_null(), value_set=pa.array(_SPELLED))
    return bool(pc.all(spelled).as_py())


def _parsed(texts: pa.Array) -> Column:
    """Values that a file holds as JSON texts."""
    cells = texts.to_pylist()
    values = iter(jsontext.loads("[" + ",".join(cell for cell in cells if cell is not None) + "]"))
    found = column_of([ABSENT if cell is None else next(values) for cell in cells])
    if next(values, ABSENT) is not ABSENT:
        raise ValueError("a cell holds more than one JSON value")
    return found


def _moments(array: pa.Array, *, as_number: bool) -> list[Any]:
    """Moments as the SDK logs them: `_timestamp` as seconds since 1970, others as texts."""
    import pyarrow as pa

    per_second = _PER_SECOND[array.type.unit]
    counted = array.cast(pa.int64()).to_pylist()
    if as_number:
        return [ABSENT if cell is None else cell / per_second for cell in counted]
    zone = "Z" if array.type.tz else ""
    return [
        ABSENT
        if cell is None
        else _text_of(_EPOCH + timedelta(microseconds=cell * 10**6 // per_second)) + zone
        for cell in counted
    ]


def _reader(kind: pa.DataType) -> Read:
    """Returns what makes of a cell (not None) the value that JSON would have brought."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind):
        fields = [(field.name, _reader(field.type)) for field in kind]
        return lambda cell: {name: read(cell[name]) for name, read in fields if cell[name] is not None}
    if types.is_map(kind):
        name, value = _reader(kind.key_type), _or_null(_reader(kind.item_type))
        return lambda cell: {str(name(key)): value(item) for key, item in cell}
    if any(is_list(kind) for is_list in (types.is_list, types.is_large_list, types.is_fixed_size_list)):
        one = _or_null(_reader(kind.value_type))
        return lambda cell: [one(item) for item in cell]
    if types.is_dictionary(kind):
        return _reader(kind.value_type)
    return _plain_reader(kind)


def _or_null(read: Read) -> Read:
    return lambda cell: None if cell is None else read(cell)


def _plain_reader(kind: pa.DataType) -> Read:
    import pyarrow as pa

    types = pa.types
    if types.is_floating(kind):
        return float
    if types.is_decimal(kind):
        return int if kind.scale <= 0 else float
    if types.is_temporal(kind):
        return timedelta.total_seconds if types.is_duration(kind) else _text_of
    if types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind):
        return lambda cell: cell.decode("utf-8", "replace")
    plain = (types.is_boolean, types.is_integer, types.is_string, types.is_large_string, types.is_null)
    if any(is_one(kind) for is_one in plain):
        return lambda cell: cell
    raise Unknown(f"its type {str(kind)[:100]} is none that histories have")


def _text_of(moment: Any) -> str:
    return str(moment.isoformat())
