"""Fixtures of the tests that speak gRPC to a real daemon process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.daemon import Daemon, start_daemon

StartDaemon = Callable[..., Daemon]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[StartDaemon]:
    """Starts daemons; whatever was started is ended and looked over when the test is done."""
    started: list[Daemon] = []

    def start_one(home: Path | None = None, env: Mapping[str, str] | None = None, **more: Any) -> Daemon:
        daemon = start_daemon(home or tmp_path / "home", env, **more)
        started.append(daemon)
        return daemon

    yield start_one
    with ExitStack() as checks_then_ends:  # runs backwards: every daemon is ended before the first check
        for daemon in started:
            checks_then_ends.callback(daemon.check_clean)
        for daemon in started:
            checks_then_ends.callback(daemon.end)


@pytest.fixture
def daemon(start: StartDaemon) -> Daemon:
    """A daemon of its own for one test."""
    return start()
