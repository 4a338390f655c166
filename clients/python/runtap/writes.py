"""Sending what was edited: from edits to the request, and from the answer to what people learn of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from runtap.cautions import caution
from runtap.edits import ABSENT, Edit, TagEdit
from runtap.errors import ConflictWarning, InvalidRequestError, WriteQueued
from runtap.v1 import runs_pb2, writes_pb2
from runtap.values import check_text, encodable, json_text, plain

if TYPE_CHECKING:
    from runtap.session import Session

WAIT_S = 30.0
"""How long an update waits for the server before it raises WriteQueued."""
MARGIN_S = 15.0
"""How much longer than that the call itself may take."""

LARGEST_REQUEST = 16 * 2**20 - 2**16
"""Most bytes of one update; the daemon takes messages of 16 MiB."""

LARGE_BASE = 2**16
"""Characters of a value as it was read that are left out of an update too large for a message."""

TEXT_FIELDS = ("display_name", "notes", "description", "group", "job_type")
"""The plain fields of a run that can be set, as `RunFields` of runs.proto has them."""


@dataclass(frozen=True)
class Write:
    """What became of an update."""

    write_id: str
    """The daemon's id of it, for `WriteService.GetWrite`."""
    state: str
    """`applied` when the server has it; `accepted`, `sending` or `blocked_auth` while it is safe on this machine."""
    fields: tuple[str, ...]
    """What it changes, such as `config.lr`."""


@dataclass(frozen=True)
class Change:
    """Everything one update changes in one run."""

    config: tuple[Edit, ...] = ()
    summary: tuple[Edit, ...] = ()
    fields: Mapping[str, str | None] | None = None
    """New plain fields by name; None clears."""
    base_fields: Mapping[str, str | None] | None = None
    """What had been read of them."""
    tags: TagEdit | None = None

    def __bool__(self) -> bool:
        return bool(self.config or self.summary or self.fields or self.tags)


def send(
    session: Session, path: str, change: Change, *, wait: bool, expect: Mapping[str, Any] | None
) -> runs_pb2.UpdateRunResponse:
    """Sends a change. The channel repeats it when the daemon goes away, which the request id makes harmless."""
    request = _request(path, change, wait=wait, expect=expect or {})
    if request.ByteSize() > LARGEST_REQUEST:
        _forget_large_bases(request)
        _check_size(request)
    answer: runs_pb2.UpdateRunResponse = session.call("runs.UpdateRun", request, WAIT_S + MARGIN_S)
    return answer


def _forget_large_bases(request: runs_pb2.UpdateRunRequest) -> None:
    """A large value that replaces a large one fits without it; whether others changed it is then not looked at."""
    for edit in (*request.config, *request.summary):
        if len(edit.base_json) > LARGE_BASE:
            edit.ClearField("base_json")
    for field, text in request.base_fields.ListFields():
        if len(text) > LARGE_BASE:
            request.base_fields.ClearField(field.name)  # type: ignore[arg-type]


def _check_size(request: runs_pb2.UpdateRunRequest) -> None:
    """The daemon takes no larger message; gRPC would say so without naming what is large."""
    size = request.ByteSize()
    if size <= LARGEST_REQUEST:
        return
    sizes = {
        f"{document}.{'.'.join(edit.path)}": edit.ByteSize()
        for document, edits in (("config", request.config), ("summary", request.summary))
        for edit in edits
    }
    sizes |= {field.name: len(text.encode()) for field, text in request.fields.ListFields()}
    sizes["expect"] = sum(item.ByteSize() for item in request.expect)
    sizes["tags"] = sum(len(tag.encode()) for tag in (*request.tags_add, *request.tags_replace.tags))
    largest = max(sizes, key=sizes.__getitem__)
    message = (
        f"the update of {request.path} has {size:,} bytes, and {LARGEST_REQUEST:,} are the most; the largest part is "
        f"{largest} ({sizes[largest]:,} bytes): store less there, or send it in several updates"
    )
    raise InvalidRequestError(
        message, ValueError(message), reason="INVALID_FIELD", metadata={"field": largest}
    )


def outcome(write: writes_pb2.Write, *, wait: bool) -> Write:
    """What people learn of a write: conflicts as a warning; WriteQueued when it was to be applied and is not yet."""
    state = writes_pb2.WriteState.Name(write.state).removeprefix("WRITE_STATE_").lower()
    if write.conflicts:
        caution(_conflict_text(write), ConflictWarning)
    if wait and state in ("accepted", "sending", "blocked_auth"):
        cause = write.message or f"the server has not confirmed it within {WAIT_S:.0f} s"
        raise WriteQueued(
            f"the update of {write.run_path} is saved on this machine and not on the server yet: {cause}. It goes on "
            f"by itself, also after a restart; `runtap status` counts it until then (write {write.write_id})",
            write_id=write.write_id,
            cause=cause,
        )
    return Write(write.write_id, state, tuple(write.fields))


def _conflict_text(write: writes_pb2.Write) -> str:
    lines = [f"overwrote changes that somebody else made to {write.run_path} since it was read:"]
    for conflict in write.conflicts:
        theirs = conflict.theirs_json if conflict.HasField("theirs_json") else "nothing"
        mine = conflict.mine_json if conflict.HasField("mine_json") else "nothing"
        lines.append(f"  {conflict.field}: theirs {theirs}, mine {mine}")
    return "\n".join(lines)


def _request(
    path: str, change: Change, *, wait: bool, expect: Mapping[str, Any]
) -> runs_pb2.UpdateRunRequest:
    from uuid import uuid4

    request = runs_pb2.UpdateRunRequest(
        path=path,
        config=_edits("config", change.config),
        summary=_edits("summary", change.summary),
        expect=[_expectation(name, value) for name, value in expect.items()],
        request_id=str(uuid4()),
        wait_for=runs_pb2.WAIT_FOR_APPLIED if wait else runs_pb2.WAIT_FOR_ACCEPTED,
    )
    request.wait_timeout.FromNanoseconds(round(WAIT_S * 1e9))
    for name, text in (change.fields or {}).items():
        request.update_mask.paths.append(name)
        if text is not None:
            setattr(request.fields, name, text)
    for name, text in (change.base_fields or {}).items():
        setattr(request.base_fields, name, text or "")
    if change.tags is not None:
        request.tags_add.extend(change.tags.add)
        request.tags_remove.extend(change.tags.remove)
        if change.tags.replace is not None:
            request.tags_replace.SetInParent()
            request.tags_replace.tags.extend(change.tags.replace)
    return request


def _edits(document: str, edits: Iterable[Edit]) -> list[runs_pb2.JsonEdit]:
    messages = []
    for edit in edits:
        name = ".".join((document, *edit.path))
        check_text(name, f"the key {name!r}")
        message = runs_pb2.JsonEdit(path=edit.path)
        base = "" if edit.base is ABSENT else json_text(edit.base)
        if encodable(base):  # what a server holds may not be, and need not be told
            message.base_json = base
        if edit.value is ABSENT:
            message.unset = True
        else:
            message.set_json = _set_json(edit.value, name)
        messages.append(message)
    return messages


def _set_json(value: Any, name: str) -> str:
    text = json_text(value)
    check_text(text, name)
    return text


def _expectation(name: str, value: Any) -> runs_pb2.Expectation:
    field, *path = name.split(".")
    field = "display_name" if field == "name" else field
    if bool(path) != (field in ("config", "summary")) or field not in (
        "config",
        "summary",
        "tags",
        *TEXT_FIELDS,
    ):
        raise InvalidRequestError(
            f"expect does not know {name!r}; it knows config.<key>, summary.<key>, tags, name, notes, description, "
            "group and job_type",
            reason="INVALID_FIELD",
        )
    check_text(name, f"expect[{name!r}]")
    expectation = runs_pb2.Expectation(field=field, path=path)
    if value is not None:
        expectation.value_json = _set_json(plain(value, f"expect[{name!r}]"), f"expect[{name!r}]")
    return expectation
