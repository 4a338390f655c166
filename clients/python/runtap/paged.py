"""Lists of small things (projects, sweeps) whose pages come when they are needed. `Runs` is a list of its own.

One thread fetches a page, the others that need it wait; what was fetched is kept and shared by all iterators.
"""

from __future__ import annotations

import operator
import os
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from runtap.freshness import Freshness, older

if TYPE_CHECKING:
    from runtap.session import Session

T = TypeVar("T")


class Paged(Generic[T]):
    """Iterating, indexing and slicing fetch pages as needed. Thread-safe and picklable.

    By itself it has no length: servers do not count these, so that `len` has to fetch all of them, as `len(list(...))`
    does.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self._items: list[T] = []
        self._token = ""
        self._fetched = 0
        self._done = False
        self._freshness: Freshness | None = None
        self._own: Iterator[T] | None = None
        self._loading = threading.Lock()
        self._pid = os.getpid()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": None, "_loading": None, "_pid": 0}

    def _page(self, token: str) -> tuple[list[T], str, Freshness]:
        """Fetches the page of a token: its items, the token of the next page, how fresh it is."""
        raise TypeError(f"{type(self).__name__} says what its pages are")

    def __iter__(self) -> Iterator[T]:
        index = 0
        while self._load_until(index + 1):
            yield self._items[index]
            index += 1

    def __next__(self) -> T:
        if self._own is None:
            self._own = iter(self)
        return next(self._own)

    next = __next__

    def __bool__(self) -> bool:
        return self._load_until(1)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> list[T]: ...
    def __getitem__(self, index: int | slice) -> T | list[T]:
        if isinstance(index, slice):
            ends = (index.start, index.stop)
            forwards = index.step is None or index.step > 0
            bounded = index.stop is not None and not any(end is not None and end < 0 for end in ends)
            self._load_until(index.stop if bounded and forwards else None)
            return self._items[index]
        index = operator.index(index)
        if not self._load_until(index + 1 if index >= 0 else None) or -index > len(self._items):
            raise IndexError(
                f"there are {len(self._items)} {type(self).__name__.lower()}, and no number {index}"
            )
        return self._items[index]

    @property
    def freshness(self) -> Freshness | None:
        """Where the oldest page came from and how old it is; None before the first page."""
        return self._freshness

    @property
    def objects(self) -> list[T]:
        """What was fetched so far."""
        return list(self._items)

    @property
    def more(self) -> bool:
        """Whether pages remain."""
        return not self._done

    def _load_until(self, count: int | None) -> bool:
        """Fetches pages until there are `count` items (None: all). Says whether there are that many."""
        while not self._done and (count is None or len(self._items) < count):
            seen = self._fetched
            with self._lock():
                # Another thread may have fetched it while this one waited.
                if self._fetched == seen and not self._done:
                    self._load_page()
        return count is None or len(self._items) >= count

    def _load_page(self) -> None:
        items, token, freshness = self._page(self._token)
        items, freshness = [*self._items, *items], older(self._freshness, freshness)
        # Without a call in between, at which an interrupt could come: it would have this page fetched a second time.
        self._items, self._freshness, self._token, self._done = items, freshness, token, not token
        self._fetched += 1

    def _lock(self) -> threading.Lock:
        """The lock of this process: one inherited by fork or pickle may be held by a thread that is not here."""
        if self._pid != os.getpid():
            self._loading, self._pid = threading.Lock(), os.getpid()
        return self._loading
