"""Runs that change while they are read, and servers that go away."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from tests.e2e.conftest import World
from tests.local.client import Client

PROJECT = "live"


@pytest.fixture
def client(world: World) -> Client:
    return Client(world.server.url, world.server.entity, world.server.api_key, PROJECT)


def rows(begin: int, end: int) -> list[dict[str, object]]:
    return [{"_step": step, "x": step} for step in range(begin, end)]


def test_rows_logged_after_somebody_looked_are_read(world: World, client: Client) -> None:
    client.upsert("growing", config={}, summaryMetrics={})
    client.log("growing", 0, rows(0, 10))
    look = f"import runtap\nrun = runtap.Api().run('{world.path(PROJECT)}/growing')\n"
    world.python(look)
    client.log("growing", 10, rows(10, 100))
    out = world.python(look + "print(len(list(run.scan_history())), len(run.history()))\n").stdout
    assert out.split() == ["100", "100"]


def test_rows_that_share_a_step_are_all_read(world: World, client: Client) -> None:
    client.upsert("shared", config={}, summaryMetrics={})
    client.log("shared", 0, [{"_step": step, "x": i} for i, step in enumerate((0, 0, 0, 1, 1, 2))])
    out = world.python(
        f"import runtap\nrun = runtap.Api().run('{world.path(PROJECT)}/shared')\n"
        "for size in (1, 2, 1000):\n    print([row['x'] for row in run.scan_history(page_size=size)])\n"
    ).stdout
    assert out.splitlines() == ["[0, 1, 2, 3, 4, 5]"] * 3


@pytest.fixture
def absent(world: World, client: Client) -> Iterator[World]:
    """The server goes away after a run was read; it comes back when the test is done."""
    client.upsert("lonely", config={"lr": {"value": 0.5}}, summaryMetrics={})
    world.python(f"import runtap\nrun = runtap.Api().run('{world.path(PROJECT)}/lonely')\n")
    world.server.stop()
    yield replace(world)
    world.server.command("start")


@pytest.mark.timeout(60)
def test_without_the_server_what_is_cached_is_given_soon_and_marked(absent: World) -> None:
    out = absent.python(
        f"""
import warnings, runtap
warnings.simplefilter("ignore")
run = runtap.Api(stale_ok=True, max_age=0).run("{absent.path(PROJECT)}/lonely")
print(run.config["lr"], run.freshness.stale)
try:
    list(runtap.Api(timeout=2).run("{absent.path(PROJECT)}/lonely").scan_history())
except runtap.CommError as error:
    print("cannot be reached" in str(error))
"""
    ).stdout
    assert out.split() == ["0.5", "True", "True"]
