"""Whether an answer was allowed, and whether its Freshness was true: an answer, compared with all that ever was.

Two questions are asked of everything shown. *Was it true?* It is what the server held at some moment since its
`fetched_at`, with the own writes laid over it that were open. *Was it allowed?* It is what the server held at some
moment since the oldest that this reader accepts unasked; what came with a request that was under way when the reader
came is as good. On servers without `updatedAt` the second question is put twice: documents may be older than what a
light page tells.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import reduce
from itertools import combinations
from typing import Any

from runtap_query import Order, compile_filter, parse_filter, parse_order, value_getter
from runtapd import faults
from runtapd.cache.policy import LIVE_STATES
from runtapd.model.freshness import Source
from runtapd.model.patch import Patch, apply
from runtapd.model.run import RunData
from tests.support import freshness_spared as spared
from tests.support.freshness_world import LIMITS, Answer, Asked, Query, Shown, World
from tests.support.remembering_server import Stay, document

LOOK_UP_S = 0.05
"""An answer counts from before the disk was looked through for another one, and is made a moment after it came."""
Stretches = Sequence[tuple[float, float]]
Look = Callable[[RunData], Any]


def of_run(world: World, answer: Answer) -> Iterator[str]:
    """What is wrong with the answer to a read of one run."""
    (shown,) = answer.runs
    live = shown.run.state in LIVE_STATES
    limit = LIMITS.running_s if live else LIMITS.finished_s
    yield from _said(world, answer, limit)
    yield from _one(world, answer, shown, limit)


def of_failure(world: World, asked: Asked, fault: Exception) -> Iterator[str]:
    """What is wrong with being told that something went wrong."""
    if isinstance(fault, faults.NotInCache):
        if not asked.wishes.cache_only:
            yield f"the server was not asked: {fault}"
    elif not any(sent.failed and sent.ended >= asked.begun for sent in world.server.sent):
        yield f"nothing had failed, and was said to: {fault}"


def of_missing(world: World, asked: Asked, path: str) -> Iterator[str]:
    """What is wrong with being told that there is no such run."""
    window = _allowed(world, asked, 0.0)
    if any(stay.throughout(window) for stay in _joined(world.server.past(path))):
        yield f"{path} was there all the time, and was said to be not there"


def of_list(world: World, query: Query, answer: Answer) -> Iterator[str]:
    """What is wrong with a list."""
    asked, told = answer.asked, answer.freshness
    yield from _said(world, answer, LIMITS.list_s)
    ids = [shown.run.storage_id for shown in answer.runs]
    if len(set(ids)) < len(ids):
        yield f"runs are listed twice: {ids}"
    for shown in answer.runs:
        yield from _one(world, answer, shown, LIMITS.list_s)
    windows: dict[str, Stretches] = {
        "since its fetched_at": world.clock.moments_since(told.fetched_at, asked.ended)
    }
    if not _any_age(answer):
        age = LIMITS.finished_s if query.of_documents and not world.kind.tells_updates else LIMITS.list_s
        windows["since the oldest moment allowed"] = _allowed(world, asked, age)
    for name, window in windows.items():
        yield from (f"{wrong}, {name}" for wrong in _membership(world, query, answer, ids, window))


def _membership(
    world: World, query: Query, answer: Answer, ids: list[str], window: Stretches
) -> Iterator[str]:
    matches = compile_filter(parse_filter(query.filters))
    slipped = spared.slipped(world, matches, min(start for start, _ in window))
    for storage_id, stays in world.server.stays.items():
        run = stays[0].run
        # Lists that are judged here are judged with own writes laid over the runs, others without.
        overlays = _ever_laid_over(world, run.path, window)
        views = [(stay, [_with(patches, stay.run) for patches in overlays]) for stay in stays]
        if storage_id in ids:
            good = [stay for stay, view in views if any(matches(document(run)) for run in view)]
            if not any(stay.within(window) for stay in good):
                yield f"{run.run_id} ({storage_id}) is listed and never matched"
        elif answer.complete and not slipped:
            good = [stay for stay, view in views if all(matches(document(run)) for run in view)]
            if any(stay.throughout(window) for stay in _joined(good)):
                yield f"{run.run_id} ({storage_id}) is not listed and matched all the time"
    if not slipped:
        yield from _disorder(world, parse_order(query.order), ids, window)


def _ever_laid_over(world: World, path: str, window: Stretches) -> set[tuple[Patch, ...]]:
    """All that was laid over a run in that time, nothing included."""
    begin = min(start for start, _ in window)
    return {(), *(patches for moment, at, patches in world.overlaid if at == path and moment >= begin)}


def _disorder(world: World, order: Order, ids: list[str], window: Stretches) -> Iterator[str]:
    value = value_getter(order.column)

    def ranks(storage_id: str) -> list[tuple[int, Any]]:
        stays = [stay.run for stay in world.server.stays[storage_id] if stay.within(window)]
        views = (_with(p, run) for run in stays for p in _ever_laid_over(world, run.path, window))
        return [_rank(value(document(run))) for run in views]

    listed = [(storage_id, ranks(storage_id)) for storage_id in ids]
    for (one, before), (other, behind) in combinations(listed, 2):
        if not any(_in_order(a, b, descending=order.descending) for a in before for b in behind):
            yield f"{one} is listed before {other}, which was never right by {order.column}"
            return


def _rank(value: Any) -> tuple[int, Any]:
    """What sorts last in both directions is not there."""
    known = isinstance(value, int | float | str)
    return (0, value) if known else (1, 0)


def _in_order(one: tuple[int, Any], other: tuple[int, Any], *, descending: bool) -> bool:
    if one[0] or other[0] or not descending:
        return one <= other
    return bool(one >= other)


def _said(world: World, answer: Answer, limit: float) -> Iterator[str]:
    """What is wrong with what an answer says of itself."""
    asked, told, wishes = answer.asked, answer.freshness, answer.asked.wishes
    if not world.clock.moments_since(told.fetched_at, asked.ended):
        yield f"fetched_at {told.fetched_at:.3f} lies in the future of {asked.ended_at:.3f}"
    if told.stale and not wishes.allow_stale_on_error:
        yield "stale, and nobody allowed it"
    if wishes.cache_only and told.source is Source.UPSTREAM:
        yield "the server was asked for a reader of the cache"
    if told.pending_writes != sum(shown.freshness.pending_writes for shown in answer.runs):
        yield f"tells {told.pending_writes} own writes, and its runs tell otherwise"
    clock_was_set = abs((asked.ended_at - asked.begun_at) - (asked.ended - asked.begun)) > 1e-3
    if not _any_age(answer) and not clock_was_set:
        compared = bool(told.revalidated) and not world.kind.tells_updates
        oldest = _oldest_allowed(world, asked, LIMITS.finished_s if compared else limit)
        if told.fetched_at < oldest - 1e-6:
            yield f"fetched_at {told.fetched_at:.3f}, and nothing older than {oldest:.3f} was allowed"


def _any_age(answer: Answer) -> bool:
    return answer.asked.wishes.cache_only or answer.freshness.stale


def _allowed(world: World, asked: Asked, limit: float) -> Stretches:
    """When the server may have held what this reader is given; anything since it came, however clocks are set."""
    oldest = _oldest_allowed(world, asked, limit)
    return [*world.clock.moments_since(oldest, asked.ended), (asked.begun, asked.ended)]


def _oldest_allowed(world: World, asked: Asked, limit: float) -> float:
    """The oldest moment, by the daemon's clock, of what this reader may be given without asking."""
    wishes = asked.wishes
    age = limit if wishes.max_age_s is None else wishes.max_age_s
    unasked = asked.begun_at if wishes.no_cache else asked.begun_at - age
    under_way = [
        sent.sent_at - LOOK_UP_S
        for sent in world.server.sent
        if sent.begun <= asked.begun <= sent.ended + LOOK_UP_S
    ]
    # A clock that was set back leaves floors in the future; then what is asked for now is new enough.
    return max(min(asked.floor, asked.begun_at), min([unasked, *under_way]))


def _one(world: World, answer: Answer, shown: Shown, limit: float) -> Iterator[str]:
    """What is wrong with one run as it is shown."""
    asked, fetched_at = answer.asked, answer.freshness.fetched_at
    name = f"{shown.run.run_id} ({shown.run.storage_id})"
    truth = [*world.clock.moments_since(fetched_at, asked.ended)]
    if not _held(world, asked, shown, truth, whole):
        yield f"{name} is shown as it never was since {fetched_at:.3f}"
    if asked.wishes.cache_only or shown.freshness.stale:
        return
    allowed = _allowed(world, asked, limit)
    if world.kind.tells_updates:
        looks = [("", whole, allowed)]
    else:
        older = _allowed(world, asked, LIMITS.finished_s)
        looks = [(" but for its documents", light, allowed), ("'s documents", documents, older)]
    for what, look, window in looks:
        if not _held(world, asked, shown, window, look):
            yield f"{name}{what} is older than allowed"


def _held(world: World, asked: Asked, shown: Shown, window: Stretches, look: Look) -> bool:
    """Whether the server held that, in that time, under some of the own writes that were open."""
    past = [stay for stay in world.server.past(shown.run.path) if stay.run.storage_id == shown.run.storage_id]
    target = look(shown.run)
    for patches in _laid_over(world, asked, shown):
        since = _confirmed_at(world, asked, shown, patches)
        for stay in past:
            fits = stay.within(window) and stay.until >= since
            if fits and look(_with(patches, stay.run)) == target:
                return True
    return False


def _laid_over(world: World, asked: Asked, shown: Shown) -> list[tuple[Patch, ...]]:
    """The own writes that may have been laid over this run for this answer."""
    count = shown.freshness.pending_writes
    found = {
        patches
        for moment, path, patches in world.overlaid
        if path == shown.run.path and asked.begun <= moment <= asked.ended and len(patches) == count
    }
    return list(found)


def _confirmed_at(world: World, asked: Asked, shown: Shown, patches: tuple[Patch, ...]) -> float:
    """The true time since which the server held all own writes that must be seen and are not laid over; never, when
    one of them is not settled."""
    since = 0.0
    for write_id in asked.acknowledged:
        write = world.writes_made[write_id]
        if write.path != shown.run.path or write.patch in patches:
            continue
        if write.applied_at is None and world.is_open(write_id):
            return float("inf")
        if write.storage_id == shown.run.storage_id:
            since = max(since, write.applied_at or 0.0)
    return since


def _with(patches: tuple[Patch, ...], run: RunData) -> RunData:
    return reduce(lambda run, patch: apply(patch, run), patches, run)


def _joined(stays: Sequence[Stay]) -> list[Stay]:
    """Neighbouring states as one."""
    joined: list[Stay] = []
    for stay in stays:
        if joined and joined[-1].until >= stay.since:
            joined[-1] = replace(joined[-1], until=stay.until)
        else:
            joined.append(stay)
    return joined


def light(run: RunData) -> Any:
    """What a light page tells."""
    return replace(run, config="", summary="", project_id="").sign()


def documents(run: RunData) -> Any:
    """What only a whole page tells."""
    return json.loads(run.config), json.loads(run.summary)


def whole(run: RunData) -> Any:
    """Everything."""
    return light(run), documents(run)
