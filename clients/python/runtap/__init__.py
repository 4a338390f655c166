"""runtap: Weights & Biases experiment data through one daemon per user.

    import runtap

    for run in runtap.Api().runs("entity/project", order="+summary.loss"):
        ...

Names only, each imported when it is first used. Names that runtap does not have are the installed `wandb` SDK's,
so that `import runtap as wandb` runs a script that both logs and reads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtap.api import Api
    from runtap.connected import connect
    from runtap.errors import AuthenticationError, CommError, Error, UsageError
    from runtap.freshness import Freshness
    from runtap.histogram import Histogram
    from runtap.history_table import HistoryTable
    from runtap.project_objects import Project, Projects
    from runtap.run_object import Run
    from runtap.run_summary import Summary
    from runtap.runs import Runs
    from runtap.sweep_objects import Sweep, Sweeps

__all__ = [
    "Api",
    "AuthenticationError",
    "CommError",
    "Error",
    "Freshness",
    "Histogram",
    "HistoryTable",
    "Project",
    "Projects",
    "Run",
    "Runs",
    "Summary",
    "Sweep",
    "Sweeps",
    "UsageError",
    "connect",
]

_HOMES = {
    "Api": "api",
    "AuthenticationError": "errors",
    "CommError": "errors",
    "Error": "errors",
    "Freshness": "freshness",
    "Histogram": "histogram",
    "HistoryTable": "history_table",
    "Project": "project_objects",
    "Projects": "project_objects",
    "Run": "run_object",
    "Runs": "runs",
    "Summary": "run_summary",
    "Sweep": "sweep_objects",
    "Sweeps": "sweep_objects",
    "UsageError": "errors",
    "connect": "connected",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name in _HOMES:
        value = globals()[name] = getattr(import_module(f"runtap.{_HOMES[name]}"), name)
        return value
    if name == "__version__":
        from importlib.metadata import version

        return version("runtap")
    from runtap.elsewhere import find

    return find(name)


def __dir__() -> list[str]:
    return [*globals(), *(name for name in __all__ if name not in globals())]
