"""`Runs`: the runs of a project that match, as a sequence whose pages come when they are needed.

One thread fetches a page, the others that need it wait; what was fetched is kept and shared by all iterators.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, overload

from runtap.ahead import Ahead
from runtap.cautions import caution
from runtap.errors import CommError
from runtap.freshness import Freshness, older
from runtap.run_object import Run
from runtap.unread import incomplete, item_error
from runtap.v1 import common_pb2, runs_pb2, sweeps_pb2

if TYPE_CHECKING:
    from runtap.explanation import Explanation
    from runtap.session import Session

LARGEST_PAGE = 1000
"""What is asked for once a second page is wanted; the first is left to the daemon (50, or what it has at hand)."""
GOES_ON = 8
"""A loop that has taken so many runs will want those of the next page, too."""
_CACHED = ("memory", "disk")


@dataclass(frozen=True)
class Query:
    """Which runs, in which order; what stays the same over all pages."""

    project: str
    filter_json: str = ""
    order: str = ""
    per_page: int = 0
    """The caller's ceiling; 0 when there is none."""
    on_error: Literal["raise", "warn"] = "raise"
    sweep: str = ""
    """The path of a sweep, for its runs; `filter_json` then says the same, for `explain`."""


@dataclass(frozen=True)
class _Pages:
    """What was fetched so far. Never changed: the fetching thread puts another one in its place."""

    runs: list[Run] = field(default_factory=list)
    errors: list[CommError] = field(default_factory=list)
    token: str = ""
    total: int | None = None
    incomplete_reason: str = ""
    freshness: Freshness | None = None
    fetched: int = 0
    done: bool = False


class Runs(Sequence[Run]):
    """Runs of a project or a sweep. Made by `api.runs(...)` and `sweep.runs`, not by hand.

    Iterating, indexing and slicing fetch pages as needed; `len` is the number of runs that match. Each `for` loop
    begins at the beginning, whatever other loops do. Runs that could not be read do not hide the others: iterating
    gives all good ones and then raises IncompleteError (with `on_error="warn"`: warns). Thread-safe and picklable.
    """

    def __init__(self, session: Session, query: Query) -> None:
        self._session = session
        self._query = query
        self._pages = _Pages()
        self._own: Iterator[Run] | None = None
        self._ahead: Ahead | None = None
        self._may_look_ahead = True
        self._loading = threading.Lock()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": None, "_ahead": None, "_loading": None, "_pid": 0}

    # As a sequence

    def __iter__(self) -> Iterator[Run]:
        index = 0
        while self._load_until(index + 1):
            runs = self._pages.runs
            while index < len(runs):
                yield runs[index]
                index += 1
                if index == GOES_ON:
                    self._look_ahead()
        self._report_missing()

    def __next__(self) -> Run:
        if self._own is None:
            self._own = iter(self)
        return next(self._own)

    next = __next__

    def __len__(self) -> int:
        self._load_until(1)
        if self._pages.total is None:
            self._load_until(None)
            return len(self._pages.runs) + len(self._pages.errors)
        return self._pages.total

    def __bool__(self) -> bool:
        return self._load_until(1)

    @overload
    def __getitem__(self, index: int) -> Run: ...
    @overload
    def __getitem__(self, index: slice) -> list[Run]: ...
    def __getitem__(self, index: int | slice) -> Run | list[Run]:
        if isinstance(index, slice):
            return self._slice(index)
        index = operator.index(index)
        if index >= 0 and self._load_until(index + 1):
            return self._pages.runs[index]
        if index < 0:
            self._load_until(None)
            if -index <= len(self._pages.runs):
                return self._pages.runs[index]
        if self._pages.errors:
            self._report_missing()
        raise IndexError(f"there are {len(self._pages.runs)} runs, and no number {index}")

    def __contains__(self, wanted: object) -> bool:
        """Whether a Run, or the run of this id or path, is among them."""
        if isinstance(wanted, Run):
            return any(run == wanted for run in self)
        return any(wanted in (run.id, str(run.path)) for run in self)

    def __repr__(self) -> str:
        count = "?" if self._pages.total is None else str(self._pages.total)
        return f"<Runs {self._query.sweep or self._query.project or self._session.defaults().project} ({count} runs)>"

    # What is known of the whole

    @property
    def complete(self) -> bool | None:
        """True when all runs were fetched and none is missing; False when some are; None while pages remain."""
        if self._pages.errors or self._pages.incomplete_reason:
            return False
        return True if self._pages.done else None

    @property
    def incomplete_reason(self) -> str:
        """Why runs are missing; empty when none is known to be."""
        return self._pages.incomplete_reason

    @property
    def freshness(self) -> Freshness | None:
        """Where the oldest page came from and how old it is; None before the first page."""
        return self._pages.freshness

    @property
    def objects(self) -> list[Run]:
        """The runs fetched so far."""
        return list(self._pages.runs)

    @property
    def more(self) -> bool:
        """Whether pages remain."""
        return not self._pages.done

    def upgrade_to_full(self) -> None:
        """For scripts that wandb gave half of each run: here runs are whole, and there is nothing to do."""

    def explain(self) -> Explanation:
        """How the filter and the order were understood, and what of them goes to the server. Reads no runs."""
        from runtap.explanation import from_message

        request = runs_pb2.ExplainQueryRequest(
            project=self._query.project,
            defaults=self._session.defaults(),
            filter_json=self._query.filter_json,
            order=self._query.order,
        )
        answer: runs_pb2.ExplainQueryResponse = self._session.call("runs.ExplainQuery", request)
        return from_message(answer)

    def histories(
        self,
        samples: int | None = 500,
        keys: Iterable[str] | None = None,
        x_axis: str = "_step",
        format: str = "default",
        stream: str = "default",
    ) -> Any:
        """The rows of all these runs, below each other in the order of the runs; as `run.history()` gives them.

        The first column is `run_id`, also where a run logged a key of that name; then come those of `run.history()`.

        Arguments:
            samples: most rows of each run, spread over it; None for all rows.
            keys: only these metrics, and only rows that have at least one of them.
            x_axis: the column that comes after `run_id` when `keys` are given; `_timestamp` comes last.
            format: "default" for a list of dicts, "pandas", "polars" or "arrow"; values are as in `HistoryTable`.
            stream: "default" for metrics; "events" or "system" for the system metrics.

        Raises:
            IncompleteError: when some runs could not be read; `.partial` holds the rows of all others. With
                `api.runs(on_error="warn")` these are returned, with a warning.
            ImportError: without the library of `format`, saying how to install it.
            InvalidRequestError: (a ValueError) for arguments that mean nothing. CommError: when nothing can be read.
        """
        from runtap import run_histories

        wanted = run_histories.wanted(samples, keys, x_axis, format, stream)
        self._load_until(None)
        pages = self._pages
        if pages.incomplete_reason and not pages.errors:
            self._report_missing()
        paths = [str(run.path) for run in pages.runs]
        answer = run_histories.read(self._session, paths, wanted)
        errors = [*pages.errors, *answer.errors]
        if not errors:
            return answer.rows
        error = incomplete(errors, len(paths) - len(answer.errors), partial=answer.rows)
        if self._query.on_error == "raise":
            raise error
        caution(error.message, UserWarning)
        return answer.rows

    # Pages

    def _slice(self, wanted: slice) -> list[Run]:
        ends = (wanted.start, wanted.stop)
        backwards = wanted.step is not None and wanted.step < 0
        bounded = wanted.stop is not None and not any(end is not None and end < 0 for end in ends)
        if bounded and not backwards:
            reached = self._load_until(wanted.stop)
        else:
            reached = False
            self._load_until(None)
        if not reached:
            self._report_missing()
        return self._pages.runs[wanted]

    def _load_until(self, count: int | None) -> bool:
        """Fetches pages until there are `count` runs (None: all). Says whether there are that many."""
        while not self._pages.done and (count is None or len(self._pages.runs) < count):
            seen = self._pages.fetched
            with self._lock():
                # Another thread may have fetched it while this one waited.
                if self._pages.fetched == seen and not self._pages.done:
                    self._load_page()
        return count is None or len(self._pages.runs) >= count

    def _lock(self) -> threading.Lock:
        """The lock of this process: one inherited by fork or pickle may be held by a thread that is not here."""
        if self._pid != os.getpid():
            self._loading, self._pid = threading.Lock(), os.getpid()
        return self._loading

    def _load_page(self) -> None:
        pages = self._pages
        answer = self._taken_from_ahead()
        if answer is None:
            answer = self._session.call(*self._request())
        freshness = self._session.fresh(answer.freshness, "the list of runs")
        total = answer.total_size if answer.HasField("total_size") else pages.total
        # In one step: an interrupt between two would leave runs here whose page is fetched a second time.
        self._pages = pages = _Pages(
            runs=[*pages.runs, *(Run(self._session, message, freshness) for message in answer.runs)],
            errors=[*pages.errors, *map(item_error, answer.errors)],
            token=answer.next_page_token,
            total=total,
            incomplete_reason=answer.incomplete_reason or pages.incomplete_reason,
            freshness=older(pages.freshness, freshness),
            fetched=pages.fetched + 1,
            done=not answer.next_page_token,
        )
        if pages.fetched > 1:  # whoever wants a second page wants the list
            self._begin_ahead()

    def _taken_from_ahead(self) -> runs_pb2.ListRunsResponse | None:
        ahead, self._ahead = self._ahead, None
        if ahead is None:
            return None
        answer: runs_pb2.ListRunsResponse | None = ahead.answer()
        # What the cache alone cannot answer completely is asked for as usual, from then on.
        self._may_look_ahead = answer is not None and not (answer.errors or answer.incomplete_reason)
        return answer if self._may_look_ahead else None

    def _look_ahead(self) -> None:
        lock = self._lock()
        if lock.acquire(blocking=False):  # a thread that loads a page looks ahead by itself
            try:
                self._begin_ahead()
            finally:
                lock.release()

    def _begin_ahead(self) -> None:
        """Fetches the next page while the caller works on this one, if the daemon is likely to have it."""
        pages = self._pages
        likely = pages.freshness is not None and pages.freshness.source in _CACHED
        if self._ahead is not None or not self._may_look_ahead or pages.done or not likely:
            return
        method, request = self._request()
        request.options.CopyFrom(common_pb2.ReadOptions(cache_only=True))
        self._ahead = Ahead(self._session, method, request)

    def _request(self) -> tuple[str, runs_pb2.ListRunsRequest | sweeps_pb2.ListSweepRunsRequest]:
        """What asks for the next page; the answers of both methods have the same fields."""
        if self._query.sweep:
            return "sweeps.ListSweepRuns", self._request_of_sweep()
        return "runs.ListRuns", self._request_of_project()

    def _request_of_project(self) -> runs_pb2.ListRunsRequest:
        return runs_pb2.ListRunsRequest(
            project=self._query.project,
            defaults=self._session.defaults(),
            filter_json=self._query.filter_json,
            order=self._query.order,
            page_size=self._page_size(),
            page_token=self._pages.token,
            options=self._session.options(),
        )

    def _request_of_sweep(self) -> sweeps_pb2.ListSweepRunsRequest:
        return sweeps_pb2.ListSweepRunsRequest(
            path=self._query.sweep,
            order=self._query.order,
            page_size=self._page_size(),
            page_token=self._pages.token,
            options=self._session.options(),
        )

    def _page_size(self) -> int:
        return min(self._query.per_page, LARGEST_PAGE) or (LARGEST_PAGE if self._pages.fetched else 0)

    def _report_missing(self) -> None:
        """Says what could not be read; only when all pages are there."""
        pages = self._pages
        if not pages.errors:
            if pages.incomplete_reason:
                caution(f"runs are missing: {pages.incomplete_reason}", UserWarning)
            return
        error = incomplete(pages.errors, len(pages.runs))
        if self._query.on_error == "raise":
            raise error
        caution(error.message, UserWarning)
