"""Which run of a sweep is the best: asking for it, and orders as sweeps have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtap.errors import InvalidRequestError
from runtap.run_object import Run
from runtap.spellings import snake
from runtap.v1 import sweeps_pb2
from runtap.values import check_text

if TYPE_CHECKING:
    from runtap.session import Session

_COLUMNS = frozenset(
    ("name", "display_name", "state", "created_at", "heartbeat_at", "updated_at", "duration", "group", "job_type",
     "username", "sweep")
)  # fmt: skip
"""Names in an order that are columns; every other name is a metric's."""
_ROOTS = ("summary_metrics.", "summary.", "config.", "tags.")


@dataclass(frozen=True)
class BestRun:
    """What there is to tell of the best run of a sweep."""

    run: Run | None
    value: float | None
    """What decided; None where no number did."""
    warning: str
    """Why there is none, or what to know of it; empty when there is nothing to say."""


def best(session: Session, path: str, order: str, pick: str) -> BestRun:
    """Asks for the best run of a sweep; see `Sweep.best_run`."""
    check_text(order, "order")
    if pick not in ("last", "min", "max"):
        message = f'pick is "last", "min" or "max", not {pick!r}'
        raise InvalidRequestError(
            message, ValueError(message), reason="INVALID_FIELD", metadata={"field": "pick"}
        )
    request = sweeps_pb2.GetBestRunRequest(
        path=path,
        order=order_key(order) if order else "",
        pick=sweeps_pb2.MetricPick.Value(f"METRIC_PICK_{pick.upper()}"),
        options=session.options(),
    )
    answer: sweeps_pb2.GetBestRunResponse = session.call("sweeps.GetBestRun", request)
    freshness = session.fresh(answer.freshness, f"the best run of sweep {path}")
    return BestRun(
        run=Run(session, answer.run, freshness) if answer.HasField("run") else None,
        value=answer.value if answer.HasField("value") else None,
        warning=answer.warning,
    )


def order_key(text: str) -> str:
    """An order as sweeps have it, where a bare name is a metric's, as lists of runs have it, with its sign."""
    sign, name = (text[0], text[1:]) if text[0] in "+-" else ("-", text)
    if snake(name) in _COLUMNS:
        return sign + snake(name)
    return sign + name if name.startswith(_ROOTS) or not name else f"{sign}summary_metrics.{name}"
