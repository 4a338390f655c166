"""Runs for commands: one stream from the daemon, its progress, and what is missing at its end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from runtap.cli.output import progress
from runtap.cli.run_columns import Column
from runtap.documents import Documents
from runtap.errors import IncompleteError
from runtap.freshness import from_message
from runtap.run_object import Run

if TYPE_CHECKING:
    from runtap.session import Session
    from runtap.v1 import runs_pb2


@dataclass
class RunStream:
    """The runs that a filter chooses, in order. What could not be read is told by `check`, after the others."""

    session: Session
    project: str
    filter_json: str = ""
    order: str = ""
    limit: int = 0
    """Most runs to give; 0: all."""
    show_progress: bool = False
    more: bool = field(default=False, init=False)
    """True at the end when the limit left runs out."""
    _unread: list[str] = field(default_factory=list, init=False)
    _reason: str = field(default="", init=False)

    def documents(self, columns: Sequence[Column]) -> Iterator[Documents]:
        """The runs with what these columns need."""
        for message, _ in self._messages([column.mask for column in columns]):
            yield Documents(self.session, message)

    def runs(self) -> Iterator[Run]:
        """The runs with everything."""
        for message, answer in self._messages([]):
            yield Run(self.session, message, from_message(answer.freshness))

    def check(self) -> None:
        """Raises IncompleteError when runs are missing."""
        if self._unread:
            count = len(self._unread)
            many = (
                f"{count} runs could not be read, the first is" if count > 1 else "one run could not be read:"
            )
            raise IncompleteError(f"{many} {self._unread[0]}")
        if self._reason:
            raise IncompleteError(f"runs are missing: {self._reason}")

    def _messages(self, mask: Sequence[str]) -> Iterator[tuple[runs_pb2.Run, runs_pb2.StreamRunsResponse]]:
        given = 0
        with progress("runs", shown=self.show_progress) as tell:
            for answer in self.session.stream("runs.StreamRuns", self._request(mask)):
                self.session.fresh(answer.freshness, "the list of runs")
                self._unread += [f"{item.item}: {item.message}" for item in answer.errors]
                self._reason = answer.incomplete_reason or self._reason
                for message in answer.runs:
                    if self.limit and given == self.limit:
                        self.more = True
                        return
                    given += 1
                    yield message, answer
                tell(given, answer.progress.total if answer.progress.HasField("total") else None)

    def _request(self, mask: Sequence[str]) -> runs_pb2.StreamRunsRequest:
        from runtap.v1 import runs_pb2

        request = runs_pb2.StreamRunsRequest(
            project=self.project,
            defaults=self.session.defaults(),
            filter_json=self.filter_json,
            order=self.order,
            limit=self.limit + 1 if self.limit else 0,  # one more tells whether there are more
            options=self.session.options(),
        )
        request.read_mask.paths.extend(dict.fromkeys(mask))
        return request
