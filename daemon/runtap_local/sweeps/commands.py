"""What an agent is told when it reports: one pure decision over what was handed out before.

An agent learns from its command what to do next: ``run`` (a point), ``resume`` (a run that was preempted), ``stop`` (a
run of a canceled sweep), ``exit``, or nothing, which means: ask again. It takes one command at a time and asks every
five seconds, naming the runs it has.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from ..faults import BadRequest

ENDED: Final = ("finished", "failed", "killed", "aborted")
"""A run in one of these states has used up its point, well or not."""
MAX_ATTEMPTS: Final = 3
"""How often a point is tried whose runs crash or never begin: one that takes its machine down must not do so for
ever."""


class State(Enum):
    """The states of a sweep on the wire."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    PAUSED = "PAUSED"
    FINISHED = "FINISHED"
    CANCELED = "CANCELED"


_LIVE: Final = (State.PENDING, State.RUNNING, State.PAUSED)


@dataclass(frozen=True, slots=True)
class Trial:
    """A point that was handed out, and how it stands. Runs that have ended are not among them."""

    pk: int
    number: int
    run_name: str
    agent_pk: int
    attempts: int
    run_state: str | None
    """None: there is no such run."""
    appeared: bool
    """The run was there once."""
    acknowledged: bool
    """The agent said that it has it."""
    listed: bool
    """The agent has it, as it said last."""
    silent: bool
    """The agent has not been heard of for as long as makes a run crashed."""
    heard_since: bool
    """The agent has reported since it was given the point."""

    @property
    def deleted(self) -> bool:
        """The run was there and is not any more: this is how people ask for a point to be searched again."""
        return self.appeared and self.run_state is None


class Standing(Enum):
    """What can be done about a trial."""

    BUSY = "wait for it"
    OVER = "nothing more will come of it"
    LOST = "hand its point out again"
    PREEMPTED = "resume its run"


def standing(trial: Trial) -> Standing:
    """Judge a trial whose run has not ended."""
    if not trial.silent and (trial.listed or not trial.heard_since):
        return Standing.BUSY  # the agent has it, or cannot have said yet
    if trial.run_state == "preempted":
        return Standing.PREEMPTED
    if trial.run_state == "crashed":
        # The agent lives: its program died, which counts as a failure. Both are gone: the machine is.
        return _again(trial) if trial.silent else Standing.OVER
    if trial.run_state is not None:
        return Standing.BUSY
    if trial.deleted:
        return Standing.LOST
    if trial.acknowledged:
        return _again(trial) if trial.silent else Standing.OVER  # it ran, and told us nothing
    return _again(trial)


def _again(trial: Trial) -> Standing:
    return Standing.LOST if trial.attempts < MAX_ATTEMPTS else Standing.OVER


@dataclass(frozen=True, slots=True)
class Stop:
    """End these runs."""

    runs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Give:
    """Begin the point of a number: a new one, or that of a trial that got lost."""

    number: int
    again: Trial | None = None


@dataclass(frozen=True, slots=True)
class Resume:
    """Go on with a run that was preempted."""

    trial: Trial


class Order(Enum):
    """What needs no more to be said."""

    WAIT = "ask again"
    EXIT = "there is nothing more to do"


Decision = Stop | Give | Resume | Order


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a sweep is. ``used`` points of ``total`` (None: endless) are out; ``following`` is the next number."""

    trials: Sequence[Trial]
    used: int
    following: int
    total: int | None
    repeats: bool
    """A deleted run's own point is searched again, as in a grid; otherwise a new one takes its place."""

    @property
    def is_done(self) -> bool:
        """Whether every point was handed out and nothing more will come of any."""
        if self.total is None or self.used < self.total:
            return False
        over_cap = self.used > self.total
        return all(
            found is Standing.OVER or (found is Standing.LOST and over_cap)
            for found in map(standing, self.trials)
        )


def decide(state: State, has: Collection[str], progress: Progress) -> Decision:
    """What an agent that ``has`` these runs should do."""
    if state is State.CANCELED:
        return Stop(tuple(sorted(has))) if has else Order.EXIT
    if has or state is State.PAUSED:
        return Order.WAIT
    if state is State.FINISHED:
        return Order.EXIT
    lost = None
    for trial in progress.trials:
        found = standing(trial)
        if found is Standing.PREEMPTED:
            return Resume(trial)
        if found is Standing.LOST and lost is None:
            lost = trial
    total = progress.total
    if lost is not None and (total is None or progress.used <= total):
        new = lost.deleted and not progress.repeats
        return Give(progress.following if new else lost.number, lost)
    if total is None or progress.used < total:
        return Give(progress.following)
    return Order.EXIT if progress.is_done else Order.WAIT


def changed_state(now: State, text: str) -> State:
    """The state that a request asks for, where it can be had. Raises BadRequest."""
    try:
        wanted = State(text.upper())
    except ValueError:
        known = ", ".join(state.value for state in State)
        raise BadRequest(f"unknown sweep state {text[:80]!r}; known are {known}") from None
    if wanted is now or wanted is State.RUNNING:
        return wanted  # even what was ended can be taken up again
    if wanted is State.PENDING or now not in _LIVE:
        raise BadRequest(f"a sweep that is {now.value} cannot become {wanted.value}")
    return wanted
