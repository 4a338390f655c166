"""Runs judged here: whether they match what a server was not given, and in which order they come.

Owns the documents that `runtap_query` reads, made of runs with only those of their JSON texts decoded that a query
names.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Final

from runtap_query import Document, compile_filter, parse_moment, sort_values, value_getter
from runtapd.model import encode, jsontext
from runtapd.model.run import DocumentKind, Record, RunData
from runtapd.upstream.pushdown import Split

_OWN_KEYS: Final = frozenset(("_wandb", "wandb_version"))
KINDS: Final[Mapping[str, DocumentKind]] = {
    "config": DocumentKind.CONFIG,
    "summary_metrics": DocumentKind.SUMMARY,
    "system_metrics": DocumentKind.SYSTEM_METRICS,
    "history_keys": DocumentKind.HISTORY_KEYS,
    "notes": DocumentKind.NOTES,
}
"""The document of a run that each of these columns is read from."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A run that matches, by what it is sorted by."""

    storage_id: str
    run_id: str
    value: Any


class Judge:
    """One query, ready to judge runs. Its methods take milliseconds for many runs: call them in a thread."""

    def __init__(self, split: Split) -> None:
        self._split = split
        self._matches = compile_filter(split.check)
        self._value = value_getter(split.order.column)
        self._roots = self._matches.roots | split.order.roots

    @property
    def roots(self) -> frozenset[str]:
        """The columns that the filter reads."""
        return self._matches.roots

    @property
    def kinds(self) -> frozenset[DocumentKind]:
        """The documents it reads."""
        return frozenset(KINDS[root] for root in self._roots if root in KINDS)

    def verdicts(
        self, records: Sequence[Record], texts: Mapping[str, dict[DocumentKind, str]]
    ) -> list[Verdict]:
        """Returns the runs that match; `texts` are oversize documents by storage id."""
        found = []
        for record in records:
            run = encode.run_of(encode.parse(record.body), texts.get(record.storage_id, {}))
            document = document_of(run, self._roots)
            if self._matches(document):
                found.append(Verdict(record.storage_id, run.run_id, self._value(document)))
        return found

    def ordered(self, found: list[Verdict]) -> list[str]:
        """Returns the storage ids in the order that is wanted."""
        values = ((verdict.run_id, verdict.value, verdict.storage_id) for verdict in found)
        return sort_values(values, self._split.order)

    def all_match(self, records: Sequence[Record], texts: Mapping[str, dict[DocumentKind, str]]) -> bool:
        """Whether a page of a server holds only what it was asked for."""
        return len(self.verdicts(records, texts)) == len(records)

    def in_order(self, last_created_at: str, created_at: Sequence[str]) -> bool:
        """Whether a page of a server goes on in the order of creation that it was asked for."""
        if self._split.order.column.root != "created_at":
            return True
        texts = [last_created_at, *created_at]
        moments = [moment.start for text in texts if (moment := parse_moment(text)) is not None]
        pairs = pairwise(moments)
        if self._split.order.descending:
            return all(one >= other for one, other in pairs)
        return all(one <= other for one, other in pairs)


def document_of(run: RunData, roots: frozenset[str]) -> Document:
    """Returns what a filter reads of a run; only these fields of it."""
    return {root: _READERS[root](run) for root in roots if root in _READERS}


def _config(run: RunData) -> dict[str, Any]:
    """The values without the wire's wrapping, and without the SDK's own keys."""
    return {
        key: item["value"] if isinstance(item, dict) and "value" in item else item
        for key, item in _object(run.config).items()
        if key not in _OWN_KEYS
    }


def _object(text: str | None) -> dict[str, Any]:
    try:
        found = jsontext.loads(text) if text else {}
    except ValueError:
        return {}  # a document that is none holds no key that could match
    return found if isinstance(found, dict) else {}


_READERS: Final[dict[str, Callable[[RunData], Any]]] = {
    "name": lambda run: run.run_id,
    "display_name": lambda run: run.display_name,
    "state": lambda run: run.state,
    "tags": lambda run: list(run.tags),
    "created_at": lambda run: run.created_at,
    "heartbeat_at": lambda run: run.heartbeat_at,
    "updated_at": lambda run: run.updated_at,
    "group": lambda run: run.group,
    "job_type": lambda run: run.job_type,
    "username": lambda run: run.username,
    "entity": lambda run: run.entity,
    "project": lambda run: run.project,
    "sweep": lambda run: run.sweep_name,
    "commit": lambda run: run.commit,
    "notes": lambda run: run.notes,
    "description": lambda run: run.description,
    "history_line_count": lambda run: run.history_line_count,
    "config": _config,
    "summary_metrics": lambda run: _object(run.summary),
    "system_metrics": lambda run: _object(run.system_metrics),
    "history_keys": lambda run: _object(run.history_keys),
}
