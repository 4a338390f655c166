"""Keeps out of the daemon what others would import into it."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from types import ModuleType


class _NoPandas(MetaPathFinder):
    """Says that pandas is not installed."""

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> None:
        if name == "pandas":
            raise ModuleNotFoundError("pandas is kept out of the daemon", name=name)


def without_pandas() -> None:
    """From now on, pandas cannot be imported in this process.

    pyarrow imports it for any conversion wherever it is installed. Nothing here needs it, it takes a tenth of a second
    in the first reading of a history, and tens of MiB for good.
    """
    sys.meta_path.insert(0, _NoPandas())
