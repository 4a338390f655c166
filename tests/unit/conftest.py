"""Fixtures that several modules of the daemon's parts share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.exporting_upstream import ExportingUpstream
from tests.support.storage_host import SECRET, StorageHost


@pytest.fixture
def storage(caplog: pytest.LogCaptureFixture) -> Iterator[StorageHost]:
    """A storage host; its addresses must not be written down."""
    caplog.set_level(logging.INFO)
    with StorageHost() as storage:
        yield storage
    told = [logging.Formatter().format(record) for record in caplog.get_records("call")]
    assert SECRET not in "\n".join(told)


@pytest.fixture
def server(storage: StorageHost) -> Iterator[ExportingUpstream]:
    """A server with a run, whose exports lie there; modules about other servers have a `server` of their own."""
    with ExportingUpstream(storage=storage) as server:
        server.add_run("team", "vision", "r1")
        yield server
