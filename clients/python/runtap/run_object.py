"""`Run`: one run as read from the server, with edits on top, and what can be asked of it and sent.

Named so because `runtap.run` is a name of the wandb SDK, which runtap passes on. What a run has is `run_attributes.py`,
sending is `writes.py`, rows are `history.py`.
"""

from __future__ import annotations

import datetime
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

from runtap import writes
from runtap.edits import ABSENT, apply_tags, changes
from runtap.errors import CommError
from runtap.freshness import Freshness
from runtap.run_attributes import RunAttributes, RunPath, User
from runtap.run_summary import Summary
from runtap.v1 import runs_pb2
from runtap.values import plain

if TYPE_CHECKING:
    from runtap.history import HistoryScan
    from runtap.history_table import HistoryTable
    from runtap.session import Session
    from runtap.sweep_objects import Sweep

__all__ = ["Run", "RunPath", "User"]

UNFINISHED = frozenset({"running", "pending", "preempting", "preempted"})
"""States that a run leaves again by itself."""


class Run(RunAttributes):
    """One run. Made by `api.run(...)` and `api.runs(...)`, not by hand.

    Everything here was read when the run was; `load()` reads again and `freshness` says how old it is. Setting
    `name`, `notes`, `description`, `group`, `job_type` or `tags`, and changing `config` or `summary`, changes this
    object only, until `update()`. Attributes may be written in camelCase too (`run.displayName`).
    """

    # Of the class, as most runs of a long list are never asked.
    _sweep: Sweep | None = None
    _sweep_known = False

    def __init__(self, session: Session, message: runs_pb2.Run, freshness: Freshness) -> None:
        super().__init__(session, message, freshness)
        self._summary: Summary | None = None

    @property
    def summary(self) -> Summary:
        """The last values; changes are sent by `summary.update()` or `update()`."""
        # Made when wanted: most runs of a long list are never asked. Two of them would be views of the same dict.
        if self._summary is None:
            self._summary = Summary(self)
        return self._summary

    # What asks the server

    @property
    def sweep(self) -> Sweep | None:
        """Its sweep, read at first touch and kept until `load()`; None when it belongs to none, or to a deleted one.

        For the id alone there is `sweep_name`, which asks nobody.

        Raises:
            CommError: when it cannot be read.
        """
        if not self._sweep_known:
            self._sweep = self._read_sweep()
            self._sweep_known = True
        return self._sweep

    def load(self, force: bool = False) -> Run:
        """Reads the run again; edits that were not sent survive.

        Arguments:
            force: asks the server in any case; otherwise an answer as young as `Api` demands may come from the cache.

        Returns:
            This run.

        Raises:
            RunNotFoundError: when it is gone. CommError: when it cannot be read.
        """
        request = runs_pb2.GetRunRequest(path=self._message.path, options=self._session.options(force=force))
        answer: runs_pb2.GetRunResponse = self._session.call("runs.GetRun", request)
        self._adopt(answer.run, writes.Change())
        self._freshness = self._session.fresh(answer.freshness, f"run {answer.run.path}")
        self._sweep, self._sweep_known = None, False
        return self

    def load_full_data(self, force: bool = False) -> Run:
        """For scripts that wandb gave half a run: here a run is whole. `force` reads it again, as `load` does."""
        return self.load(force=True) if force else self

    def wait_until_finished(self, timeout: float | None = None, *, poll_s: float = 5.0) -> None:
        """Waits until the run is over, however it ended; `state` then says how.

        Arguments:
            timeout: seconds to wait at most; None waits for ever.
            poll_s: seconds between two looks.

        Raises:
            TimeoutError: when it still runs after `timeout`. CommError: when it cannot be read.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while self.load(force=True).state in UNFINISHED:
            if end is not None and time.monotonic() + poll_s > end:
                raise TimeoutError(f"{self._message.path} is still {self.state} after {timeout:g} s")
            time.sleep(poll_s)

    def update(self, *, wait: bool = True, expect: Mapping[str, Any] | None = None) -> writes.Write | None:
        """Sends what was changed in this object since it was read, and nothing else.

        Changes of others to other keys stay. Where somebody else changed the same key meanwhile, this change wins and a
        ConflictWarning shows both values, unless `expect` says otherwise. Afterwards the object holds the server's
        state.

        Arguments:
            wait: True waits until the server has it, at most 30 s. False returns once it is safe on this machine.
            expect: what must hold at the server, else nothing is sent: `{"config.lr": 0.1, "tags": ["a"]}`. None as a
                value means that there is nothing.

        Returns:
            What became of the change; None when nothing had changed.

        Raises:
            WriteQueued: it is safe on this machine, and not on the server within 30 s. It goes on by itself.
            ConflictError: `expect` does not hold. NotHonouredError: the server keeps something else.
            WriteRefusedError: the server refused it. InvalidRequestError: a value cannot be stored.
        """
        return self._send(("config", "summary", "fields", "tags"), wait=wait, expect=expect)

    def save(self) -> writes.Write | None:
        """The same as `update()`."""
        return self.update()

    def diff(self, other: Run) -> dict[str, tuple[Any, Any]]:
        """The config keys in which two runs differ, with this run's value and the other's; None where a run has none.

        Keys of nested dicts are dotted. Unsent edits count.
        """
        differences = changes(plain(self.config, "config"), other.config, "config")
        pairs = {".".join(edit.path): (edit.base, edit.value) for edit in differences}
        return {
            key: (None if mine is ABSENT else mine, None if theirs is ABSENT else theirs)
            for key, (mine, theirs) in sorted(pairs.items())
        }

    def history(
        self,
        samples: int = 500,
        keys: Iterable[str] | None = None,
        x_axis: str = "_step",
        pandas: bool = True,
        stream: str = "default",
        *,
        how: Literal["outer", "inner"] = "outer",
        columns: Literal["guide", "exact"] = "guide",
    ) -> Any:
        """The rows the program logged, at most `samples` of them: always the same ones, spread evenly, with the first,
        the last, and every metric's least and greatest value.

        Arguments:
            samples: most rows to return. `history_table()` and `scan_history()` give all.
            keys: only these metrics, and only rows that have at least one of them.
            x_axis: what the rows are spread over; the column that comes first when `keys` are given.
            pandas: True returns a `pandas.DataFrame` with NaN where nothing was logged, False a list of dicts.
            stream: "default" for metrics; "events" or "system" for the system metrics.
            how: "inner" gives only rows that have all of `keys`.
            columns: "exact" gives exactly `x_axis` and `keys`; otherwise `_timestamp` comes last.

        Raises:
            ImportError: without pandas, saying how to install it.
            InvalidRequestError: (a ValueError) for arguments that mean nothing. CommError: when it cannot be read.
        """
        from runtap import frames

        wanted = frames.wanted(samples, keys, x_axis, stream, how, columns)
        return frames.history(self._session, self._message.path, wanted, pandas=pandas)

    def scan_history(
        self,
        keys: Iterable[str] | None = None,
        page_size: int = 1000,
        min_step: int | None = None,
        max_step: int | None = None,
        use_cache: bool = True,
    ) -> HistoryScan:
        """All rows the program logged, as dicts, read while you iterate.

        Arguments:
            keys: only these metrics and `_step`, and only rows that have all of them.
            page_size: most rows the daemon asks of the server at once; with the default it chooses.
            min_step: first step wanted. max_step: first step no longer wanted.
            use_cache: False reads everything from the server anew.

        Raises:
            InvalidRequestError: (a ValueError) for arguments that mean nothing. CommError: while iterating.
        """
        from runtap.history import HistoryScan

        return HistoryScan(self._session, self._message.path, keys, page_size, min_step, max_step, use_cache)

    def history_table(
        self,
        keys: Iterable[str] | None = None,
        *,
        how: Literal["outer", "inner"] = "outer",
        min_step: int | None = None,
        max_step: int | None = None,
        stream: str = "default",
        last: int | None = None,
    ) -> HistoryTable:
        """All rows the program logged, read now, as columns: the fast way to a frame, and the exact one.

        It keeps apart what was not logged, logged as null, and logged as NaN, and rounds no integer.

        Arguments:
            keys: only these metrics and `_step`, and only rows that have at least one of them.
            how: "inner" gives only rows that have all of `keys`.
            min_step: first step wanted. max_step: first step no longer wanted.
            stream: "default" for metrics; "events" or "system" for the system metrics.
            last: only the last so many of these rows; None for all.

        Returns:
            A HistoryTable: `to_pandas()`, `to_arrow()`, `to_polars()`, `rows()`.

        Raises:
            InvalidRequestError: (a ValueError) for arguments that mean nothing. CommError: when it cannot be read.
        """
        from runtap.history_table import read

        return read(self._session, self._message.path, keys, how, min_step, max_step, stream, last)

    # What others see

    def __repr__(self) -> str:
        pending = ", pending write" if self._message.pending_writes else ""
        return f"<Run {self._message.path} ({self.state}{pending})>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Run) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, str]:
        return self._session.account, self._message.path

    def _read_sweep(self) -> Sweep | None:
        from runtap.sweep_objects import Sweep, read

        if not self.sweep_name:
            return None
        try:
            return Sweep(
                self._session, *read(self._session, f"{self.entity}/{self.project}/{self.sweep_name}")
            )
        except CommError as error:
            if error.reason != "SWEEP_NOT_FOUND":
                raise
            return None

    def _send(
        self, parts: Collection[str], *, wait: bool, expect: Mapping[str, Any] | None = None
    ) -> writes.Write | None:
        """Sends the changes of these parts (`config`, `summary`, `fields`, `tags`) and takes the server's answer."""
        fields = self._changed_fields() if "fields" in parts else {}
        change = writes.Change(
            config=tuple(self._documents.changes("config")) if "config" in parts else (),
            summary=tuple(self._documents.changes("summary")) if "summary" in parts else (),
            fields=fields,
            base_fields={name: self._text_at_server(name) for name in fields},
            tags=self._changed_tags() if "tags" in parts else None,
        )
        if not change:
            return None
        answer = writes.send(self._session, self._message.path, change, wait=wait, expect=expect)
        # Also of a queued write: it is this object's state from now on, and must not be sent twice.
        if answer.HasField("run"):
            self._adopt(answer.run, change)
        pending = answer.run.pending_writes if answer.HasField("run") else 1
        if pending:
            self._freshness = replace(self._freshness, pending_writes=pending)
        else:
            self._freshness = Freshness(datetime.datetime.now(datetime.UTC), "upstream")
        return writes.outcome(answer.write, wait=wait)

    def _adopt(self, message: runs_pb2.Run, sent: writes.Change) -> None:
        """Takes a newer state of the run; edits that are not in `sent` survive."""
        unsent = {
            name: text
            for name, text in self._changed_fields().items()
            if (sent.fields or {}).get(name, ABSENT) != text
        }
        tag_edit = self._changed_tags()
        self._documents.adopt(message, {"config": sent.config, "summary": sent.summary})
        self._texts = unsent
        if self._tags is not None:
            self._tags[:] = apply_tags(None if tag_edit == sent.tags else tag_edit, message.tags)
