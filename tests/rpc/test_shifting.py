"""Lists of which runs come and go while they are read page by page: nobody else is missed, and nothing told twice."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.support.daemon import Daemon
from tests.support.scripted_world import PROJECT, World, make_world, options
from tests.support.upstream import ENTITY, Request, ScriptedUpstream

COUNT = 60
PAGE = 12
Change = Callable[[World], None]


@pytest.fixture
def world(start: Callable[..., Daemon]) -> Iterator[World]:
    with ScriptedUpstream(page_cap=PAGE) as server:
        world = make_world(server, start)
        world.add_runs(COUNT, config={"a": {"value": 1}}, summary={"b": 2})
        yield world


def between_pages(world: World, *changes: Change) -> None:
    """Before the second page, the third, ... one of these happens."""
    left, seen = list(changes), 0

    def happen(request: Request) -> None:
        nonlocal seen
        if request.operation in ("Runs", "RunsGlance"):
            seen += 1
            if seen > 1 and left:
                left.pop(0)(world)

    world.server.on_request = happen


def delete(*numbers: int) -> Change:
    def happen(world: World) -> None:
        for number in numbers:
            del world.server.projects[ENTITY, PROJECT][f"r{number:04}"]

    return happen


def insert(count: int, prefix: str = "s") -> Change:
    return lambda world: world.add_runs(count, prefix)


NEWEST, OLDEST = COUNT - 1, 0
CHANGES: dict[str, list[Change]] = {
    "inserted": [insert(3)],
    "inserted, page after page": [insert(1, "s"), insert(2, "t"), insert(15, "u")],
    "deleted behind the reader": [delete(NEWEST, NEWEST - 1)],
    "deleted before the reader": [delete(OLDEST, OLDEST + 20)],
    "deleted on both sides": [delete(NEWEST - 3, OLDEST + 3)],
    "deleted, page after page": [delete(NEWEST), delete(NEWEST - 13), delete(NEWEST - 25)],
    "deleted and then inserted": [delete(NEWEST, NEWEST - 5), insert(2)],
    "inserted and then deleted": [insert(2), delete(NEWEST, NEWEST - 5)],
    "a whole page deleted": [delete(*range(NEWEST - 11, NEWEST + 1))],
}


@pytest.mark.parametrize("order", ["-created_at", "+created_at"])
@pytest.mark.parametrize("changes", CHANGES.values(), ids=CHANGES)
def test_who_was_there_all_the_time_is_listed_once(world: World, changes: list[Change], order: str) -> None:
    for warm in (False, True):
        before = set(world.server.projects[ENTITY, PROJECT])
        sent = world.server.count()
        between_pages(world, *(changes if not warm else [insert(2, "v"), insert(1, "w")]))
        streamed = world.stream(order=order, options=options(no_cache=not warm, max_age={"nanos": 1}))
        world.server.on_request = lambda request: None
        found = [run.run_id for message in streamed for run in message.runs]
        stayed = before & set(world.server.projects[ENTITY, PROJECT])
        assert len(found) == len(set(found))
        assert stayed <= set(found), stayed - set(found)
        assert not streamed[-1].incomplete_reason
        assert world.server.count() - sent <= 2 * (COUNT // PAGE + 2) + 2
