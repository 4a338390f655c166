"""A sweep as a server tells it, and what its configuration says of its search.

Configurations are YAML that strangers wrote. The parser in C recurses without bound, so the depth of a text is looked
at before anything is made of it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import yaml

LARGEST_CONFIG = 2**19
"""Characters beyond which a configuration is passed on without a look into it."""
DEEPEST = 64
# Many times faster where PyYAML came with it; both know only plain values.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class Search:
    """How a sweep searches."""

    method: str = ""
    metric: str = ""
    """Empty when the configuration names none."""
    maximize: bool = False

    @property
    def order(self) -> str:
        """The order of runs in which the best comes first; empty without a metric."""
        return f"{'-' if self.maximize else '+'}summary_metrics.{self.metric}" if self.metric else ""


@dataclass(frozen=True, slots=True)
class SweepData:
    """One sweep."""

    storage_id: str
    entity: str
    project: str
    sweep_id: str
    config: str
    search: Search
    display_name: str = ""
    state: str = ""
    best_loss: float | None = None
    run_count: int | None = None
    expected_run_count: int | None = None
    created_at: str = ""


def search(config: str) -> Search:
    """Reads how a configuration searches; what cannot be understood says nothing."""
    try:
        if len(config) > LARGEST_CONFIG or _too_deep(config):
            return Search()
        parsed = yaml.load(config, Loader=_LOADER)  # noqa: S506  # a safe loader
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError):
        return Search()
    if not isinstance(parsed, dict):
        return Search()
    method, metric = parsed.get("method"), parsed.get("metric")
    if not isinstance(metric, dict) or not isinstance(metric.get("name"), str):
        return Search(method if isinstance(method, str) else "")
    return Search(
        method if isinstance(method, str) else "",
        metric["name"],
        metric.get("goal", "minimize") != "minimize",
    )


def _too_deep(text: str) -> bool:
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            return True
    return False
