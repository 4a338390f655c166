"""The file_stream endpoint: what a running program sends, understood first and then applied in one transaction.

Lines are addressed by number and overwrite what stood there, so that a request sent twice changes nothing.
"""

from dataclasses import dataclass, field
from typing import Any, Final

from sqlalchemy import Connection, Row

from .. import jsontext
from ..faults import BadRequest
from ..store import lines, runs
from ..store.lines import Line, Stream
from . import keystats

_STREAMS: Final = {
    "wandb-history.jsonl": Stream.HISTORY,
    "wandb-events.jsonl": Stream.EVENTS,
    "output.log": Stream.OUTPUT,
}
_SUMMARY: Final = "wandb-summary.json"
_COUNTS: Final = {
    Stream.HISTORY: "history_line_count",
    Stream.EVENTS: "events_line_count",
    Stream.OUTPUT: "log_line_count",
}
READS: Final = frozenset({"system_metrics", "history_keys"})
"""The heavy columns of a run that are needed to apply a request."""
_MAX_LINE: Final = 2**31 - 1
_REVIVED: Final = ("crashed", "preempting", "preempted")


@dataclass(frozen=True, slots=True)
class StreamRequest:
    """One request, understood. ``chunks`` are (stream, offset, texts)."""

    chunks: list[tuple[Stream, int, list[str]]] = field(default_factory=list)
    summary: str | None = None
    preempting: bool = False
    complete: bool = False
    exit_code: int = 0


def understand(body: dict[str, Any]) -> StreamRequest:
    """Check the body of a request. Files nobody knows are passed over, as newer SDKs may send some."""
    files = body.get("files") or {}
    if not isinstance(files, dict):
        raise BadRequest("'files' must be an object of {name: {offset, content}}")
    chunks: list[tuple[Stream, int, list[str]]] = []
    summary: str | None = None
    for name, chunk in files.items():
        offset, content = _chunk(name, chunk)
        if name == _SUMMARY:
            summary = _object_text(name, content[-1]) if content else None
        elif name in _STREAMS:
            chunks.append((_STREAMS[name], offset, content))
    exit_code = body.get("exitcode") or 0
    return StreamRequest(
        chunks=chunks,
        summary=summary,
        preempting=_flag(body, "preempting"),
        complete=_flag(body, "complete"),
        exit_code=exit_code if isinstance(exit_code, int) and abs(exit_code) <= _MAX_LINE else 1,
    )


def _flag(body: dict[str, Any], name: str) -> bool:
    value = body.get(name)
    if not isinstance(value, bool | None):
        raise BadRequest(f"{name!r} must be true or false")
    return bool(value)


def _chunk(name: str, chunk: Any) -> tuple[int, list[str]]:
    offset = chunk.get("offset", 0) if isinstance(chunk, dict) else None
    content = chunk.get("content", []) if isinstance(chunk, dict) else None
    if isinstance(content, str):
        content = [content]
    whole = isinstance(offset, int) and not isinstance(offset, bool) and offset >= 0
    if not whole or not isinstance(content, list) or not all(isinstance(text, str) for text in content):
        raise BadRequest(f"{name!r} must be {{offset: a number of at least 0, content: a list of texts}}")
    offset = int(offset or 0)
    if offset + len(content) > _MAX_LINE:
        raise BadRequest(f"{name!r} cannot have more than {_MAX_LINE} lines")
    return offset, content


def _object_text(name: str, text: str) -> str:
    _row(name, 0, text)
    return text


def _row(name: str, number: int, text: str) -> dict[str, Any]:
    try:
        row = jsontext.received(text)
    except ValueError as error:
        raise BadRequest(f"line {number} of {name} is not valid JSON: {error}") from None
    if not isinstance(row, dict):
        raise BadRequest(f"line {number} of {name} must be a JSON object")
    return row


def apply(connection: Connection, run: Row[Any], request: StreamRequest, now: int) -> dict[str, Any]:
    """Store what came and answer as the SDK expects; ``stopped`` asks it to end the run."""
    values: dict[str, Any] = {"heartbeat_at": now}
    for stream, offset, texts in request.chunks:
        if texts:
            values.update(_apply_chunk(connection, run, stream, offset, texts))
    if request.summary is not None:
        values["summary_metrics"] = request.summary
    values.update(_state(run, request))
    runs.change(connection, run.pk, now, values)
    answer: dict[str, Any] = {"exitcode": None, "limits": {}}
    if run.stop_requested and not request.complete:
        answer["stopped"] = True
    return answer


def _state(run: Row[Any], request: StreamRequest) -> dict[str, Any]:
    if request.complete:
        # A run that announced its preemption and then failed was preempted: a sweep takes it up again.
        failed = "preempted" if request.preempting or run.state == "preempting" else "failed"
        state = failed if request.exit_code else "finished"
        return {"state": state, "exit_code": request.exit_code, "stop_requested": False}
    if request.preempting:
        return {"state": "preempting"}
    if run.state in _REVIVED and (request.chunks or run.state == "crashed"):
        return {"state": "running"}  # it was only silent
    return {}


def _apply_chunk(
    connection: Connection, run: Row[Any], stream: Stream, offset: int, texts: list[str]
) -> dict[str, Any]:
    count = getattr(run, _COUNTS[stream])
    values: dict[str, Any] = {_COUNTS[stream]: max(count, offset + len(texts))}
    if stream is Stream.OUTPUT:
        # `wandb sync` before 0.26 leaves the ends of lines in them.
        new = [Line(number, number, text.rstrip("\n")) for number, text in enumerate(texts, offset)]
        lines.put(connection, run.pk, stream, new)
        return values
    name = next(name for name, known in _STREAMS.items() if known is stream)
    rows = [_row(name, offset + index, text) for index, text in enumerate(texts)]
    new = [
        Line(offset + index, _step(row, offset + index), text)
        for index, (row, text) in enumerate(zip(rows, texts, strict=True))
    ]
    if stream is Stream.EVENTS:
        lines.put(connection, run.pk, stream, new)
        values["system_metrics"] = _system_metrics(run.system_metrics, rows)
        return values
    overwritten = {}
    if offset < count:
        overwritten = lines.between(connection, run.pk, stream, offset, offset + len(texts) - 1)
        if all(overwritten.get(line.number) == line.text for line in new):
            return {}  # sent again after a lost answer
    lines.put(connection, run.pk, stream, new)
    values["history_keys"] = _history_keys(run.history_keys, rows, list(overwritten.values()))
    values["last_step"] = lines.last_step(connection, run.pk)
    return values


def _step(row: dict[str, Any], number: int) -> int:
    """The step of a row; a row without one stands at its line number, which is where the SDK would have put it."""
    step = row.get("_step")
    if isinstance(step, bool) or not isinstance(step, int | float) or not abs(step) < 2**63:
        return number
    return int(step)


def _history_keys(known: str | None, rows: list[dict[str, Any]], overwritten: list[str]) -> str:
    keys: keystats.Keys = jsontext.loads(known) if known else {}
    keystats.remove_rows(keys, [jsontext.loads(text) for text in overwritten])
    keystats.add_rows(keys, rows)
    return jsontext.dumps(keys)


def _system_metrics(known: str | None, rows: list[dict[str, Any]]) -> str:
    """The last value of each system metric."""
    latest: dict[str, Any] = jsontext.loads(known) if known else {}
    for row in rows:
        latest.update((key, value) for key, value in row.items() if key not in ("_wandb", "_timestamp"))
    return jsontext.dumps(latest)
