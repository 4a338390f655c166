"""Random lives of write-back compared with a model: a list of accepted patches, applied in order.

At every moment: what readers see (the server's run with the open patches over it) is the model's run. In the end: the
server holds it, every accepted write is APPLIED, and none was executed more often than its value was there to be set.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from runtapd.faults import NeedsLogin, RateLimited, UpstreamTimeout, UpstreamUnavailable
from runtapd.journal import WriteState
from runtapd.model.patch import Edit, Patch, apply
from runtapd.model.run import RunData
from tests.support.memory_upstream import MemoryUpstream, Point
from tests.support.runs import make_run
from tests.support.writes_bench import DEADLINE_S, PATH, Bench, bench

KEYS = st.sampled_from(["a", "b", "c"])
EDITS = st.builds(
    Edit, st.lists(KEYS, min_size=1, max_size=2).map(tuple), st.none() | st.integers(0, 3).map(str)
)
PATCHES = st.builds(
    Patch,
    config=st.lists(EDITS, max_size=2).map(tuple),
    summary=st.lists(EDITS, max_size=2).map(tuple),
    fields=st.sampled_from([(), (("notes", "n"),), (("notes", ""), ("group", "g"))]),
    tags_add=st.sampled_from([(), ("x",), ("y",)]),
    tags_remove=st.sampled_from([(), ("base",), ("z",)]),
)
FAULTS = st.sampled_from(
    [
        UpstreamUnavailable("away"),
        UpstreamTimeout("slow"),
        RateLimited("later", retry_after_s=0.001),
        NeedsLogin("refused"),
    ]
)
STEPS = st.one_of(
    st.tuples(st.just("write"), PATCHES),
    st.tuples(st.just("fail"), st.tuples(st.sampled_from(list(Point)), FAULTS)),
    st.tuples(st.just("let some time pass"), st.integers(1, 30)),
    st.tuples(st.just("login"), st.none()),
    st.tuples(st.just("restart"), st.none()),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(STEPS, max_size=14))
def test_readers_see_their_writes_and_the_server_gets_each_once(steps: Sequence[tuple[str, Any]]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(live(Path(folder), steps))


async def live(folder: Path, steps: Sequence[tuple[str, Any]]) -> None:
    server = MemoryUpstream(make_run())
    accepted: list[Patch] = []
    rest = list(steps)
    while rest:
        # Each round is a daemon that lives until the next "restart", which cuts off whatever is under way.
        async with bench(folder, server) as b:
            while rest and (step := rest.pop(0))[0] != "restart":
                await take(step, b, accepted)
                check_seen(b, accepted)
    server.heal()
    async with bench(folder, server) as b:
        check_seen(b, accepted)
        pending, _ = await b.writes.wait_all("acct", None, DEADLINE_S)
        assert pending == 0
        states = {entry.state for entry in await b.journal.newest("acct", limit=100)}
        assert states <= {WriteState.APPLIED}
        check_seen(b, accepted)
    assert len(server.changes) <= len(accepted), "nothing was executed twice"


async def take(step: tuple[str, Any], b: Bench, accepted: list[Patch]) -> None:
    what, detail = step
    if what == "write":
        await b.submit(detail, f"q{len(accepted)}")
        accepted.append(detail)
    elif what == "fail":
        point, fault = detail
        b.server.fail(point, type(fault)(fault.message, retry_after_s=fault.retry_after_s))
    elif what == "login":
        b.writes.unblock("acct")
    else:
        for _ in range(detail):
            await asyncio.sleep(0)
        await asyncio.sleep(0.002)


def check_seen(b: Bench, accepted: Sequence[Patch]) -> None:
    """The server's run with the open patches over it is the model's run."""
    open_patches = b.journal.open_patches("acct", PATH)
    seen = reduce(lambda run, patch: apply(patch, run), open_patches, b.server.runs_by_path[PATH])
    expected = reduce(lambda run, patch: apply(patch, run), accepted, make_run())
    assert comparable(seen) == comparable(expected)


def comparable(run: RunData) -> tuple[Any, ...]:
    return (
        json.loads(run.config),
        json.loads(run.summary),
        run.notes or "",
        run.group or "",
        sorted(run.tags),
    )
