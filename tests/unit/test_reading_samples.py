"""Samples out of what a history read gives: batches put together, and once more when rows change meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

import pytest

from runtapd import faults
from runtapd.cache.policy import Wishes
from runtapd.history.columns import rows_of
from runtapd.model.paths import RunPath
from runtapd.reads.histories import HistoryReads
from runtapd.reads.reading import Batch, HistoryQuery
from runtapd.reads.samples import Sample, SampleQuery, read_sample
from tests.support.history_rows import plain_rows

PATH = RunPath("ada", "digits", "r1")
REWRITTEN = faults.PreconditionFailed("rewritten", reason="HISTORY_REWRITTEN")


class ScriptedReads(HistoryReads):
    """Gives these batches; a fault among them ends the read, and the next one begins behind it."""

    def __init__(self, *script: Batch | faults.Fault) -> None:
        self.script = list(script)
        self.asked: list[HistoryQuery] = []

    async def read(
        self, part: Any, query: HistoryQuery, resume: Any, wishes: Any, waits: Any
    ) -> AsyncGenerator[Batch, None]:
        self.asked.append(query)
        while self.script:
            step = self.script.pop(0)
            if isinstance(step, faults.Fault):
                raise step
            yield step


def batch(*rows: dict[str, Any], **fields: Any) -> Batch:
    return Batch(rows_of(rows), **fields)


def read(reads: HistoryReads, **fields: Any) -> Sample:
    nothing = cast(Any, None)
    return asyncio.run(read_sample(reads, nothing, SampleQuery(PATH, **fields), Wishes(), nothing))


def test_a_history_rewritten_meanwhile_is_read_again() -> None:
    reads = ScriptedReads(batch({"_step": 0, "a": 1}), REWRITTEN, batch({"_step": 0, "a": 2}), Batch())
    assert plain_rows(read(reads).rows) == [{"_step": 0, "a": 2}]
    with pytest.raises(faults.PreconditionFailed):
        read(ScriptedReads(REWRITTEN, REWRITTEN))


def test_columns_of_the_same_rows_are_put_together() -> None:
    reads = ScriptedReads(
        batch({"_step": 0, "a": 1}, group_end=False),
        batch({"_step": 0, "b": 2}),
        batch({"_step": 1, "a": 3}),
        Batch(),
    )
    assert plain_rows(read(reads).rows) == [{"_step": 0, "a": 1, "b": 2}, {"_step": 1, "a": 3}]


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({}, ()),
        ({"x_axis": "epoch"}, ()),
        ({"keys": ("a", "_timestamp"), "x_axis": "epoch"}, ("a", "epoch", "_timestamp")),
        ({"keys": ("_runtime",)}, ("_runtime",)),
        ({"keys": ("_runtime",), "x_axis": "epoch"}, ()),
        ({"keys": ("_step",)}, ()),
    ],
)
def test_only_what_is_needed_is_read(fields: dict[str, Any], keys: Sequence[str]) -> None:
    reads = ScriptedReads(Batch())
    assert read(reads, **fields).exact
    assert [query.keys for query in reads.asked] == [tuple(keys)]
