"""How a sweep goes on: what happened is written down, what to do is decided by ``commands`` and carried out, all within
the write transaction of one request, so that no two agents ever get the same point.
"""

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Row

from .. import jsontext
from ..store import sweeps, trials
from .commands import ENDED, Decision, Give, Order, Progress, Resume, State, Stop, Trial, decide
from .config import SweepConfig, understand
from .search import arguments

Command = dict[str, Any]


def report(
    connection: Connection, sweep: Row[Any], agent_pk: int, has: Collection[str], now: int, silence: int
) -> list[Command]:
    """Take an agent's report and return its commands. ``silence`` is what makes an agent silent."""
    trials.reported(connection, agent_pk, has, now)
    sweeps.heard_of(connection, sweep.pk, now)
    config = understand(sweep.config)
    progress = _progress(connection, sweep, config, now, silence)
    decision = decide(State(sweep.state), has, progress)
    if decision is Order.EXIT:
        trials.told_to_exit(connection, agent_pk)
    _finish(connection, sweep, progress, now)
    return _carry_out(connection, sweep, config, agent_pk, decision, now)


def run_appeared(connection: Connection, run: Row[Any], now: int) -> None:
    """A run was made or set up again: where it belongs to a sweep, that is going on."""
    sweep = sweeps.find(connection, run.project_pk, run.sweep_name) if run.sweep_name else None
    if sweep is None:
        return
    trials.appeared(connection, sweep.pk, run.name)
    begun = {"state": State.RUNNING.value} if sweep.state == State.PENDING.value else {}
    sweeps.change(connection, sweep.pk, now, {"heartbeat_at": now, **begun})


def run_ended(connection: Connection, run: Row[Any], now: int, silence: int) -> None:
    """A run has ended: with the last one ends its sweep, even if no agent asks any more."""
    sweep = sweeps.find(connection, run.project_pk, run.sweep_name) if run.sweep_name else None
    if sweep is None:
        return
    sweeps.change(connection, sweep.pk, now, {"heartbeat_at": now})
    config = understand(sweep.config)
    _finish(connection, sweep, _progress(connection, sweep, config, now, silence), now)


def _finish(connection: Connection, sweep: Row[Any], progress: Progress, now: int) -> None:
    if State(sweep.state) in (State.PENDING, State.RUNNING) and progress.is_done:
        sweeps.change(connection, sweep.pk, now, {"state": State.FINISHED.value})


def _progress(
    connection: Connection, sweep: Row[Any], config: SweepConfig, now: int, silence: int
) -> Progress:
    rows = trials.open_trials(connection, sweep, ENDED)
    return Progress(
        trials=_trials(rows, now, silence),
        used=trials.used(connection, sweep.pk),
        following=sweep.next_number,
        total=config.total,
        repeats=config.is_grid,
    )


def _trials(rows: Sequence[Row[Any]], now: int, silence: int) -> list[Trial]:
    return [
        Trial(
            pk=row.pk,
            number=row.number,
            run_name=row.run_name,
            agent_pk=row.agent_pk,
            attempts=row.attempts,
            run_state=row.run_state,
            appeared=row.appeared,
            acknowledged=row.acknowledged,
            listed=row.run_name in jsontext.loads(row.has),
            silent=row.heartbeat_at < now - silence,
            heard_since=row.heartbeat_at > row.given_at,
        )
        for row in rows
    ]


def _carry_out(
    connection: Connection,
    sweep: Row[Any],
    config: SweepConfig,
    agent_pk: int,
    decision: Decision,
    now: int,
) -> list[Command]:
    if isinstance(decision, Stop):
        return [{"type": "stop", "run_id": name} for name in decision.runs]
    if isinstance(decision, Resume):
        trial = decision.trial
        trials.give_again(connection, trial.pk, agent_pk, trial.attempts, now)
        return [_command("resume", sweep, config, trial.run_name, trial.number)]
    if isinstance(decision, Give):
        name = _give(connection, sweep, agent_pk, decision, now)
        sweeps.change(connection, sweep.pk, now, {})
        return [_command("run", sweep, config, name, decision.number)]
    return [{"type": "exit"}] if decision is Order.EXIT else []


def _give(connection: Connection, sweep: Row[Any], agent_pk: int, decision: Give, now: int) -> str:
    lost = decision.again
    if lost is None:
        return trials.give(connection, sweep, agent_pk, decision.number, 1, now)
    if lost.agent_pk == agent_pk and not lost.appeared and not lost.acknowledged:
        # Perhaps only the answer was lost. Should both reach the agent, it is still one run.
        trials.give_again(connection, lost.pk, agent_pk, lost.attempts + 1, now)
        return lost.run_name
    trials.replaced(connection, lost.pk)
    attempts = 1 if lost.deleted else lost.attempts + 1
    return trials.give(connection, sweep, agent_pk, decision.number, attempts, now)


def _command(kind: str, sweep: Row[Any], config: SweepConfig, run_name: str, number: int) -> Command:
    return {
        "type": kind,
        "run_id": run_name,
        # An agent with a command line stumbles over a program that is not a text; one with a function never looks.
        "program": config.raw.get("program") or "",
        "args": arguments(config.point(sweep.seed, number)),
    }
