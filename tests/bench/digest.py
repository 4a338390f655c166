"""What a script found, in words that are equal only if the data is: keys in order, every value to its last bit."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson

if TYPE_CHECKING:
    import pandas as pd

    from tests.bench.series import Columns


def of_columns(columns: Columns) -> str:
    """Of numbers in columns, NaN where there is none, rows as they come."""
    digest = hashlib.sha256()
    for key in sorted(columns):
        # One NaN for all, since there are many.
        values = np.where(np.isnan(columns[key]), np.nan, columns[key])
        digest.update(key.encode() + values.tobytes())
    rows = len(next(iter(columns.values()), ()))
    return f"{rows:,} rows x {len(columns)} columns, {digest.hexdigest()[:12]}"


def of_frame(frame: pd.DataFrame, keys: Iterable[str] | None = None) -> str:
    """Of a frame of numbers, or of some of its columns."""
    return of_columns(
        {str(key): frame[key].to_numpy(dtype=np.float64, na_value=np.nan) for key in keys or frame.columns}
    )


def of_rows(rows: Iterable[Mapping[str, Any]]) -> str:
    """Of rows as they come. A number that is no longer a float where it was one is another value; None is no value,
    since Parquet cannot tell a key without one from a key that a row lacks."""
    digest = hashlib.sha256()
    count = 0
    for row in rows:
        logged = {key: value for key, value in row.items() if value is not None}
        digest.update(orjson.dumps(logged, option=orjson.OPT_SORT_KEYS))
        count += 1
    return f"{count:,} rows, {digest.hexdigest()[:12]}"
