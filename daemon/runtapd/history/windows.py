"""Which range of steps to ask for next, and for how many rows at most: learnt from what answers held. Pure.

An answer is proof that a range is complete when it holds fewer rows than were asked for *and* the server is known to
give that many in one answer: some have a ceiling of their own, of which they say nothing. Another answer that held
clearly more rows shows that there is none so low (`Windows.shows_whole`); otherwise whoever reads must count the rows
of the range in two halves, and tell (`Windows.met_ceiling`).
"""

from __future__ import annotations

FIRST_ROWS = 1000
MOST_ROWS = 10_000
ONE_PAGE = 2000
"""A run of fewer rows than this is asked for at once."""
PAGE_BYTES = 4 * 2**20
"""About how many bytes of rows one answer may bring, once it is known how large they are."""
QUICK_S = 2.0
"""Answers that take no longer may be followed by larger ones."""
LOWEST_CEILING = 100
"""No server is suspected of giving fewer rows than this in one answer."""
FEWEST_ROWS = 2
"""Of one row alone, nobody could say whether it was all."""
_MOST_OUTAGES = 3
_NO_CEILING = 2**62


class Windows:
    """The sizes of the windows through which one history is read."""

    def __init__(self, begin: int, end: int, line_count: int | None, page_rows: int | None) -> None:
        steps = max(1, end - begin)
        self._allowed = max(1, page_rows or MOST_ROWS)
        self._limit = self._allowed
        """Above this a page is not to grow: the caller's wish, or what the server could not do."""
        self.rows = page_rows or FIRST_ROWS
        """How many rows to ask for at most."""
        self.width = steps
        """Through how many steps."""
        self.steady = False
        """Whether rows lie about as dense as was thought, so that ranges can be asked for ahead."""
        self.mean_bytes = 0
        """Of a row."""
        self._most_seen = 0
        self._ceiling = _NO_CEILING
        self.self_evident = False
        """Whether answers show by themselves that they are whole, as those do that have one row for every step."""
        self._pace = 0.0
        """Rows per second of the last answer worth measuring."""
        self._failing = False
        self._outages = 0
        if line_count and line_count < min(self._limit, ONE_PAGE):
            self.rows = min(self._limit, line_count * 9 // 8 + 8)
        elif line_count:
            self.width = max(1, self.rows - 1, min(steps, steps * self._aim // line_count))

    @property
    def _aim(self) -> int:
        """How many rows a window should hold: a little less than is asked for. Less than the largest answer
        where they do not speak for themselves, so that it proves them."""
        aim = self.rows * 9 // 10
        if not (self.self_evident or self._ceiling < _NO_CEILING or self._outgrown):
            aim = min(aim, self._most_seen * 4 // 5)
        return max(1, aim)

    @property
    def _outgrown(self) -> bool:
        """Whether the next page will be much larger than all before it."""
        return self.rows >= 2 * self._most_seen and self._ceiling == _NO_CEILING

    @property
    def settled(self) -> bool:
        """Whether pages are as large as they will become, and those to come are proven by one that was larger."""
        return self.rows >= self._largest and (self.self_evident or not self._outgrown)

    @property
    def expected(self) -> tuple[int, int]:
        """About how many rows the next page will hold, and how many bytes."""
        return self._aim, self._aim * self.mean_bytes

    @property
    def _largest(self) -> int:
        fitting = PAGE_BYTES // self.mean_bytes if self.mean_bytes else self._limit
        return max(1, min(self._limit, self._ceiling, fitting))

    def cut(self, begin: int, end: int) -> tuple[int, int]:
        """Returns up to which step to ask from `begin` on, and for how many rows."""
        left, width = end - begin, self.width
        if self.steady and width < left:
            width = -(-left // -(-left // width))  # as many windows, all of one width
        return min(end, begin + width), max(FEWEST_ROWS, min(self.rows, self._ceiling))

    def may_be_sample(self, samples: int, count: int) -> bool:
        """Whether an answer of so many rows, asked for with `samples`, may be a choice from more."""
        return count >= min(samples, self._ceiling)

    def shows_whole(self, count: int) -> bool:
        """Whether an answer of `count` rows that is no sample by its size is surely whole. Servers that give "about"
        so many rows need a margin."""
        return count < LOWEST_CEILING or self._ceiling < _NO_CEILING or count * 10 < self._most_seen * 9

    def heard(self, samples: int, count: int, size: int, seconds: float) -> None:
        """Takes in how an answer came: so many rows in so many bytes."""
        self._most_seen = max(self._most_seen, count)
        if count:
            self.mean_bytes = max(1, size // count)
        self._resize(samples, count, seconds)

    def whole(self, asked: int, samples: int, count: int, size: int, seconds: float) -> None:
        """Takes in an answer that is no sample by its size: `count` rows of `asked` steps, in so many bytes."""
        if self._failing and asked == 1 and samples <= FEWEST_ROWS and self._outages < _MOST_OUTAGES:
            # Not even the smallest page had come at once: it was not the size that failed before.
            self._outages += 1
            self._limit = self._allowed
        self._failing = False
        aimed = self._aim
        self.steady = count * 2 >= aimed
        self.heard(samples, count, size, seconds)
        if not count:
            self.width = max(self.width, asked * 64)  # a gap; going too far costs a request or two
        elif asked * 2 >= self.width or count * 4 >= aimed:
            # A small piece between others tells little of what comes.
            most = asked * 4 * max(1, self._aim // aimed)
            self.width = max(1, min(most, asked * self._aim // count))

    def _resize(self, samples: int, count: int, seconds: float) -> None:
        if samples >= self.rows and count * 4 >= samples:
            pace = count / max(seconds, 1e-6)
            # What waits for its turn is slow however small it is; then a larger page brings more in the same time.
            if seconds < QUICK_S or pace > self._pace * 1.5:
                self.rows *= 4
            else:
                self._limit = min(self._limit, self.rows)
            self._pace = pace
        self.rows = min(self.rows, self._largest)

    def sampled(self, asked: int, samples: int, found: list[int]) -> None:
        """Takes in an answer that may be a sample of the rows in `asked` steps; `found` are its steps, from the first
        one asked for on."""
        self.steady = False
        proven = max(
            1, min(samples, self.rows, self._ceiling) - 1
        )  # so few steps, at a row each, are no sample
        smallest = proven if asked > proven else 1
        quarter = found[len(found) // 4] + 1 if len(found) > 3 else asked
        # A quarter of the rows, wherever they lie; where the answer does not tell, half the steps.
        self.width = max(smallest, quarter if found and quarter <= found[-1] else asked // 2)

    def failed(self, asked: int, samples: int) -> None:
        """Takes in that there was no answer, perhaps because it would have been too much."""
        self.steady, self._failing, self._pace = False, True, 0.0
        self._limit = max(FEWEST_ROWS, min(self._limit, samples // 4))
        self.rows = min(self.rows, self._limit)
        self.width = max(1, asked // (4 if samples > FEWEST_ROWS else 16))

    def met_ceiling(self, count: int) -> None:
        """Takes in that a server gave only so many rows though there were more and more were asked for."""
        self._ceiling = max(FEWEST_ROWS, count * 9 // 10)
        self.rows = min(self.rows, self._ceiling)


def is_smallest(asked: int, samples: int) -> bool:
    """Whether a page cannot be asked for in smaller pieces."""
    return asked <= 1 and samples <= FEWEST_ROWS
