"""When to ask again."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.upstream import retry

NOW = 1_700_000_000.0


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_retried(status: int) -> None:
    assert retry.may_retry(status)


@pytest.mark.parametrize("status", [301, 400, 401, 403, 404, 405, 409, 410, 413, 422, 501])
def test_final(status: int) -> None:
    assert not retry.may_retry(status)


@pytest.mark.parametrize("status", [402, 405, 406, 415, 418, 451, 499])
def test_odd(status: int) -> None:
    assert retry.is_odd(status) and not retry.may_retry(status)


def test_a_status_is_retried_final_or_odd() -> None:
    for status in range(100, 700):
        assert retry.may_retry(status) + retry.is_odd(status) <= 1


@given(st.integers(1, 5000), st.floats(0.01, 1e6), st.integers())
def test_backoff_grows_to_a_bound_and_never_passes_the_deadline(
    errors: int, remaining: float, seed: int
) -> None:
    again = retry.decide(errors=errors, retry_after_s=None, remaining_s=remaining, draw=random.Random(seed))
    if again is not None:
        assert 0 <= again.after_s < remaining
        assert again.after_s <= min(retry.LONGEST_WAIT_S, retry.FIRST_WAIT_S * 2.0 ** min(errors, 16))


@given(st.floats(0, 1e5), st.floats(0, 1e5), st.integers())
def test_what_the_server_asks_for_is_kept_or_given_up(asked: float, remaining: float, seed: int) -> None:
    again = retry.decide(errors=3, retry_after_s=asked, remaining_s=remaining, draw=random.Random(seed))
    if again is None:
        assert max(asked, retry.SHORTEST_PAUSE_S) + 0.1 >= remaining
    else:
        assert max(asked, retry.SHORTEST_PAUSE_S) <= again.after_s < remaining


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("nan", None),
        ("1.5", 1.5),
        ("-3", 0.0),
        ("inf", retry.LONGEST_PAUSE_S),
        ("1e999", retry.LONGEST_PAUSE_S),
        ("Tue, 14 Nov 2023 22:13:30 GMT", 10.0),
        ("Tue, 14 Nov 2023 22:13:10 GMT", 0.0),
        ("Tue, 14 Nov 2023 22:13:30", 10.0),
        ("Tue, 14 Nov 2023 22:13:30 -0000", 10.0),
        ("Tue, 14 Nov 2023 23:13:30 +0100", 10.0),
        ("Tuesday, 14-Nov-23 22:13:30 GMT", 10.0),
        ("Mon, 99 Foo 2023", None),
    ],
)
def test_reads_retry_after_in_both_forms(header: str | None, expected: float | None) -> None:
    assert retry.retry_after(header, NOW) == expected


@given(st.text(max_size=40))
def test_no_header_is_too_strange(header: str) -> None:
    found = retry.retry_after(header, NOW)
    assert found is None or (0 <= found <= retry.LONGEST_PAUSE_S and math.isfinite(found))
