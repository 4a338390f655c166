"""The columns a filter or an order may name: their spellings, their kinds, and which one an unknown name is like."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

from .errors import QueryError, nearest, shown
from .limits import MAX_COLUMN, MAX_DOTS


class Kind(Enum):
    """How the values of a column compare."""

    TEXT = "text"
    NUMBER = "number"
    TIME = "time"
    TAGS = "tags"
    """A list of texts; none at all, null and a missing list are one and the same."""
    JSON = "json"


@dataclass(frozen=True, slots=True)
class Column:
    """A column: ``root`` is the document's field, ``path`` what follows it in a free-form field, as written."""

    root: str
    kind: Kind
    path: str = ""

    def __str__(self) -> str:
        return f"{self.root}.{self.path}" if self.path else self.root

    @property
    def roots(self) -> frozenset[str]:
        """The document fields its value comes from; a duration that is not stored is worked out."""
        return _DURATION if self.root == "duration" else frozenset((self.root,))


_DURATION: Final = frozenset(("duration", "created_at", "heartbeat_at"))

COLUMNS: Final[dict[str, Kind]] = {
    "name": Kind.TEXT,
    "display_name": Kind.TEXT,
    "state": Kind.TEXT,
    "tags": Kind.TAGS,
    "created_at": Kind.TIME,
    "heartbeat_at": Kind.TIME,
    "updated_at": Kind.TIME,
    "duration": Kind.NUMBER,
    "group": Kind.TEXT,
    "job_type": Kind.TEXT,
    "host": Kind.TEXT,
    "username": Kind.TEXT,
    "entity": Kind.TEXT,
    "project": Kind.TEXT,
    "sweep": Kind.TEXT,
    "commit": Kind.TEXT,
    "notes": Kind.TEXT,
    "description": Kind.TEXT,
    "program": Kind.TEXT,
    "exit_code": Kind.NUMBER,
    "history_line_count": Kind.NUMBER,
    "input_artifacts": Kind.TAGS,
    "output_artifacts": Kind.TAGS,
}
_OTHER_SPELLINGS: Final[dict[str, str]] = {
    "user": "username",
    "runtime": "duration",
    "hostname": "host",
    "groupName": "group",
    "group_name": "group",
    "sweepName": "sweep",
    "sweep_name": "sweep",
    "exitcode": "exit_code",
    "jobProgram": "program",
    "createdTimestamp": "created_at",
}
JSON_ROOTS: Final[dict[str, str]] = {
    "config": "config",
    "summary": "summary_metrics",
    "summary_metrics": "summary_metrics",
    "summaryMetrics": "summary_metrics",
    "system_metrics": "system_metrics",
    "systemMetrics": "system_metrics",
    "keys_info": "history_keys",
    "keysInfo": "history_keys",
    "history_keys": "history_keys",
    "historyKeys": "history_keys",
}
# Names that look like no column but have one meaning: what people call a run's id, and the names on the web pages.
_MEANT: Final[dict[str, str]] = {
    "id": "name",
    "run_id": "name",
    "runId": "name",
    "ID": "name",
    "Name": "displayName",
    "run_name": "displayName",
    "CreatedTimestamp": "createdAt",
    "Hostname": "host",
    "UsingArtifact": "inputArtifacts",
    "OutputtingArtifact": "outputArtifacts",
    "metrics": "summary_metrics",
    "metric": "summary_metrics",
}


def _camel(name: str) -> str:
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


SPELLINGS: Final[dict[str, str]] = {
    **{name: name for name in COLUMNS},
    **{_camel(name): name for name in COLUMNS},
    **_OTHER_SPELLINGS,
}
"""Every name of a plain column, and the document field it means."""


def resolve_column(name: str) -> Column:
    """Find the column a name means, in any of its spellings. Raises QueryError with the nearest known one."""
    if name in SPELLINGS:
        root = SPELLINGS[name]
        return Column(root, COLUMNS[root])
    if not name.strip():
        raise QueryError("a column has no name; known are " + ", ".join(sorted(COLUMNS)))
    if len(name) > MAX_COLUMN:
        raise QueryError(f"column {shown(name)} is longer than {MAX_COLUMN} characters")
    head, _, rest = name.partition(".")
    if head == "tags" and rest:
        return Column("tags", Kind.JSON, rest)
    if head not in JSON_ROOTS:
        raise QueryError(f"unknown column {shown(name)}{_hint(name, head)}")
    if rest.count(".") > MAX_DOTS:
        raise QueryError(f"column {shown(name)} has more than {MAX_DOTS} dots")
    root = JSON_ROOTS[head]
    if root == "history_keys":
        rest = rest.removeprefix("keys.") if rest != "keys" else ""
    if not rest:
        example = "keys_info.keys.<metric>" if root == "history_keys" else f"{head}.<key>"
        raise QueryError(f"column {shown(name)} needs a key after it, as in {example!r}")
    return Column(root, Kind.JSON, rest)


def _hint(name: str, head: str) -> str:
    known = _MEANT.get(head) or nearest(head, [*SPELLINGS, *JSON_ROOTS])
    if known is None:
        # Most often it is a metric or a setting without the word that says which.
        meant = name if len(name) <= 40 else "<key>"
        return (
            f"; what a run logged is 'summary_metrics.{meant}', what it was given 'config.{meant}'; "
            f"other known columns are {', '.join(sorted(COLUMNS))}"
        )
    return f"; did you mean {known + ('.<key>' if known in JSON_ROOTS else '')!r}?"
