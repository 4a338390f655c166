"""UpdateRun's request as a patch, and its answer from what became of the write. Conversions for any write RPC."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from runtap.v1 import runs_pb2, writes_pb2
from runtapd.faults import InvalidRequest, PreconditionFailed
from runtapd.journal import Entry, WriteState
from runtapd.model import jsontext
from runtapd.model.patch import FIELDS, Conflict, Edit, Expectation, Patch
from runtapd.services.convert import seconds, timestamp
from runtapd.writes import Writes

DEFAULT_WAIT_S = 30.0
ANSWER_TIME_S = 0.3
"""Kept of the call's time, so that an answer about a pending write still arrives."""
_LONGEST_REQUEST_ID = 200
_DEEPEST = 200
# A write tells what it changed, it does not carry it: a change of a large document must not make a large message.
_MOST_FIELDS = 100
_MOST_CONFLICTS = 50
_LONGEST_NAME = 200
_LONGEST_VALUE = 512
_SHOWN_OF_A_VALUE = 100
_LONGEST_MESSAGE = 2000
_WAITING = {
    WriteState.ACCEPTED: "saved here; waits for its turn to be sent",
    WriteState.SENDING: "on its way; waits for the server's answer",
}
_REASONS = {
    WriteState.CONFLICT: "WRITE_CONFLICT",
    WriteState.NOT_HONOURED: "WRITE_NOT_HONOURED",
    WriteState.FAILED: "WRITE_REFUSED",
}


@dataclass(frozen=True, slots=True)
class Update:
    """An UpdateRun request but for its path."""

    patch: Patch
    request_id: str
    wait_s: float
    """How long to wait for the server's confirmation; 0 answers once the write is on disk."""


def parse(request: runs_pb2.UpdateRunRequest) -> Update:
    """Reads a request; raises InvalidRequest naming the field that cannot be understood."""
    return Update(
        patch=Patch(
            config=_edits("config", request.config),
            summary=_edits("summary", request.summary),
            fields=_fields(request),
            base_fields=tuple((f.name, value) for f, value in request.base_fields.ListFields()),
            tags_add=_tags("tags_add", request.tags_add),
            tags_remove=_tags("tags_remove", request.tags_remove),
            tags_replace=_tags_replace(request),
            etag=request.etag,
            expect=tuple(_expectation(number, item) for number, item in enumerate(request.expect)),
        ),
        request_id=_request_id(request.request_id),
        wait_s=_wait_s(request),
    )


async def awaited(writes: Writes, entry: Entry, wait_s: float, left_s: float | None) -> Entry:
    """Waits for a write as long as asked for and the call's time allows, and returns it if it was applied or is
    still open; raises PreconditionFailed when it ended otherwise."""
    if wait_s > 0 and not entry.state.final:
        limit = wait_s if left_s is None else min(wait_s, max(0.0, left_s - ANSWER_TIME_S))
        entry = await writes.wait(entry.account_id, entry.write_id, limit)
    if wait_s > 0 and entry.state in _REASONS:
        raise PreconditionFailed(
            f"run {entry.path}: {entry.message}",
            reason=_REASONS[entry.state],
            metadata={
                "write_id": entry.write_id,
                "run_path": entry.path,
                "fields": ", ".join(entry.patch.touched()),
            },
        )
    return entry


def write_message(entry: Entry) -> writes_pb2.Write:
    """Tells a journal's entry."""
    message = writes_pb2.Write(
        write_id=entry.write_id,
        request_id=entry.request_id,
        run_path=entry.path,
        state=writes_pb2.WriteState.ValueType(entry.state),
        accepted_at=timestamp(entry.accepted_at),
        attempts=entry.attempts,
        message=_cut(entry.message or _WAITING.get(entry.state, ""), _LONGEST_MESSAGE),
        fields=[_cut(name, _LONGEST_NAME) for name in entry.patch.touched()[:_MOST_FIELDS]],
        conflicts=[_conflict(conflict) for conflict in entry.conflicts[:_MOST_CONFLICTS]],
        not_honoured=[_conflict(conflict) for conflict in entry.not_honoured[:_MOST_CONFLICTS]],
    )
    if entry.settled_at is not None:
        message.settled_at.CopyFrom(timestamp(entry.settled_at))
    return message


def _wait_s(request: runs_pb2.UpdateRunRequest) -> float:
    wait_s = DEFAULT_WAIT_S
    if request.HasField("wait_timeout"):
        wait_s = seconds("wait_timeout", request.wait_timeout)
    if request.wait_for == runs_pb2.WAIT_FOR_APPLIED:
        return wait_s
    if request.wait_for in (runs_pb2.WAIT_FOR_UNSPECIFIED, runs_pb2.WAIT_FOR_ACCEPTED):
        return 0.0
    raise InvalidRequest(
        f"wait_for is {request.wait_for}, which this daemon does not know; use WAIT_FOR_ACCEPTED or WAIT_FOR_APPLIED",
        field="wait_for",
    )


def _request_id(text: str) -> str:
    if not text:
        raise InvalidRequest(
            "request_id is missing; give each change an id, such as a new UUID", field="request_id"
        )
    if len(text) > _LONGEST_REQUEST_ID:
        raise InvalidRequest(
            f"request_id has {len(text)} characters; at most {_LONGEST_REQUEST_ID} are kept",
            field="request_id",
        )
    return text


def _edits(document: str, edits: Iterable[runs_pb2.JsonEdit]) -> tuple[Edit, ...]:
    return tuple(_edit(f"{document}[{number}]", edit) for number, edit in enumerate(edits))


def _edit(field: str, edit: runs_pb2.JsonEdit) -> Edit:
    kind = edit.WhichOneof("edit")
    if kind is None or (kind == "unset" and not edit.unset):
        raise InvalidRequest(f"{field} says neither set_json nor unset=true", field=field)
    base = None
    if edit.HasField("base_json"):
        # The empty string says that the caller had found nothing there.
        base = edit.base_json and _json(f"{field}.base_json", edit.base_json)
    return Edit(
        path=_path(f"{field}.path", edit.path),
        set_json=_json(f"{field}.set_json", edit.set_json) if kind == "set_json" else None,
        base_json=base,
    )


def _path(field: str, path: Sequence[str]) -> tuple[str, ...]:
    if not path:
        raise InvalidRequest(
            f'{field} is empty; name the keys from the top down, such as ["lr"]', field=field
        )
    if len(path) > _DEEPEST:
        raise InvalidRequest(f"{field} has {len(path)} keys; at most {_DEEPEST} are possible", field=field)
    return tuple(path)


def _json(field: str, text: str) -> str:
    """Checks a JSON text and returns it in the contract's spelling."""
    try:
        value = jsontext.loads(text)
        if _depth(value) > _DEEPEST:
            raise InvalidRequest(f"{field} is nested deeper than {_DEEPEST} levels", field=field)
        plain = jsontext.dumps(jsontext.spelled_out(value))
        plain.encode()
    except (ValueError, RecursionError) as error:
        what = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InvalidRequest(f"{field} is not JSON text: {what}", field=field) from error
    return plain


def _depth(value: Any) -> int:
    depth, level = 0, [value]
    while level := [
        inner
        for item in level
        if isinstance(item, (dict, list))
        for inner in (item.values() if isinstance(item, dict) else item)
    ]:
        depth += 1
        if depth > _DEEPEST:
            break
    return depth


def _fields(request: runs_pb2.UpdateRunRequest) -> tuple[tuple[str, str], ...]:
    given = request.fields
    mask = list(dict.fromkeys(request.update_mask.paths))
    for name in mask:
        if name not in FIELDS:
            raise InvalidRequest(
                f"update_mask names {name!r}; it restricts `fields`, which has {', '.join(FIELDS)}",
                field="update_mask",
            )
    names = mask or [name for name in FIELDS if given.HasField(name)]  # type: ignore[arg-type]
    return tuple((name, getattr(given, name)) for name in names)


def _tags(field: str, tags: Iterable[str]) -> tuple[str, ...]:
    kept = tuple(dict.fromkeys(tags))
    if "" in kept:
        raise InvalidRequest(f"{field} has an empty tag", field=field)
    return kept


def _tags_replace(request: runs_pb2.UpdateRunRequest) -> tuple[str, ...] | None:
    both = set(request.tags_add) & set(request.tags_remove)
    if both:
        raise InvalidRequest(
            f"tags_add and tags_remove both name {', '.join(sorted(both))}", field="tags_remove"
        )
    if not request.HasField("tags_replace"):
        return None
    if request.tags_add or request.tags_remove:
        raise InvalidRequest(
            "tags_replace sets all tags, so tags_add and tags_remove cannot come with it",
            field="tags_replace",
        )
    return _tags("tags_replace", request.tags_replace.tags)


def _expectation(number: int, item: runs_pb2.Expectation) -> Expectation:
    field = f"expect[{number}]"
    value = _json(f"{field}.value_json", item.value_json) if item.HasField("value_json") else None
    if item.field in ("config", "summary"):
        return Expectation(item.field, _path(f"{field}.path", item.path), value)
    if item.field not in (*FIELDS, "tags"):
        raise InvalidRequest(
            f"{field}.field is {item.field!r}; it can be config, summary, tags, {', '.join(FIELDS)}",
            field=f"{field}.field",
        )
    if item.path:
        raise InvalidRequest(f"{field}.path is for config and summary only", field=f"{field}.path")
    _check_value(f"{field}.value_json", item.field, jsontext.loads(value or "null"))
    return Expectation(item.field, (), value)


def _check_value(field: str, of: str, value: Any) -> None:
    """Checks what is expected of tags or a plain field; None is nothing there."""
    if value is None:
        return
    if of == "tags":
        if not isinstance(value, list) or not all(isinstance(tag, str) for tag in value):
            raise InvalidRequest(f"{field} must be a list of strings for tags, as JSON text", field=field)
    elif not isinstance(value, str):
        raise InvalidRequest(f"{field} must be a string for {of}, as JSON text", field=field)


def _conflict(conflict: Conflict) -> writes_pb2.Conflict:
    return writes_pb2.Conflict(
        field=_cut(conflict.field, _LONGEST_NAME),
        theirs_json=_shortened(conflict.theirs_json),
        mine_json=_shortened(conflict.mine_json),
        base_json=_shortened(conflict.base_json),
    )


def _shortened(text: str | None) -> str | None:
    """A value for people: a large one as a JSON text that begins like it and tells its size."""
    if text is None or len(text) <= _LONGEST_VALUE:
        return text
    return jsontext.dumps(f"{text[:_SHOWN_OF_A_VALUE]}… ({len(text)} characters)")


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else text[: length - 1] + "…"
