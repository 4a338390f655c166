"""How fast an account may send, decided without a loop, a server or a sleep."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.upstream.api import Urgency
from runtapd.upstream.budget import HEARD_WITHIN_S, OWN_PAUSE_S, Budget, Told
from tests.support.limited_upstream import FixedWindow, Limiter, TokenBucket
from tests.support.simulated_sending import Simulation

BULK, INTERACTIVE = Urgency.BULK, Urgency.INTERACTIVE


class Story:
    """A budget and its clock."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.budget = Budget(lambda: self.now)

    def wait_s(self, urgency: Urgency = BULK) -> float:
        return max(0.0, self.budget.ready_at(urgency) - self.now)

    def answered(self, told: Told, *, after_s: float = 0.0) -> None:
        number = self.budget.sent()
        self.now += after_s
        self.budget.heard(number, told)


@pytest.fixture
def story() -> Story:
    return Story()


def test_headers_are_read_as_floats_and_nonsense_is_not_told() -> None:
    def told(**headers: str) -> Told:
        return Told.of(429, {name.replace("_", "-"): value for name, value in headers.items()}, 0.0)

    assert told(ratelimit_remaining="3.0", ratelimit_reset="0.25") == Told(429, 3.0, 0.25)
    assert told(ratelimit_remaining="3") == Told(429), "one without the other says nothing"
    for wrong in ("-1", "nan", "inf", "soon", "", "1e9"):
        assert told(ratelimit_remaining="3", ratelimit_reset=wrong) == Told(429), wrong
    assert told(retry_after="1.5").retry_after_s == 1.5
    assert told(retry_after="Thu, 01 Jan 1970 00:00:09 GMT").retry_after_s == 9
    assert Told.of(200, {"retry-after": "9"}, 0.0).retry_after_s is None
    assert Told.of(503, {"retry-after": "9"}, 0.0).retry_after_s == 9


@given(st.dictionaries(st.sampled_from(["ratelimit-remaining", "ratelimit-reset", "retry-after"]), st.text()))
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    story = Story()
    story.answered(Told.of(429, headers, story.now))
    assert math.isfinite(story.wait_s()) and math.isfinite(story.wait_s(INTERACTIVE))


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("urgency", Urgency)
def test_a_pause_is_for_all(story: Story, status: int, urgency: Urgency) -> None:
    story.answered(Told(status, retry_after_s=7.0))
    assert story.wait_s(urgency) == pytest.approx(7) and story.budget.paused_s == pytest.approx(7)
    story.now += 7
    assert story.wait_s(urgency) == 0 and not story.budget.paused_s


def test_a_longer_pause_is_not_cut_by_a_shorter_one(story: Story) -> None:
    first, second = story.budget.sent(), story.budget.sent()
    story.budget.heard(first, Told(429, retry_after_s=9))
    story.budget.heard(second, Told(429, retry_after_s=1))
    assert story.wait_s() == pytest.approx(9)


def test_a_refusal_without_a_word_pauses_too(story: Story) -> None:
    story.answered(Told(429))
    assert story.wait_s() == pytest.approx(OWN_PAUSE_S)


def test_one_request_finds_out_what_is_allowed_and_one_that_hangs_does_not_stop_the_others(
    story: Story,
) -> None:
    story.budget.sent()
    assert story.wait_s(INTERACTIVE) == 0, "not behind a bulk one"
    assert story.wait_s() == pytest.approx(HEARD_WITHIN_S)
    story.now += HEARD_WITHIN_S
    assert story.wait_s() == 0


def test_when_a_window_is_over_one_request_finds_out_again(story: Story) -> None:
    story.answered(Told(200))  # one that told nothing, from before or from elsewhere
    for _ in range(200):
        story.answered(Told(200, remaining=10, reset_s=60))
    story.now += 61
    assert story.wait_s() == 0
    story.budget.sent()
    assert story.wait_s() == pytest.approx(HEARD_WITHIN_S)


def test_the_first_half_of_a_window_is_free_and_the_rest_is_spread(story: Story) -> None:
    story.answered(Told(200, remaining=10, reset_s=60))
    for _ in range(5):
        assert story.wait_s() == 0
        story.budget.sent()
    assert story.wait_s() == pytest.approx(12) and story.wait_s(INTERACTIVE) == 0
    for _ in range(5):
        assert story.wait_s(INTERACTIVE) == 0
        story.budget.sent()
    assert story.wait_s(INTERACTIVE) == pytest.approx(60), "until the window ends"
    story.now += 60
    assert story.wait_s(INTERACTIVE) == 0


def test_what_others_take_from_a_window_is_seen(story: Story) -> None:
    story.answered(Told(200, remaining=100, reset_s=60))
    story.answered(Told(200, remaining=0, reset_s=60))
    assert story.wait_s(INTERACTIVE) == pytest.approx(60)
    story.now += 30
    story.answered(Told(200, remaining=90, reset_s=60))
    assert story.wait_s() == 0, "a new window has begun"


def test_a_late_report_of_a_window_gives_nothing_back(story: Story) -> None:
    story.answered(Told(200, remaining=10, reset_s=60))
    early, late = story.budget.sent(), story.budget.sent()
    story.budget.heard(late, Told(200, remaining=1, reset_s=60))
    story.budget.heard(early, Told(200, remaining=9, reset_s=60))
    story.budget.sent()
    assert story.wait_s(INTERACTIVE) == pytest.approx(60)


def test_a_silent_server_is_asked_by_more_at_once_as_answers_come(story: Story) -> None:
    for _ in range(50):
        story.answered(Told(200))
    story.budget.sent()
    assert story.wait_s() == 0
    story.budget.sent()
    assert story.wait_s() == pytest.approx(HEARD_WITHIN_S)


def test_a_refusal_halves_the_rate_once_for_all_under_way_and_it_grows_back(story: Story) -> None:
    for _ in range(100):
        story.answered(Told(200), after_s=0.01)
    numbers = [story.budget.sent() for _ in range(3)]
    for number in numbers:
        story.budget.heard(number, Told(429, retry_after_s=1.0))
    story.now += 1
    assert story.wait_s() == 0
    story.answered(Told(200))
    assert story.wait_s() == pytest.approx(1 / 25, rel=0.05), "a hundred in two seconds were too many"
    for _ in range(60):
        story.now += 1
        story.answered(Told(200))
    story.answered(Told(200))
    assert 1 / 50 < story.wait_s() < 1 / 40


def test_hours_of_silence_do_not_make_a_rate(story: Story) -> None:
    story.answered(Told(200))
    story.now += 7200
    for _ in range(100):
        story.answered(Told(200), after_s=0.01)
    story.answered(Told(429, retry_after_s=1.0))
    story.now += 1
    story.answered(Told(200))
    assert 0 < story.wait_s() < 0.1


def test_interactive_ones_run_ahead_of_the_pace_but_not_for_ever(story: Story) -> None:
    for _ in range(10):
        story.answered(Told(200), after_s=0.1)
    story.answered(Told(429, retry_after_s=1.0))
    story.now += 1
    sent = 0
    while not story.wait_s(INTERACTIVE):
        story.answered(Told(200))
        sent += 1
    assert 3 <= sent <= 8 and story.wait_s() > story.wait_s(INTERACTIVE)


LIMITERS: dict[str, Callable[[], Limiter]] = {
    "10 in half a second": lambda: FixedWindow(10, 0.5),
    "50 in a second": lambda: FixedWindow(50, 1.0),
    "150 in 5 seconds": lambda: FixedWindow(150, 5.0),
    "200 in a minute": lambda: FixedWindow(200, 60.0),
    "bucket of 5, 5 a second": lambda: TokenBucket(5, 5),
    "bucket of 20, 20 a second": lambda: TokenBucket(20, 20),
    "bucket of 10, 50 a second": lambda: TokenBucket(50, 10),
    "bucket of 1, 10 a second": lambda: TokenBucket(10, 1),
}


@pytest.mark.parametrize("make", LIMITERS.values(), ids=LIMITERS)
@pytest.mark.parametrize("latency_s", [0.02, 0.1])
def test_a_limit_is_kept_where_it_is_told(make: Callable[[], Limiter], latency_s: float) -> None:
    simulation = Simulation(make(), latency_s)
    simulation.run(400)
    assert simulation.refused <= 1


@pytest.mark.parametrize("make", LIMITERS.values(), ids=LIMITERS)
@pytest.mark.parametrize("latency_s", [0.02, 0.1])
def test_a_limit_is_learnt_where_it_is_not_told(make: Callable[[], Limiter], latency_s: float) -> None:
    simulation = Simulation(make(), latency_s, tells=False)
    simulation.run(400)
    assert simulation.refused <= 400 // 50


def test_a_server_without_limits_is_asked_at_full_speed_in_the_end() -> None:
    simulation = Simulation(None, 0.1)
    simulation.run(400)
    began = simulation.now
    simulation.run(400)
    assert simulation.now - began == pytest.approx(400 / 8 * 0.1, rel=0.1)
