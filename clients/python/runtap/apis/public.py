"""The classes of the friendly API, under the name scripts written for the wandb SDK use: `wandb.apis.public`."""

from __future__ import annotations

from runtap.api import Api, Viewer
from runtap.history import HistoryScan
from runtap.project_objects import Project, Projects
from runtap.run_object import Run, User
from runtap.run_summary import Summary
from runtap.runs import Runs
from runtap.sweep_objects import Sweep, Sweeps

__all__ = [
    "Api",
    "HistoryScan",
    "Project",
    "Projects",
    "Run",
    "Runs",
    "Summary",
    "Sweep",
    "Sweeps",
    "User",
    "Viewer",
]
