"""`Sweep` and `Sweeps`: searches over hyperparameters. Attributes ask nobody: everything came with the sweep.

Named so because `runtap.sweep` is a name of the wandb SDK, which runtap passes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from runtap.best_run import best
from runtap.cautions import caution
from runtap.errors import CommError
from runtap.freshness import Freshness
from runtap.paged import Paged
from runtap.run_attributes import Path
from runtap.run_object import Run
from runtap.runs import Query, Runs
from runtap.spellings import BothSpellings
from runtap.v1 import sweeps_pb2
from runtap.values import json_text

if TYPE_CHECKING:
    from runtap.session import Session


class Sweep(BothSpellings):
    """One sweep. Made by `api.sweep(...)` and `project.sweeps()`, not by hand.

    Everything here was read when the sweep was; `load()` reads again. Attributes may be written in camelCase too
    (`sweep.bestLoss`).
    """

    _kind = "a sweep"

    def __init__(self, session: Session, message: sweeps_pb2.Sweep, freshness: Freshness) -> None:
        self._session = session
        self._message = message
        self._freshness = freshness
        self._config: dict[str, Any] | None = None
        self._runs: Runs | None = None

    @property
    def id(self) -> str:
        """The id in the path, eight characters."""
        return self._message.sweep_id

    @property
    def storage_id(self) -> str:
        """The server's own id of the sweep."""
        return self._message.storage_id

    @property
    def entity(self) -> str:
        """The owner of the project."""
        return self._message.entity

    @property
    def project(self) -> str:
        """The project."""
        return self._message.project

    @property
    def path(self) -> Path:
        """`[entity, project, sweep_id]`; `str(sweep.path)` joins them, and `api.sweep` takes either."""
        return Path((self._message.entity, self._message.project, self._message.sweep_id))

    @property
    def url(self) -> str:
        """The page people open."""
        return self._message.url

    @property
    def config(self) -> dict[str, Any]:
        """The configuration as a dict.

        Raises:
            CommError: when what the server holds is no YAML mapping; `config_yaml` has the text.
        """
        if self._config is None:
            self._config = _parsed(self._message)
        return self._config

    @property
    def config_yaml(self) -> str:
        """The configuration as the server holds it."""
        return self._message.config_yaml

    @property
    def name(self) -> str:
        """The name people read: as set, else that of the configuration, else the id."""
        try:
            configured = self.config.get("name")
        except CommError:
            configured = None
        return self._message.display_name or str(configured or self._message.sweep_id)

    @property
    def display_name(self) -> str | None:
        """The name as set on the server; None when never set."""
        return self._message.display_name or None

    @property
    def state(self) -> str:
        """`PENDING`, `RUNNING`, `PAUSED`, `FINISHED` or `CANCELED`; empty where the server does not say."""
        return self._message.state

    @property
    def method(self) -> str:
        """How it searches: `grid`, `random`, `bayes`; empty when unknown."""
        return self._message.method

    @property
    def order(self) -> str | None:
        """The order of runs in which the best by the configured metric comes first; None without a metric."""
        sign = "-" if self._message.maximize else "+"
        return f"{sign}summary_metrics.{self._message.metric}" if self._message.metric else None

    @property
    def best_loss(self) -> float | None:
        """The best value of the metric so far; None when there is none."""
        return self._message.best_loss if self._message.HasField("best_loss") else None

    @property
    def run_count(self) -> int | None:
        """Runs so far; None where the server does not say."""
        return self._message.run_count if self._message.HasField("run_count") else None

    @property
    def expected_run_count(self) -> int | None:
        """Runs there will be; None when unbounded or unknown."""
        return self._message.expected_run_count if self._message.HasField("expected_run_count") else None

    @property
    def created_at(self) -> str:
        """When it was made, in ISO 8601; empty where the server does not say."""
        return self._message.created_at

    @property
    def freshness(self) -> Freshness:
        """Where this came from, and how old it is."""
        return self._freshness

    @property
    def runs(self) -> Runs:
        """Its runs, the newest first, fetched when they are looked at; until `load()` always the same sequence."""
        if self._runs is None:
            query = Query(
                project="/".join(self.path[:2]),
                filter_json=json_text({"sweep": self.id}),
                sweep=str(self.path),
            )
            self._runs = Runs(self._session, query)
        return self._runs

    def best_run(
        self, order: str | None = None, *, pick: Literal["last", "min", "max"] = "last"
    ) -> Run | None:
        """The best run by the metric of the configuration. Runs without the metric, or with NaN, never win.

        Arguments:
            order: another metric or column, `-` (largest first) where it has no sign: `+loss`, `-config.lr`,
                `-created_at`.
            pick: which of a run's values counts: the last one, which is in its summary, or the smallest or largest of
                its whole history, for which the histories of all its runs are read.

        Returns:
            The run. None, with a warning, when no run has the metric; of a sweep that has no metric, with a warning,
            the newest run.

        Raises:
            InvalidRequestError: (a ValueError) when `order` or `pick` mean nothing. CommError: when it cannot be read.
        """
        found = best(self._session, str(self.path), order or "", pick)
        if found.warning:
            caution(found.warning, UserWarning)
        return found.run

    def load(self, force: bool = False) -> Sweep:
        """Reads the sweep again.

        Arguments:
            force: asks the server in any case; otherwise an answer as young as `Api` demands may come from the cache.

        Returns:
            This sweep.

        Raises:
            NotFoundError: when it is gone. CommError: when it cannot be read.
        """
        self._message, self._freshness = read(self._session, str(self.path), force=force)
        self._config = self._runs = None
        return self

    def __repr__(self) -> str:
        return f"<Sweep {self.path} ({self.state or 'state unknown'})>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sweep) and self._identity() == other._identity()

    def __hash__(self) -> int:
        return hash(self._identity())

    def _identity(self) -> tuple[str, str]:
        return self._session.account, str(self.path)


class Sweeps(Paged[Sweep]):
    """The sweeps of a project, in the server's order. Made by `project.sweeps()`, not by hand.

    `len` fetches all of them: they are few, and servers do not count them.
    """

    def __init__(self, session: Session, project: str, per_page: int) -> None:
        super().__init__(session)
        self.project = project
        """The project, as `entity/project`."""
        self._per_page = per_page

    def __len__(self) -> int:
        self._load_until(None)
        return len(self._items)

    def __repr__(self) -> str:
        return f"<Sweeps {self.project}>"

    def _page(self, token: str) -> tuple[list[Sweep], str, Freshness]:
        request = sweeps_pb2.ListSweepsRequest(
            project=self.project,
            page_size=self._per_page,
            page_token=token,
            options=self._session.options(),
        )
        answer: sweeps_pb2.ListSweepsResponse = self._session.call("sweeps.ListSweeps", request)
        freshness = self._session.fresh(answer.freshness, f"the list of sweeps of {self.project}")
        found = [Sweep(self._session, message, freshness) for message in answer.sweeps]
        return found, answer.next_page_token, freshness


def read(session: Session, path: str, *, force: bool = False) -> tuple[sweeps_pb2.Sweep, Freshness]:
    """Reads one sweep; see `Api.sweep`."""
    request = sweeps_pb2.GetSweepRequest(
        path=path, defaults=session.defaults(), options=session.options(force=force)
    )
    answer: sweeps_pb2.GetSweepResponse = session.call("sweeps.GetSweep", request)
    return answer.sweep, session.fresh(answer.freshness, f"sweep {path}")


def _parsed(message: sweeps_pb2.Sweep) -> dict[str, Any]:
    import yaml

    place = f"{message.entity}/{message.project}/{message.sweep_id}"
    try:
        # Not the parser in C: that one ends the process over a text that is nested very deeply.
        found = yaml.safe_load(message.config_yaml) if message.config_yaml.strip() else {}
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        words = " ".join(str(error).split())
        raise CommError(f"the configuration of sweep {place} is no YAML: {words}", error) from error
    if not isinstance(found, dict):
        raise CommError(f"the configuration of sweep {place} is no mapping but {type(found).__name__}")
    return found
