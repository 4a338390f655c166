"""Fixtures that several modules of the daemon's parts share."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest

from tests.support.storage_host import SECRET, StorageHost


@pytest.fixture
def storage(caplog: pytest.LogCaptureFixture) -> Iterator[StorageHost]:
    """A storage host; its addresses must not be written down."""
    caplog.set_level(logging.INFO)
    with StorageHost() as storage:
        yield storage
    told = [logging.Formatter().format(record) for record in caplog.get_records("call")]
    assert SECRET not in "\n".join(told)
