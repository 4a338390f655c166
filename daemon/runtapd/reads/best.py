"""The best run of a list by one number: of its summary or config, or of its whole history.

The server is asked for the list in that order, and its first page usually tells. It is believed only as far as the
values on that page show that the server did order; servers that do not, or that take NaN for a number, cost the rest of
the list, and never a wrong answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from runtap_query import Column, Order, value_getter
from runtapd.cache.policy import Wishes
from runtapd.faults import InvalidRequest
from runtapd.model import encode, jsontext
from runtapd.model.freshness import Freshness, merged
from runtapd.model.paths import RunPath
from runtapd.model.run import DocumentKind, Record
from runtapd.reads.answers import LARGEST_PAGE, Answer
from runtapd.reads.documents import open_document
from runtapd.reads.growing import Sizes
from runtapd.reads.histories import HistoryReads
from runtapd.reads.lists import FIRST_PAGE, RunLists
from runtapd.reads.overlay import ShownRun
from runtapd.reads.partitions import Partition
from runtapd.reads.query import RunQuery
from runtapd.reads.reading import HistoryQuery
from runtapd.upstream.api import Waits

_DOCUMENTS = {
    "config": DocumentKind.CONFIG,
    "summary_metrics": DocumentKind.SUMMARY,
    "system_metrics": DocumentKind.SYSTEM_METRICS,
    "history_keys": DocumentKind.HISTORY_KEYS,
}
_INFINITE = {"Infinity": float("inf"), "-Infinity": float("-inf")}
_HISTORIES_AT_ONCE = 4
NAMED = 10
"""So many runs that could not be read are named."""


class Pick(Enum):
    """Which of a run's values counts."""

    LAST = "last"
    MIN = "min"
    MAX = "max"


@dataclass(frozen=True, slots=True)
class Best:
    """The best run; None for the run when none has the value."""

    run: ShownRun | None
    value: float | None
    listed: int
    """How many runs were looked at."""
    incomplete: str
    """Which runs are missing among them, or why some may be; empty when none is known to be."""
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class _Question:
    part: Partition
    order: Order
    pick: Pick
    wishes: Wishes
    waits: Waits


class BestRuns:
    """Answers which run of a list is best."""

    def __init__(self, lists: RunLists, histories: HistoryReads) -> None:
        self._lists = lists
        self._histories = histories

    async def best(
        self, part: Partition, query: RunQuery, order: Order, pick: Pick, wishes: Wishes, waits: Waits
    ) -> Best:
        """Returns the first run in `order`, which is that of the query. Runs without a number, or with NaN, never win.

        Columns that are no free-form fields are left to the server: every run has them.
        """
        question = _Question(part, order, pick, wishes, waits)
        if pick is not Pick.LAST and order.column.root != "summary_metrics":
            raise InvalidRequest(f"a history has no {order.column}; min and max are of metrics", field="pick")
        answer = await self._lists.answer(part, query, wishes, None)
        best: tuple[float, ShownRun] | None = None
        parts: list[Freshness] = []
        listed = offset = 0
        fetch = FIRST_PAGE
        while True:
            stretch, answer = await self._lists.part(
                part,
                query,
                answer,
                offset=offset,
                count=FIRST_PAGE,
                sizes=Sizes(fetch),
                wishes=wishes,
                waits=waits,
            )
            parts.append(stretch.freshness)
            listed += len(stretch.runs)
            if order.column.root not in _DOCUMENTS:
                first = stretch.runs[0] if stretch.runs else None
                return Best(first, None, listed, _missing(answer, ""), merged(parts, stretch.freshness))
            values = await self._values(question, stretch.runs)
            for shown, value in zip(stretch.runs, values, strict=True):
                if value is not None and (best is None or _better(value, best[0], order.descending)):
                    best = value, shown
            believed = pick is Pick.LAST and offset == 0 and is_ordered(values, descending=order.descending)
            if believed or stretch.next is None:
                break
            offset, fetch = stretch.next.offset, LARGEST_PAGE
        value, run = best or (None, None)
        said = _missing(answer, stretch.incomplete)
        return Best(run, value, listed, said, merged(parts, stretch.freshness))

    async def _values(self, question: _Question, runs: Sequence[ShownRun]) -> list[float | None]:
        if question.pick is not Pick.LAST:
            few = asyncio.Semaphore(_HISTORIES_AT_ONCE)
            reading = [asyncio.ensure_future(self._extreme(question, run, few)) for run in runs]
            try:
                return list(await asyncio.gather(*reading))
            finally:
                for task in reading:  # the first that fails ends the others
                    task.cancel()
        kind = _DOCUMENTS[question.order.column.root]
        large = [await _large(question, shown, kind) for shown in runs]
        return await asyncio.to_thread(
            _numbers, [shown.record for shown in runs], large, kind, question.order
        )

    async def _extreme(self, question: _Question, shown: ShownRun, few: asyncio.Semaphore) -> float | None:
        """Returns the smallest or largest number of a run's whole history."""
        record, key = shown.record, question.order.column.path
        query = HistoryQuery(RunPath(record.entity, record.project, record.run_id), keys=(key,))
        choose: Callable[..., float] = min if question.pick is Pick.MIN else max
        found: float | None = None
        async with few:
            async for batch in self._histories.read(
                question.part, query, None, question.wishes, question.waits
            ):
                if (column := batch.rows.columns.get(key)) is not None:
                    cells = column.values.to_pylist()
                    there = [number for cell in cells if (number := _number(cell)) is not None]
                    found = choose(there if found is None else [found, *there], default=found)
        return found


def _missing(answer: Answer, incomplete: str) -> str:
    """Says which runs were not looked at. In a list that is sorted here they stand at the end."""
    unread = sorted(answer.errors.values(), key=lambda error: error.path)
    if not unread:
        return incomplete
    more = f" and {len(unread) - NAMED} more" if len(unread) > NAMED else ""
    names = ", ".join(error.path for error in unread[:NAMED])
    said = f"{len(unread)} could not be read ({names}{more}; {unread[0].fault.message})"
    return "; ".join(filter(None, [said, incomplete]))


async def _large(question: _Question, shown: ShownRun, kind: DocumentKind) -> bytes | None:
    """Returns the text of a document that lies outside the run's message."""
    if kind not in dict(shown.record.oversize):
        return None
    text = await open_document(question.part, shown, kind, question.wishes, question.waits())
    return None if text is None else await text.piece(0, text.size)


def _numbers(
    records: Sequence[Record], large: Sequence[bytes | None], kind: DocumentKind, order: Order
) -> list[float | None]:
    return [
        _of_document(record, text, kind, order.column) for record, text in zip(records, large, strict=True)
    ]


def _of_document(record: Record, large: bytes | None, kind: DocumentKind, column: Column) -> float | None:
    message = encode.parse(record.body)
    text: str | bytes = large or getattr(message, encode.document_field(kind)) or "{}"
    try:
        document = jsontext.loads(text)
    except ValueError:
        return None  # not JSON: it holds no number
    if kind is DocumentKind.CONFIG:
        document = _unwrapped(document)
    return _number(value_getter(column)({column.root: document}))


def _unwrapped(config: Any) -> Any:
    """Returns a config without the wrapping that each value has on the wire."""
    if not isinstance(config, dict):
        return config
    return {
        key: value["value"] if isinstance(value, dict) and "value" in value else value
        for key, value in config.items()
    }


def _number(value: Any) -> float | None:
    if isinstance(value, str):
        return _INFINITE.get(value)
    return jsontext.number(value)


def _better(value: float, other: float, descending: bool) -> bool:
    return value > other if descending else value < other


def is_ordered(values: Sequence[float | None], *, descending: bool) -> bool:
    """Returns whether a page shows that its server orders: best numbers first, then those without one."""
    numbers = [value for value in values if value is not None]
    if not numbers or None in values[: len(numbers)]:
        return False
    return numbers == sorted(numbers, reverse=descending)
