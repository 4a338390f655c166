"""Read masks: which fields of a run a caller wants, down to keys of config and summary. Pure."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask

from runtap.v1 import runs_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.model import jsontext
from runtapd.model.encode import document_field
from runtapd.model.encode import too_large as too_large_documents
from runtapd.model.run import DocumentKind

_ALWAYS = frozenset(
    {"storage_id", "entity", "project", "run_id", "path", "state", "etag", "revision", "pending_writes"}
)
_MASKABLE = sorted(field.name for field in pb.Run.DESCRIPTOR.fields if field.name != "omitted")
_KEYED = {"config_json": DocumentKind.CONFIG, "summary_json": DocumentKind.SUMMARY}
_MEANT = {"id": "run_id", "name": "display_name", "config": "config_json", "summary": "summary_json"}
_DOCUMENT_FIELDS = {document_field(kind): kind for kind in DocumentKind}


@dataclass(frozen=True, slots=True)
class Mask:
    """What to keep of a run."""

    fields: frozenset[str]
    keys: Mapping[DocumentKind, tuple[tuple[str, ...], ...]]
    """Documents of which only these key paths are wanted."""
    text: str
    """The same for the same mask."""


def parse(mask: FieldMask) -> Mask | None:
    """Reads a mask; None means everything. Raises InvalidRequest naming the path that is not one."""
    if not mask.paths:
        return None
    fields = set(_ALWAYS)
    keys: dict[DocumentKind, list[tuple[str, ...]]] = {}
    for path in mask.paths:
        name, dot, rest = path.partition(".")
        if name not in _MASKABLE or (dot and (name not in _KEYED or not rest)):
            raise _no_field(path, name, dot + rest)
        if not dot:
            fields.add(name)
        else:
            keys.setdefault(_KEYED[name], []).append(tuple(rest.split(".")))
    return Mask(
        frozenset(fields),
        {kind: tuple(paths) for kind, paths in keys.items() if document_field(kind) not in fields},
        "\n".join(sorted(set(mask.paths))),
    )


def _no_field(path: str, name: str, below: str) -> InvalidRequest:
    """Says what a path of a mask might have meant."""
    # What is asked for by another name is most often a document without its ending, or a field in camel case.
    near = [_MEANT[name]] if name in _MEANT else get_close_matches(_snake(name[:100]), _MASKABLE, n=1)
    if name == "omitted":
        hint = "it comes with the documents that it stands for"
    elif name in _MASKABLE and below:
        hint = "keys are named behind config_json and summary_json only, as in 'config_json.lr'"
    elif near:
        hint = f"did you mean {near[0] + (below if near[0] in _KEYED else '')!r}?"
    else:
        hint = f"these are {', '.join(_MASKABLE)}, and keys as in 'config_json.lr'"
    return InvalidRequest(f"read_mask names {path!r}, which is no field of Run; {hint}", field="read_mask")


def _snake(name: str) -> str:
    return re.sub(r"(?<!^)[A-Z]", r"_\g<0>", name).lower()


def wanted_oversize(mask: Mask | None, oversize: tuple[tuple[DocumentKind, int], ...]) -> list[DocumentKind]:
    """Returns the documents that lie outside the message and of which the mask wants keys."""
    return [] if mask is None else [kind for kind, _ in oversize if kind in mask.keys]


def apply(mask: Mask, body: bytes, oversize: Mapping[DocumentKind, bytes]) -> bytes:
    """Returns the run with only what the mask keeps; `oversize` are documents from `wanted_oversize`.

    Of a document that is not JSON there are no keys, so it is left out. Keys that are too large themselves are left out
    like whole documents, with the document's size: ReadDocument has them.
    """
    run = pb.Run.FromString(body)
    texts: dict[DocumentKind, str] = {}
    sizes = {DocumentKind(omitted.document): omitted.size_bytes for omitted in run.omitted}
    for kind, paths in mask.keys.items():
        name = document_field(kind)
        text: str | bytes | None = oversize.get(kind) or (getattr(run, name) if run.HasField(name) else None)  # type: ignore[arg-type]
        if text:
            sizes.setdefault(kind, len(text if isinstance(text, bytes) else text.encode()))
            with contextlib.suppress(ValueError, RecursionError):
                texts[kind] = _only(jsontext.loads(text), paths, wrapped=kind is DocumentKind.CONFIG)
    for field, _ in run.ListFields():
        if field.name not in mask.fields:
            run.ClearField(field.name)  # type: ignore[arg-type]
    too_large = too_large_documents(texts, run.ByteSize())
    for kind, size in sorted(sizes.items()):
        if kind in too_large or document_field(kind) in mask.fields:
            run.omitted.add(document=int(kind), size_bytes=size)
    for kind, masked in texts.items():
        if kind not in too_large:
            setattr(run, document_field(kind), masked)
    return run.SerializeToString()


def _only(document: Any, paths: tuple[tuple[str, ...], ...], *, wrapped: bool) -> str:
    """Returns the document with only these key paths; of config the plain value paths."""
    kept: dict[str, Any] = {}
    for path in paths:
        # A key may itself hold dots: the longest match of the first keys wins.
        found = _find(document, path, wrapped=wrapped)
        if found is None:
            continue
        keys, value = found
        here = kept
        for key in keys[:-1]:
            here = here.setdefault(key, {})
        here[keys[-1]] = value
    return jsontext.encodable(jsontext.dumps(jsontext.spelled_out(kept)))


def _find(document: Any, path: tuple[str, ...], *, wrapped: bool) -> tuple[list[str], Any] | None:
    if not isinstance(document, dict):
        return None
    for length in range(len(path), 0, -1):
        key = ".".join(path[:length])
        if key not in document:
            continue
        value = document[key]
        if length == len(path):
            return [key], value
        if wrapped and isinstance(value, dict) and "value" in value:
            below = _find(value["value"], path[length:], wrapped=False)
            return None if below is None else ([key, "value", *below[0]], below[1])
        below = _find(value, path[length:], wrapped=False)
        if below is not None:
            return [key, *below[0]], below[1]
    return None
