"""Libraries for frames, which need not be there: imported when one is asked for, else an error with the cure."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType


def pandas_for(what: str, instead: str) -> ModuleType:
    """pandas; `what` needs it, and `instead` does without."""
    return _library("pandas", what, instead)


def polars_for(what: str, instead: str) -> ModuleType:
    """polars; `what` needs it, and `instead` does without."""
    return _library("polars", what, instead)


def _library(name: str, what: str, instead: str) -> ModuleType:
    try:
        return import_module(name)
    except ImportError as error:
        raise ImportError(
            f"{what} needs {name}, which cannot be imported: pip install 'runtap[{name}]', or use {instead}"
        ) from error
