"""Keys that were asked for and that a history does not have, or not together: what to say of them.

The daemon is asked which keys there are only when there is something to say, and to find the nearest ones. When that
goes wrong the words are fewer; a warning is never the reason why a program fails.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtap.cautions import caution
from runtap.errors import CommError
from runtap.history_columns import EVERYWHERE
from runtap.v1 import history_pb2

if TYPE_CHECKING:
    from runtap.session import Session

_COMPARED = 100
"""Characters of a key: comparing takes the square of their number."""
_MANY = 10_000
"""With so many keys, finding the nearest takes a good part of a second."""
_LISTED = 5
_SHOWN = 60


class UnknownKeyWarning(UserWarning):
    """A key was asked for that the run never logged, or keys that it never logged together."""


@dataclass(frozen=True)
class _Known:
    """What is known of the keys of a run."""

    counts: Mapping[str, int]
    """How often each was logged; 0 where the server does not say."""
    rows: int | None


def warn_of_unknown(
    session: Session, path: str, unknown: Sequence[str], *, system: bool = False, span: str = ""
) -> None:
    """Says that no row has these keys. `span` says of which rows, where not of all."""
    if system:
        text = f"{path} has no system metrics {_named(unknown)}"
    else:
        text = _words_of_unknown(path, unknown, _known(session, path), span)
    caution(text, UnknownKeyWarning, about=("unknown", *unknown))


def warn_of_axis(session: Session, path: str, x_axis: str) -> None:
    """Says that nothing was logged under the name of this x axis, when that is so: a few rows may just not have it."""
    known = _known(session, path)
    if known is not None and x_axis not in known.counts:
        caution(_words_of_unknown(path, [x_axis], known, ""), UnknownKeyWarning, about=("unknown", x_axis))


def warn_of_none(
    session: Session, paths: Sequence[str], unknown: Sequence[str], *, system: bool = False
) -> None:
    """Says that none of these runs has these keys; the nearest ones are those of the first run."""
    near = [] if system else _nearest_of(unknown, _known(session, paths[0]))
    hint = f"; nearest in {paths[0]}: {_named(near)}" if near else ""
    text = f"none of these runs {'has system metrics' if system else 'logged'} {_named(unknown)}{hint}"
    caution(text, UnknownKeyWarning, about=("unknown", *unknown))


def warn_of_apart(
    session: Session, path: str, keys: Sequence[str], *, cure: str, system: bool = False, span: str = ""
) -> None:
    """Says that all these keys were logged, but that no row has them all."""
    known = None if system or span else _known(session, path)
    counts = known.counts if known else {}
    keys = [key for key in keys if key not in EVERYWHERE]
    names = [f"{_shown(key)} ({counts[key]:,} times)" if counts.get(key) else _shown(key) for key in keys]
    rows = f"no row of {path} {span}" if span else f"no row of {path}"
    together = "in the same row" if len(keys) == 2 else "all in the same row"
    text = f"{rows} has all of {_listed(names)}: each was logged, but never {together}; {cure}"
    caution(text, UnknownKeyWarning, about=("apart", *keys))


def span_of(min_step: int | None, max_step: int | None) -> str:
    """Names a range of steps; empty for all of them."""
    if min_step is not None and max_step is not None:
        return f"in the steps {min_step} to {max_step - 1}"
    if min_step is not None:
        return f"from step {min_step} on"
    return "" if max_step is None else f"before step {max_step}"


def nearest(wanted: str, known: Iterable[str], count: int = 3) -> list[str]:
    """The keys most like this one: those of similar letters, then those that end in the same word (`train/loss`)."""
    by_text: dict[str, str] = {}
    for key in known:
        by_text.setdefault(_compared(key), key)
    text = _compared(wanted)
    close = difflib.get_close_matches(text, by_text, n=count, cutoff=0.6)
    akin = (other for other in by_text if _last_word(other) == _last_word(text))
    return [by_text[other] for other in dict.fromkeys([*close, *akin])][:count]


def _words_of_unknown(path: str, unknown: Sequence[str], known: _Known | None, span: str) -> str:
    counts = known.counts if known else {}
    never = [key for key in unknown if key not in counts]
    if span and not counts:
        return f"no row of {path} {span} has {_named(unknown)}"
    if not never:
        elsewhere = f"{span} has {_named(unknown)}, which it logged in other steps"
        return f"no row of {path} {elsewhere if span else f'has {_named(unknown)}'}"
    near = _nearest_of(never, known)
    logged = [key for key in counts if not key.startswith("_")]
    if near:
        hint = f"; nearest: {_named(near)}"
    elif logged:
        hint = f"; it logged {_named(logged)}"
    else:
        hint = "; its history is empty" if known and known.rows == 0 else ""
    return f"{path} never logged {_named(never)}{hint}"


def _nearest_of(unknown: Sequence[str], known: _Known | None) -> list[str]:
    """The keys most like any of these."""
    counts = known.counts if known else {}
    each = 3 if len(unknown) == 1 else 1
    looked_up = unknown[: _LISTED if len(counts) < _MANY else 1]
    return list(dict.fromkeys(other for key in looked_up for other in nearest(key, counts, each)))


def _known(session: Session, path: str) -> _Known | None:
    request = history_pb2.GetHistoryKeysRequest(path=path, options=session.options())
    counts: dict[str, int] = {}
    try:
        while True:
            answer: history_pb2.GetHistoryKeysResponse = session.call("history.GetHistoryKeys", request)
            counts.update((one.key, sum(one.type_counts.values())) for one in answer.keys)
            request.page_token = answer.next_page_token
            if not request.page_token:
                return _Known(
                    counts, answer.history_line_count if answer.HasField("history_line_count") else None
                )
    except CommError:
        return None


def _compared(key: str) -> str:
    return key[:_COMPARED].casefold()


def _last_word(key: str) -> str:
    return re.split(r"[/.]", key)[-1]


def _named(keys: Sequence[str]) -> str:
    return _listed([_shown(key) for key in keys])


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED:,} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _shown(key: str) -> str:
    return repr(key) if len(key) <= _SHOWN else f"{key[:_SHOWN]!r}..."
