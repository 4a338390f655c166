"""Runs logged by the real SDK: what `runtap.Api()` reads is what `wandb.Api()` reads, field by field.

The differences there are, each on purpose, stand in `DIFFERENCES` with their reason.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.conftest import World

PROJECT = "both"
NON_FINITE = {"NaN": {"float": "nan"}, "Infinity": {"float": "inf"}, "-Infinity": {"float": "-inf"}}
NO_INTERNALS = "the real client leaves `_wandb` out of listed runs only; here it is always there"
NO_KEYS = "an empty dict where nothing was logged; the real client gives None"
DIFFERENCES: dict[tuple[str, str], tuple[str, Callable[[Any], Any]]] = {
    ("rawconfig", "listed"): (NO_INTERNALS, lambda ours: {k: v for k, v in ours.items() if k != "_wandb"}),
    ("history_keys", "listed"): (NO_KEYS, lambda ours: ours or None),
    ("history_keys", "single"): (NO_KEYS, lambda ours: ours or None),
}
"""Where the clients differ on purpose: why, and how ours becomes theirs. Beside these, NaN and infinities are numbers
here everywhere, where the real client hands on the texts that servers write (`numbers` makes up for that)."""


@pytest.fixture(scope="module")
def told(world: World) -> dict[str, Any]:
    """What both clients tell of the same runs."""
    world.python("log_runs.py", PROJECT)
    return {client: world.read("describe.py", client, world.path(PROJECT)) for client in ("wandb", "runtap")}


def numbers(value: Any) -> Any:
    """Returns the value with the texts for non-finite numbers as numbers."""
    if isinstance(value, str):
        return NON_FINITE.get(value, value)
    if isinstance(value, dict):
        return {key: numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [numbers(item) for item in value]
    return value


FIELDS = [
    "id", "name", "display_name", "state", "tags", "notes", "group", "job_type", "path", "url", "entity", "project",
    "storage_id", "created_at", "heartbeat_at", "user", "commit", "sweep_name", "read_only", "config", "rawconfig",
    "summary", "summary_metrics", "system_metrics", "history_keys", "last_step", "scan", "scan_keys", "scan_range",
    "history", "frame", "events",
]  # fmt: skip


@pytest.mark.timeout(120)
@pytest.mark.parametrize("kind", ["listed", "single"])
@pytest.mark.parametrize("field", FIELDS)
def test_every_field_is_the_same(told: dict[str, Any], kind: str, field: str) -> None:
    theirs = [numbers(run[field]) for run in told["wandb"][kind]]
    ours = [numbers(run[field]) for run in told["runtap"][kind]]
    if (field, kind) in DIFFERENCES:
        assert ours != theirs, "no difference any more"
        ours = [DIFFERENCES[field, kind][1](value) for value in ours]
    assert ours == theirs


def test_every_field_is_compared(told: dict[str, Any]) -> None:
    assert all(set(run) == set(FIELDS) for run in told["runtap"]["listed"])
    assert len(told["runtap"]["listed"]) == 4


@pytest.mark.parametrize(
    "name", ["len", "newest_first", "filtered", "failed", "by_summary", "viewer", "entity"]
)
def test_every_list_is_the_same(told: dict[str, Any], name: str) -> None:
    assert told["runtap"][name] == told["wandb"][name]
    assert told["runtap"][name]


def test_what_was_logged_is_what_is_read(told: dict[str, Any]) -> None:
    first, sparse, empty, failed = told["runtap"]["listed"]
    assert first["config"]["big"] == 2**60 + 1
    assert first["config"]["nested"] == {"optimizer": {"name": "adam", "betas": [0.9, 0.999]}, "depth": 3}
    assert first["summary"]["odd"] == {"float": "nan"}
    assert first["summary"]["wide"] == {"float": "inf"}
    assert first["summary"]["inner"] == {"a": 1, "b": {"c": 2.5}}
    rows = {row["_step"]: row for row in first["scan"]}
    assert sorted(rows) == list(range(30))
    assert rows[7]["odd"] == {"float": "nan"}
    assert (rows[7]["wide"], rows[7]["narrow"]) == ({"float": "inf"}, {"float": "-inf"})
    assert "odd" not in rows[8]
    assert [row["_step"] for row in first["scan_keys"]] == list(range(0, 30, 4))
    assert [row["_step"] for row in sparse["scan"]] == [0, 5, 1000, 20_000]
    assert empty["scan"] == []
    assert (first["state"], failed["state"]) == ("finished", "failed")
