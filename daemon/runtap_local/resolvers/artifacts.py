"""Artifacts: this server keeps none, and says so where a client asks."""

from typing import Any

RESOLVERS: dict[str, dict[str, Any]] = {}
