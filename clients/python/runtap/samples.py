"""Samples of histories as the daemon chooses them: asked for and put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from runtap.cautions import caution
from runtap.errors import DaemonError
from runtap.row_groups import METRICS, MissingRowsWarning, RowGroup, load
from runtap.v1 import history_pb2

if TYPE_CHECKING:
    from runtap.session import Session


@dataclass(frozen=True)
class Sample:
    """Some rows of a history, and what they were chosen from."""

    groups: Sequence[RowGroup]
    total: int | None
    """Rows they were chosen from; None when unknown."""
    with_all_keys: int
    """How many of those have all keys that were asked for."""
    unknown_keys: Sequence[str]
    """Keys that were asked for and that no row has, the x axis among them."""
    chosen: bool = False
    """Whether the server chose these rows, because all would take long to fetch."""

    @property
    def length(self) -> int:
        return sum(group.length for group in self.groups)


def read_sample(session: Session, request: history_pb2.SampleHistoryRequest) -> Sample:
    """The sample; when the daemon goes away meanwhile, that of the next one. Warns of rows that the server withholds,
    and of old ones."""
    try:
        messages = list(session.stream("history.SampleHistory", request, meanwhile=load))
    except DaemonError:
        messages = list(session.stream("history.SampleHistory", request))
    first = messages[0]
    # System metrics are a sample by nature.
    chosen = first.server_sampled and first.HasField("total_rows")
    if first.server_sampled and not chosen and request.stream == METRICS:
        caution(f"{session.base_url} did not give all rows of {request.path}", MissingRowsWarning)
    session.fresh(first.freshness, f"the history of {request.path}")
    return Sample(
        groups=_groups(messages),
        total=first.total_rows if first.HasField("total_rows") else None,
        with_all_keys=first.rows_with_all_keys,
        unknown_keys=first.unknown_keys,
        chosen=chosen,
    )


def _groups(messages: Sequence[history_pb2.SampleHistoryResponse]) -> list[RowGroup]:
    groups: list[RowGroup] = []
    unfinished = False
    for message in messages:
        if not unfinished:
            groups.append(RowGroup(message.rows))
        if message.arrow_ipc:
            groups[-1].add(message.arrow_ipc)
        unfinished = message.more_columns
    return groups
