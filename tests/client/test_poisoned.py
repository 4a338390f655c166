"""Runs that their server cannot give, seen from Python, with a real daemon and a scripted server."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

import runtap
from runtap.errors import IncompleteError
from tests.support.daemon import start_daemon
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream

COUNT = 120
BAD = {"r0000", "r0070", "r0119"}


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedUpstream]:
    home = tmp_path / "home"
    monkeypatch.setenv("RUNTAP_HOME", str(home))
    monkeypatch.setenv("RUNTAP_AUTOSTART", "0")
    with ScriptedUpstream(poison=set(BAD)) as server, start_daemon(home, secrets=[KEY]):
        for i in range(COUNT):
            server.add_run(ENTITY, "vision", f"r{i:04}", summary={"loss": i})
        yield server


def made(server: ScriptedUpstream) -> runtap.Api:
    return runtap.Api(base_url=server.url, api_key=KEY)


def good() -> list[str]:
    return [f"r{i:04}" for i in reversed(range(COUNT)) if f"r{i:04}" not in BAD]


def test_all_good_runs_come_and_then_an_error_names_the_others(server: ScriptedUpstream) -> None:
    runs, found = made(server).runs(f"{ENTITY}/vision"), []
    with pytest.raises(IncompleteError, match="3 of 120 runs could not be read") as caught:
        for run in runs:
            found.append((run.id, run.summary["loss"]))
    assert found == [(run_id, int(run_id[1:])) for run_id in good()]
    assert [error.message.split(":")[0] for error in caught.value.errors] == [
        f"{ENTITY}/vision/{run_id}" for run_id in sorted(BAD, reverse=True)
    ]
    assert [error.exc.status_code for error in caught.value.errors] == [500] * 3  # type: ignore[union-attr]
    assert runs.complete is False and len(runs) == COUNT
    server.poison.clear()
    api = made(server)
    api.flush()
    assert len(list(api.runs(f"{ENTITY}/vision"))) == COUNT


def test_a_warning_is_enough_for_those_who_say_so(server: ScriptedUpstream) -> None:
    runs = made(server).runs(f"{ENTITY}/vision", on_error="warn", order="+created_at")
    with pytest.warns(UserWarning, match="3 of 120 runs could not be read"):
        assert [run.id for run in runs] == good()[::-1]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert runs[0].id == "r0001" and [run.id for run in runs[:2]] == ["r0001", "r0002"]
