"""A change of a run as a patch, and what it does to a run: merge, conflicts, and whether a server kept it.

A patch names keys, never whole documents, so that two writers of different keys never overwrite each other. Paths in
config are value paths: the wire's `{"key": {"value": v}}` wrapping is put on and taken off here and nowhere else.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from typing import Any, TypeGuard

from runtapd.model import jsontext
from runtapd.model.run import RunData

FIELDS = ("display_name", "notes", "description", "group", "job_type")
"""The plain fields a patch can set."""

_ABSENT = object()
_SURROGATE = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Edit:
    """Sets or removes one key path. Values are JSON texts; `None` means remove, for `base` not told."""

    path: tuple[str, ...]
    set_json: str | None
    base_json: str | None = None
    """What the caller had read there: JSON text, or the empty string for nothing."""


@dataclass(frozen=True, slots=True)
class Expectation:
    """What must hold at the server for the patch to be sent; `value_json` None means nothing there."""

    field: str
    path: tuple[str, ...]
    value_json: str | None


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two values of one field, as JSON texts; None means nothing there."""

    field: str
    theirs_json: str | None
    mine_json: str | None
    base_json: str | None = None


@dataclass(frozen=True, slots=True)
class Patch:
    """Everything one write changes, and its preconditions."""

    config: tuple[Edit, ...] = ()
    summary: tuple[Edit, ...] = ()
    fields: tuple[tuple[str, str], ...] = ()
    base_fields: tuple[tuple[str, str], ...] = ()
    """What the caller had read of `fields`, as far as it told; empty for nothing."""
    tags_add: tuple[str, ...] = ()
    tags_remove: tuple[str, ...] = ()
    tags_replace: tuple[str, ...] | None = None
    etag: str = ""
    expect: tuple[Expectation, ...] = ()

    def touched(self) -> list[str]:
        """Names what the patch changes, for people: `config.lr`, `summary.acc`, `notes`, `tags`."""
        names = ["config." + ".".join(edit.path) for edit in self.config]
        names += ["summary." + ".".join(edit.path) for edit in self.summary]
        names += [name for name, _ in self.fields]
        if self.changes_tags:
            names.append("tags")
        return names

    @property
    def changes_tags(self) -> bool:
        """True when the patch has anything to say about tags."""
        return bool(self.tags_add or self.tags_remove or self.tags_replace is not None)

    def to_json(self) -> str:
        """The patch as text for the journal; `from_json` reads it back."""
        return jsontext.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Patch:
        """Reads what `to_json` wrote."""
        raw = jsontext.loads(text)

        def edits(items: list[Any]) -> tuple[Edit, ...]:
            return tuple(Edit(tuple(e["path"]), e["set_json"], e["base_json"]) for e in items)

        return Patch(
            config=edits(raw["config"]),
            summary=edits(raw["summary"]),
            fields=tuple((name, value) for name, value in raw["fields"]),
            base_fields=tuple((name, value) for name, value in raw.get("base_fields", ())),
            tags_add=tuple(raw["tags_add"]),
            tags_remove=tuple(raw["tags_remove"]),
            tags_replace=None if raw["tags_replace"] is None else tuple(raw["tags_replace"]),
            etag=raw["etag"],
            expect=tuple(Expectation(e["field"], tuple(e["path"]), e["value_json"]) for e in raw["expect"]),
        )


def apply(patch: Patch, run: RunData) -> RunData:
    """Returns the run as it is after the patch. Untouched documents stay the very same text."""
    changes: dict[str, Any] = dict(patch.fields)
    if patch.config:
        changes["config"] = _edited(run.config, patch.config, wrapped=True)
    if patch.summary:
        changes["summary"] = _edited(run.summary, patch.summary, wrapped=False)
    if patch.changes_tags:
        changes["tags"] = _new_tags(patch, run.tags)
    return replace(run, **changes)


def broken_expectations(patch: Patch, run: RunData) -> list[Conflict]:
    """Returns the preconditions that do not hold for this run."""
    broken = []
    if patch.etag and patch.etag != run.etag():
        broken.append(Conflict("etag", jsontext.dumps(run.etag()), None, jsontext.dumps(patch.etag)))
    lookup = _lookup(run)
    for expectation in patch.expect:
        there = lookup(expectation.field, expectation.path)
        if not _holds(expectation, there):
            name = ".".join((expectation.field, *expectation.path))
            broken.append(Conflict(name, _text(there), None, expectation.value_json))
    return broken


def _holds(expectation: Expectation, there: Any) -> bool:
    if expectation.field in ("config", "summary"):
        return _same(there, expectation.value_json)
    expected = jsontext.loads(expectation.value_json or "null")
    if expectation.field == "tags":
        # Servers keep tags in an order of their own.
        return set(there) == set(expected or ())
    # Servers store an emptied text as null.
    return ("" if there is _ABSENT else there) == (expected or "")


def conflicts(patch: Patch, run: RunData) -> list[Conflict]:
    """Returns the keys that somebody else changed since the caller read them, where the values differ from mine."""
    lookup = _lookup(run)
    found = []
    for document, edits in (("config", patch.config), ("summary", patch.summary)):
        for edit in edits:
            if edit.base_json is None:
                continue
            there = lookup(document, edit.path)
            base = edit.base_json or None
            if not _same(there, base) and not _same(there, edit.set_json):
                name = ".".join((document, *edit.path))
                found.append(Conflict(name, _text(there), edit.set_json, base))
    bases = dict(patch.base_fields)
    for name, value in patch.fields:
        # Servers store an emptied text as null.
        held = getattr(run, name) or ""
        if name in bases and held not in (bases[name], value):
            found.append(
                Conflict(name, jsontext.dumps(held), jsontext.dumps(value), jsontext.dumps(bases[name]))
            )
    return found


def not_honoured(patch: Patch, run: RunData) -> list[Conflict]:
    """Returns what the server holds otherwise than the patch asked; empty when it kept everything.

    A run that kept a patch is one that the same patch no longer changes, so this compares the run with itself patched.
    """
    wanted = apply(patch, run)
    theirs, mine = _lookup(run), _lookup(wanted)
    kept_otherwise = []
    for document, edits in (("config", patch.config), ("summary", patch.summary)):
        for path in _outermost(edits):
            there, here = theirs(document, path), mine(document, path)
            if _plain(there) != _plain(here):
                kept_otherwise.append(Conflict(".".join((document, *path)), _text(there), _text(here)))
    for name, value in patch.fields:
        # Servers store an emptied text as null.
        if (getattr(run, name) or "") != value:
            kept_otherwise.append(Conflict(name, _text(theirs(name, ())), jsontext.dumps(value)))
    # Servers keep tags in an order of their own.
    if set(wanted.tags) != set(run.tags):
        kept_otherwise.append(Conflict("tags", _json(list(run.tags)), _json(list(wanted.tags))))
    return kept_otherwise


def _outermost(edits: tuple[Edit, ...]) -> list[tuple[str, ...]]:
    """Returns the paths that are not inside another edited path, each once."""
    paths = {edit.path for edit in edits}
    inner = {path for path in paths if any(path[:depth] in paths for depth in range(1, len(path)))}
    return [path for path in dict.fromkeys(edit.path for edit in edits) if path not in inner]


def _new_tags(patch: Patch, tags: Iterable[str]) -> tuple[str, ...]:
    if patch.tags_replace is not None:
        return patch.tags_replace
    removed = set(patch.tags_remove) - set(patch.tags_add)
    return tuple(dict.fromkeys([tag for tag in tags if tag not in removed] + list(patch.tags_add)))


def _edited(text: str, edits: tuple[Edit, ...], *, wrapped: bool) -> str:
    """Applies edits in order; a document that is no other afterwards comes back as the same text."""
    document = _object(text)
    changed = [_edit(document, edit, wrapped=wrapped) for edit in edits]
    if not any(changed):
        return text
    # Where edits overlap, a later one may undo what an earlier one changed.
    overlap = len(_outermost(edits)) < len(edits)
    return text if overlap and _plain(document) == _plain(_object(text)) else _json(document)


def _object(text: str) -> dict[str, Any]:
    document = jsontext.loads(text or "{}")
    return document if isinstance(document, dict) else {}


def _json(value: Any) -> str:
    # A lone surrogate can be told in JSON only as an escape: as a character it has no UTF-8.
    return _SURROGATE.sub(lambda found: f"\\u{ord(found[0]):04x}", jsontext.dumps(value))


def _edit(document: dict[str, Any], edit: Edit, *, wrapped: bool) -> bool:
    """Applies one edit; False when the document already was as it asks."""
    path = edit.path
    if wrapped and _is_wrapped(document.get(path[0])):
        path = (path[0], "value", *path[1:])
    if edit.set_json is None:
        return _remove(document, edit.path if len(edit.path) == 1 else path)
    if _same(_find(document, path), edit.set_json):
        return False
    if wrapped and path is edit.path:
        entry = document.get(path[0])
        document[path[0]] = {"value": entry if isinstance(entry, dict) else {}, "desc": None}
        path = (path[0], "value", *path[1:])
    here = document
    for key in path[:-1]:
        below = here.get(key)
        if not isinstance(below, dict):
            below = here[key] = {}
        here = below
    here[path[-1]] = jsontext.loads(edit.set_json)
    return True


def _remove(document: dict[str, Any], path: tuple[str, ...]) -> bool:
    parent = _find(document, path[:-1])
    return isinstance(parent, dict) and parent.pop(path[-1], _ABSENT) is not _ABSENT


def _find(document: Any, path: tuple[str, ...]) -> Any:
    """Returns the value at exactly this path of a document, or `_ABSENT`."""
    here = document
    for key in path:
        if not isinstance(here, dict) or key not in here:
            return _ABSENT
        here = here[key]
    return here


def _is_wrapped(entry: Any) -> TypeGuard[dict[str, Any]]:
    # Whatever stands beside the value; SDKs, ours and theirs, read entries by this rule.
    return isinstance(entry, dict) and "value" in entry


def _lookup(run: RunData) -> Callable[[str, tuple[str, ...]], Any]:
    """Returns a function that finds a value by document and path, parsing each document once."""
    documents: dict[str, Any] = {}

    def find(name: str, path: tuple[str, ...]) -> Any:
        if name == "tags":
            return list(run.tags)
        if name not in ("config", "summary"):
            value = getattr(run, name, None)
            return _ABSENT if value is None else value
        if name not in documents:
            documents[name] = jsontext.loads(getattr(run, name) or "{}")
        document = documents[name]
        if name == "config" and path and isinstance(document, dict) and _is_wrapped(document.get(path[0])):
            path = (path[0], "value", *path[1:])
        return _find(document, path)

    return find


def _text(value: Any) -> str | None:
    return None if value is _ABSENT else _json(jsontext.spelled_out(value))


def _same(value: Any, text: str | None) -> bool:
    """Compares a found value with JSON text; 1 and 1.0 are the same number, as they are on the wire."""
    if text is None or value is _ABSENT:
        return text is None and value is _ABSENT
    return bool(_plain(value) == _plain(jsontext.loads(text)))


def _plain(value: Any) -> Any:
    """Makes values comparable: non-finite numbers by name, and truth values apart from numbers."""
    if isinstance(value, bool):
        return ("bool", value)
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return jsontext.spelled_out(value)
