"""Names of `runtap` that are neither imported yet nor among its own: its modules, then the installed wandb SDK."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from typing import Any


def find(name: str) -> Any:
    """What `runtap.<name>` is; raises AttributeError that says where was looked."""
    if name.startswith("_"):  # asked for by inspect, copy and notebooks; not worth importing an SDK
        raise AttributeError(f"module 'runtap' has no attribute {name!r}")
    if importlib.util.find_spec(f"runtap.{name}") is not None:
        return importlib.import_module(f"runtap.{name}")
    try:
        sdk = importlib.import_module("wandb")
    except ImportError as error:
        raise AttributeError(
            f"runtap has no {name!r}, and the wandb SDK, whose names runtap passes on, cannot be imported "
            f"({error}): pip install wandb"
        ) from error
    try:
        # Runtap may itself stand in for wandb; asking it again would never end.
        if sdk is sys.modules["runtap"]:
            raise AttributeError
        return getattr(sdk, name)  # never kept: wandb.run and wandb.config change
    except AttributeError:
        raise AttributeError(f"neither runtap nor the installed wandb SDK has a name {name!r}") from None
