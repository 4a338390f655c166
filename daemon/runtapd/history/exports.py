"""Rows of a history that its server has exported. None are known yet, so all come as pages."""

from __future__ import annotations

from collections.abc import AsyncGenerator

from runtapd.history.table import Rows
from runtapd.model.paths import RunPath
from runtapd.upstream.api import Upstream, Waits


async def exported(upstream: Upstream, path: RunPath, waits: Waits) -> AsyncGenerator[Rows, None]:
    """Yields the rows in order, from the first one on."""
    for rows in ():
        yield rows
