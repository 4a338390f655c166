"""Resolvers of histories, system events and console lines."""

import re
from collections.abc import Mapping
from typing import Any

from sqlalchemy import Row

from ... import jsontext
from ...faults import BadRequest
from ...ids import cursor, split_cursor
from ...store import lines
from ...store.lines import Stream
from ...store.sampling import evenly
from .context import MAX_PAGE, Info, context_of

_DEFAULT_SAMPLES = 500
_MISSING = object()
_PLAIN = re.compile(r"[A-Za-z0-9 ._/:@+-]+")


def _rows(stream: Stream) -> Any:
    def resolve(
        run: Row[Any],
        info: Info,
        minStep: int | None = None,
        maxStep: int | None = None,
        samples: int | None = None,
    ) -> list[str]:
        wanted = _DEFAULT_SAMPLES if samples is None else samples
        return lines.sampled_texts(context_of(info).connection, run.pk, stream, wanted, minStep, maxStep)

    return resolve


def _sampled(run: Row[Any], info: Info, specs: list[str]) -> list[list[dict[str, Any]]]:
    return [_sample(run, info, _spec(text)) for text in specs]


def _spec(text: str) -> dict[str, Any]:
    try:
        spec = jsontext.received(text)
    except ValueError as error:
        raise BadRequest(f"a spec of sampledHistory is not valid JSON: {error}") from None
    if not isinstance(spec, dict) or not isinstance(spec.get("keys", []), list):
        raise BadRequest("a spec of sampledHistory must be an object with a list 'keys'")
    for key in ("samples", "minStep", "maxStep"):
        value = spec.get(key)
        if not isinstance(value, int | float | None) or not abs(value or 0) < 2**62:
            raise BadRequest(f"{key!r} in a spec of sampledHistory must be a number below 2**62")
    return spec


def _sample(run: Row[Any], info: Info, spec: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows that have all keys, cut down to them. The range of a spec includes its maxStep."""
    last = spec.get("maxStep")
    keys = list(dict.fromkeys(str(key) for key in spec.get("keys", [])))
    placed = lines.placed(
        context_of(info).connection,
        run.pk,
        Stream.HISTORY,
        _whole(spec.get("minStep")),
        None if last is None else int(last) + 1,
    )
    needles = [needle for needle in map(_needle, keys) if needle]
    steps, found = [], []
    for step, _, text in placed:
        for needle in needles:
            if needle not in text:
                break
        else:
            row = _picked(jsontext.embedded(text), step, keys)
            if row is not None:
                steps.append(step)
                found.append(row)
    return [found[place] for place in evenly(steps, int(spec.get("samples") or _DEFAULT_SAMPLES))]


def _needle(key: str) -> str | None:
    """What a row's text must hold to have the key: looking is many times cheaper than parsing.

    A dotted key may be written whole or nested; both end alike. Keys that writers may escape are not looked for, and
    every row has a step, written or not.
    """
    if key == "_step":
        return None
    return f'{key.rpartition(".")[2]}"' if _PLAIN.fullmatch(key) else None


def _whole(value: float | None) -> int | None:
    return None if value is None else int(value)


def _picked(row: Any, step: int, keys: list[str]) -> dict[str, Any] | None:
    try:
        return {key: row[key] for key in keys}
    except KeyError:
        return _searched(row, step, keys)


def _searched(row: Any, step: int, keys: list[str]) -> dict[str, Any] | None:
    """The same for keys that may stand deeper in the row."""
    picked = {}
    for key in keys:
        value = row.get(key, _MISSING)
        if value is _MISSING:
            if key == "_step":
                value = step
            elif "." not in key or (value := _nested(row, key)) is _MISSING:
                return None
        picked[key] = value
    return picked


def _nested(row: Any, key: str) -> Any:
    """The value of a dotted key: keys of nested objects are logged nested and asked for dotted."""
    for part in key.split("."):
        if not isinstance(row, Mapping) or part not in row:
            return _MISSING
        row = row[part]
    return row


def _log_lines(
    run: Row[Any],
    info: Info,
    first: int | None = None,
    after: str | None = None,
    last: int | None = None,
    useImprovedPagination: bool | None = None,
) -> dict[str, Any]:
    """Console lines, ascending; ``last`` counts from the end, ``first`` and ``after`` page from the beginning."""
    limit = min(MAX_PAGE * 10, MAX_PAGE if first is None else max(0, first))
    start = split_cursor(after)
    if last is not None:
        limit = min(MAX_PAGE * 10, max(0, last))
        start = max(0, run.log_line_count - limit)
    rows = lines.numbered(context_of(info).connection, run.pk, Stream.OUTPUT, start, limit)
    edges = [{"node": log_line(row.number, row.text), "cursor": cursor(row.number + 1)} for row in rows]
    end = rows[-1].number + 1 if rows else start
    page_info = {
        "startCursor": edges[0]["cursor"] if edges else None,
        "endCursor": edges[-1]["cursor"] if edges else None,
        "hasNextPage": end < run.log_line_count,
        "hasPreviousPage": start > 0,
    }
    return {"edges": edges, "pageInfo": page_info}


def log_line(number: int, text: str) -> dict[str, Any]:
    """Take a stored console line apart: ``[ERROR ]<timestamp> <text>``."""
    level = ""
    if text.startswith("ERROR "):
        level, text = "error", text.removeprefix("ERROR ")
    stamp, _, rest = text.partition(" ")
    if len(stamp) >= 19 and stamp[4:5] == "-" and stamp[10:11] == "T":
        return {"number": number, "timestamp": stamp, "level": level, "label": "", "line": rest}
    return {"number": number, "timestamp": None, "level": level, "label": "", "line": text}


def _parquet(run: Row[Any], info: Info, liveKeys: list[str] | None = None) -> dict[str, Any]:
    """Addresses of files with all rows, or none; never of some rows beside live ones, since readers would read those
    twice that stand in one page with live ones.
    """
    context = context_of(info)
    until = context.once("exports", context.exports.deadline)
    paths = context.exports.paths(run, until)
    return {"parquetUrls": [context.file_url(path, "read") for path in paths], "liveData": []}


RESOLVERS: dict[str, dict[str, Any]] = {
    "Run": {
        "history": _rows(Stream.HISTORY),
        "events": _rows(Stream.EVENTS),
        "sampledHistory": _sampled,
        "parquetHistory": _parquet,
        "logLines": _log_lines,
    }
}
