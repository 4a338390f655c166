"""`run.scan_history()`: all rows of a run as dicts, read while somebody iterates; and what all history calls share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtap import row_groups
from runtap.errors import InvalidRequestError
from runtap.history_keys import UnknownKeyWarning as UnknownKeyWarning
from runtap.history_keys import span_of, warn_of_apart, warn_of_unknown
from runtap.row_groups import HistoryRow
from runtap.v1 import history_pb2
from runtap.values import check_text

if TYPE_CHECKING:
    from runtap.session import Session

STREAMS = {"default": 1, "events": 2, "system": 2}
"""`HistoryStream` of history.proto by the names of the wandb SDK; written out so that this module needs no stub."""
JOINS = {"outer": 1, "inner": 2}
"""`HistoryJoin` of history.proto by name."""
DEFAULT_PAGE = 1000
"""The `page_size` of the wandb SDK. As the default it leaves to the daemon how much it asks for at once."""


class HistoryScan(Iterable[HistoryRow]):
    """All rows of a run. Each `for` loop reads from the beginning; `next(scan)` works too. Picklable."""

    def __init__(
        self,
        session: Session,
        path: str,
        keys: Iterable[str] | None,
        page_size: int,
        min_step: int | None,
        max_step: int | None,
        use_cache: bool,
    ) -> None:
        self._session = session
        self._path = path
        self._keys = checked_keys(keys)
        self._page_size = checked_number("page_size", page_size, least=1, bits=31)
        self._min_step = None if min_step is None else checked_number("min_step", min_step)
        self._max_step = None if max_step is None else checked_number("max_step", max_step)
        self._use_cache = use_cache
        self._own: Iterator[HistoryRow] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_own": None}

    def __iter__(self) -> Iterator[HistoryRow]:
        empty = True
        unknown: tuple[str, ...] = ()
        for group in row_groups.read(self._session, self._request()):
            unknown = group.unknown_keys
            empty = empty and not group.length
            yield from group.rows()
        if self._keys and empty:
            self._warn_of_nothing(unknown)

    def __next__(self) -> HistoryRow:
        if self._own is None:
            self._own = iter(self)
        return next(self._own)

    next = __next__

    def __repr__(self) -> str:
        return f"<HistoryScan of {self._path}>"

    def _warn_of_nothing(self, unknown: Sequence[str]) -> None:
        span = span_of(self._min_step, self._max_step)
        if unknown or len(self._keys) == 1:
            warn_of_unknown(self._session, self._path, unknown or self._keys, span=span)
        else:
            cure = "history(keys=...) gives rows that have at least one"
            warn_of_apart(self._session, self._path, self._keys, cure=cure, span=span)

    def _request(self) -> history_pb2.ReadHistoryRequest:
        return history_pb2.ReadHistoryRequest(
            path=self._path,
            keys=self._keys,
            join=history_pb2.HISTORY_JOIN_INNER,
            stream=history_pb2.HISTORY_STREAM_METRICS,
            min_step=self._min_step,
            max_step=self._max_step,
            format=history_pb2.HISTORY_FORMAT_ARROW,
            upstream_page_size=0 if self._page_size == DEFAULT_PAGE else self._page_size,
            options=self._session.options(no_cache=not self._use_cache),
        )


def checked_keys(keys: Iterable[str] | None) -> list[str]:
    """The keys, each once; [] when all are wanted."""
    listed = [] if keys is None else None if isinstance(keys, (str, bytes)) else _items(keys)
    if listed is None or not all(isinstance(key, str) for key in listed):
        raise refused("keys", f'keys is a list of strings, such as ["loss"], not {keys!r}')
    for key in listed:
        check_text(key, "keys")
    return list(dict.fromkeys(listed))


def _items(several: Any) -> list[Any] | None:
    """What is in there, be it a list, an index of a frame, or an iterator; None where it holds nothing."""
    try:
        return list(several)
    except TypeError:
        return None


def checked_number(name: str, value: Any, *, least: int | None = None, bits: int = 63) -> int:
    """An integer, in its range; numpy's integers are integers too. Beyond `bits`, the largest there is: no history has
    more steps or rows than that."""
    try:
        number = int(value.__index__())
    except AttributeError:
        raise refused(name, f"{name} is an integer, not {value!r}") from None
    if isinstance(value, bool) or (least is not None and number < least):
        raise refused(name, f"{name} is an integer of {least or 0} or more, not {value!r}")
    largest: int = 2**bits - 1
    return min(max(number, -largest), largest)


def checked_choice(name: str, value: str, choices: Mapping[str, int]) -> int:
    """What one of these words stands for in the contract."""
    return choices[checked_word(name, value, choices)]


def checked_word(name: str, value: str, words: Collection[str]) -> str:
    """One of these words."""
    if not isinstance(value, str) or value not in words:
        *first, last = (f'"{word}"' for word in words)
        raise refused(name, f"{name} is {', '.join(first)} or {last}, not {value!r}")
    return value


def refused(field: str, message: str) -> InvalidRequestError:
    """An argument that means nothing."""
    return InvalidRequestError(
        message, ValueError(message), reason="INVALID_FIELD", metadata={"field": field}
    )
