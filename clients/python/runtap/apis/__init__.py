"""The path under which scripts written for the wandb SDK look for its Public API; `public` is imported when used."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    if name == "public":
        from importlib import import_module

        return import_module("runtap.apis.public")
    raise AttributeError(f"module 'runtap.apis' has no attribute {name!r}")
