"""Lists as far as they have been fetched, and which of them to give to whom. Pure but for what is in them."""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field, replace

from runtapd.cache.policy import Wishes
from runtapd.cache.store import StoredAnswer
from runtapd.model.run import Record
from runtapd.reads.stretches import Comb, Row, Stretch, Unread
from runtapd.upstream.pushdown import Split

LARGEST_PAGE = 1000
_JUDGED = "\0"
"""Begins the cursors of answers that are judged here; no server's cursor does."""


@dataclass(eq=False)
class Answer:
    """A list of runs as far as it has been fetched."""

    key: str
    fetched_at: float
    whole_at: float
    """Unix seconds: no run's documents are older than this."""
    generation: int
    first: int = 0
    """The offset of the first id: what came before is its reader's already."""
    opened_behind: str | None = None
    """The server's cursor before the first id; None at the list's beginning."""
    behind: str | None = None
    """The server's cursor behind which the next page is asked for."""
    more: bool = True
    """Whether the server has pages beyond that."""
    stretches: deque[Stretch] = field(default_factory=deque)
    """What was glanced at and follows the ids, but has to be read before."""
    glances: bool = False
    """Whether runs that are held need only be glanced at."""
    by_name: bool = True
    """Whether runs can be asked for by name: not every server does as it is told there."""
    believes_from: float = 0.0
    """Unix seconds: runs that turned out to be unreadable before that are tried again."""
    at_once: int = LARGEST_PAGE
    """Most runs to ask for at once: grows smaller when answers get too large or fail."""
    comb: Comb | None = None
    """The second look that is taken when runs are missing at the end."""
    versioned: bool = True
    """Whether the server told of every run when it was last changed."""
    errors: dict[str, Unread] = field(default_factory=dict)
    """Those of the ids that could not be read, and why."""
    lost: int = 0
    """How many could not be read since the last one that could."""
    ids: list[str] = field(default_factory=list)
    cursors: list[str] = field(default_factory=list)
    """The server's cursor behind each id."""
    total: int | None = None
    """How many runs there were when the list began; of a complete one, how many it has."""
    counted: int | None = None
    """How many runs the server counted with the last page."""
    shrank: bool = False
    """Whether the server counted fewer runs with one page than with the one before: behind a run that was deleted after
    it was listed, places shift, and one is skipped."""
    done: bool = False
    incomplete: str = ""
    old_rows: int = 0
    """How many places the server has given since the last one that was new."""
    from_disk: bool = False
    stale: bool = False
    """Given although it is older than was wanted, because the server could not be asked."""
    former: Answer | None = None
    """The best answer before this one, as far as it goes; given when the server cannot be asked."""
    bytes_seen: int = 0
    """Bytes of documents in the runs fetched so far; sizes the next page."""
    split: Split | None = None
    """Which part of the query the server is given; None when the answer is complete and nobody needs to know."""
    base: Answer | None = None
    """What an answer that is judged here is made of, until it is."""
    refused: bool = False
    """The server has refused to be given more than `split` gives it."""
    disordered: int = 0
    """How many runs had been given in the server's order when it turned out to be none."""
    last_created_at: str = ""
    """Of the last run of the last page that was believed."""
    patched: bool = False
    """Runs found by the second look stand at its end, whatever the order says."""
    uncached: set[str] = field(default_factory=set)
    """Runs that readers who did not want the server to be asked had to go without."""
    seen: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.behind = self.behind or self.opened_behind
        self.seen = set(self.ids)

    @property
    def ahead(self) -> list[str]:
        """The ids that the answer before this one has from here on: about what is to be expected."""
        former = self.former
        return [] if former is None else former.ids[max(0, self.end - former.first) :]

    def append(self, row: Row) -> None:
        """Takes in the next place; runs inserted meanwhile shift the pages of servers that page by offset."""
        if row.storage_id not in self.seen:
            self.seen.add(row.storage_id)
            self.ids.append(row.storage_id)
            self.cursors.append(row.cursor)

    def cursor_before(self, index: int) -> str | None:
        """Returns the server's cursor before the id at this index."""
        return self.cursors[index - 1] if index else self.opened_behind

    @property
    def end(self) -> int:
        """The offset behind the last id."""
        return self.first + len(self.ids)

    def place(self, offset: int, total: int | None) -> Place:
        """Returns the place at an offset; `total` is how many runs are told."""
        return Place(offset, self.cursors[offset - self.first - 1], self.fetched_at, total)

    @property
    def held(self) -> int:
        """How many places it keeps in memory, with those of the one before it."""
        return len(self.ids) + (0 if self.former is None else len(self.former.ids))


class KeptAnswers:
    """The lists of one account in memory, by name: those go that were last wanted longest ago.

    A list of ten thousand runs takes more than a MiB, so their places count as well as their number. Most come back
    from disk, and a reader under way goes on behind a cursor.
    """

    def __init__(self, most: int = 256, most_places: int = 300_000) -> None:
        self._most, self._most_places = most, most_places
        self._kept: OrderedDict[str, Answer] = OrderedDict()

    def get(self, name: str) -> Answer | None:
        """Returns a list that is wanted now."""
        found = self._kept.get(name)
        if found is not None:
            self._kept.move_to_end(name)
        return found

    def __setitem__(self, name: str, answer: Answer) -> None:
        self._kept[name] = answer
        self._kept.move_to_end(name)
        places = sum(one.held for one in self._kept.values())
        while len(self._kept) > 1 and (len(self._kept) > self._most or places > self._most_places):
            _, dropped = self._kept.popitem(last=False)
            places -= dropped.held


@dataclass(frozen=True, slots=True)
class Place:
    """Where a list goes on, as a token tells it."""

    offset: int
    cursor: str
    fetched_at: float
    """Of the answer the list began with."""
    total: int | None = None
    """How many runs that list has."""


def best(answer: Answer | None) -> Answer | None:
    """Returns what to give of an answer and the one before it when the server is not asked: None when both are empty.

    A complete one goes before one that is not; of two that are not, the one that reaches further.
    """
    there = [one for one in (answer, answer and answer.former) if one is not None and (one.done or one.ids)]
    return max(there, key=lambda one: (one.done, one.end), default=None)


def fallback(answer: Answer, offset: int) -> Answer | None:
    """Returns what a reader at `offset` of this answer can have while the server does not answer; None when nothing.

    The one before it only for a reader who has had nothing of this one: half of each makes no list.
    """
    if not answer.ids or offset == 0:
        older = best(answer)
        return older if older is not None and (older.done or older.end > offset) else None
    return answer if answer.end > offset else None


def missing(begun: int | None, ended: int | None, listed: int) -> int | None:
    """Returns how many runs a list that has come to its end should have had, when it has fewer; else None.

    Runs come and go while a list is read page by page, so the server's counts with its first and its last page differ.
    Nobody missed a run that appeared behind the reader's back, so more than `begun` were never owed; a run deleted
    before it was reached cannot be listed, so neither were more than `ended`. Counts cannot tell a run that was lost
    from one that was deleted while another appeared; that one is taken for lost.
    """
    counts = [count for count in (begun, ended) if count is not None]
    owed = min(counts, default=0)
    return owed if listed < owed else None


def candidates(kept: Answer | None, wishes: Wishes) -> list[Answer]:
    """Returns the answers to look at for a list that begins, best first."""
    if kept is None:
        return []
    if wishes.cache_only:
        found = best(kept)
        return [] if found is None else [found]
    if kept.patched:
        return []  # complete, but not in order
    # One that is only begun must not hide the one before it from those it is new enough for.
    return [kept] if kept.ids or kept.former is None else [kept.former, kept]


def judged_id(cursor: str | None) -> str | None:
    """The run that a cursor of an answer judged here stands behind; None for a server's own cursor."""
    return cursor[1:] if cursor is not None and cursor.startswith(_JUDGED) else None


def matching(answer: Answer, ids: list[str], errors: dict[str, Unread]) -> None:
    """Completes an answer with what was judged here; its reader goes on behind the run they had last.

    Runs that could not be read could not be judged either: they are told at the end.
    """
    ids = [*ids, *errors]
    answer.errors = dict(errors)
    if answer.first:
        last = judged_id(answer.opened_behind)
        ids = ids[ids.index(last) + 1 if last in ids else answer.first :]
    answer.ids = [*answer.ids, *(i for i in ids if i not in answer.seen)]
    answer.cursors = [_JUDGED + i for i in answer.ids]
    answer.seen = set(answer.ids)
    answer.total, answer.counted = answer.end, None
    answer.stretches.clear()
    answer.more = False


def disorder(answer: Answer) -> str:
    """Says what is wrong with an answer whose order the server gave up on after runs had been given to a reader."""
    if not answer.disordered:
        return ""
    return (
        f"the server did not keep to the order it was asked for: the first {answer.disordered} runs are not in order "
        "and some may be missing; list them again, and they will be sorted here"
    )


def record_bytes(record: Record) -> int:
    """Returns about how many bytes a run takes on the way from the server."""
    return len(record.body) + sum(size for _, size in record.oversize)


def as_stale(answer: Answer) -> Answer:
    """Returns a copy to be told as stale; who reads the original may go on fetching it.

    What was only glanced at belongs to the original: the copy goes on behind its own last id.
    """
    glanced = bool(answer.stretches)
    return replace(
        answer,
        ids=list(answer.ids),
        cursors=list(answer.cursors),
        errors=dict(answer.errors),
        behind=answer.cursor_before(len(answer.ids)) if glanced else answer.behind,
        more=answer.more or glanced,
        stretches=deque(),
        comb=None,
        stale=True,
    )


def continues(answer: Answer, place: Place) -> bool:
    return answer.fetched_at == place.fetched_at and answer.first <= place.offset <= answer.end


def from_disk(stored: StoredAnswer, generation: int) -> Answer:
    return Answer(
        stored.key,
        stored.fetched_at,
        stored.whole_at,
        generation,
        versioned=stored.versioned,
        ids=[storage_id for storage_id, _ in stored.runs],
        cursors=[cursor for _, cursor in stored.runs],
        total=stored.total,
        done=True,
        incomplete=stored.incomplete,
        from_disk=True,
    )
