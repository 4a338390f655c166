"""From a server's JSON to our values. Pure; every surprise is an InvalidAnswer that names the place."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, TypeVar

from runtapd.faults import InvalidAnswer
from runtapd.model import jsontext
from runtapd.model.project import ProjectData
from runtapd.model.run import RunData
from runtapd.model.sweep import Search, SweepData, search
from runtapd.upstream.api import Exports, GlancePage, Listed, Page, RunGlance, RunPage, ViewerData

T = TypeVar("T")
_EDGES = ("project", "runs", "edges")


def viewer(data: dict[str, Any]) -> ViewerData | None:
    """Reads a viewer; None when the server knows nobody by this key."""
    found = data.get("viewer")
    if not isinstance(found, dict):
        return None
    edges = _list(_dict(found.get("teams")).get("edges"))
    names = [_dict(_dict(edge).get("node")).get("name") for edge in edges]
    username = _text(found, "username") or ""
    return ViewerData(
        id=_text(found, "id") or username,
        username=username,
        entity=_text(found, "entity") or username,
        email=_text(found, "email") or "",
        teams=tuple(name for name in names if isinstance(name, str)),
    )


def viewer_beside_errors(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the data of an answer that knows the viewer, whatever else in it failed; else None."""
    data = _dict(answer.get("data"))
    return data if isinstance(data.get("viewer"), dict) else None


def fields_by_type(data: dict[str, Any], types: Collection[str]) -> dict[str, list[str]]:
    """Reads what introspection told of these types; without those of which it told nothing."""
    found = {}
    for name in types:
        fields = _dict(data.get(name)).get("fields")
        if isinstance(fields, list) and fields:
            names = [_dict(each).get("name") for each in fields]
            found[name] = [each for each in names if isinstance(each, str)]
    return found


def run(node: Any, entity: str, project: str, where: str) -> RunData:
    """Reads one run; raises InvalidAnswer naming `where` when what every run must have is not there."""
    if not isinstance(node, dict):
        raise InvalidAnswer(f"the server's answer has no run at {where}")
    user = _dict(node.get("user"))
    return RunData(
        storage_id=_needed(node, "id", where),
        entity=entity,
        project=project,
        run_id=_needed(node, "name", where),
        display_name=_text(node, "displayName") or "",
        state=_text(node, "state") or "",
        created_at=_text(node, "createdAt") or "",
        tags=tuple(jsontext.encodable(tag) for tag in _list(node.get("tags")) if isinstance(tag, str)),
        notes=_text(node, "notes"),
        description=_text(node, "description"),
        group=_text(node, "group"),
        job_type=_text(node, "jobType"),
        sweep_name=_text(node, "sweepName"),
        commit=_text(node, "commit"),
        username=_text(user, "username") or "",
        user_name=_text(user, "name") or "",
        heartbeat_at=_text(node, "heartbeatAt"),
        updated_at=_text(node, "updatedAt"),
        read_only=node.get("readOnly") is True,
        history_line_count=_integer(node.get("historyLineCount")),
        config=_document(node, "config", where) or "{}",
        summary=_document(node, "summaryMetrics", where) or "{}",
        system_metrics=_document(node, "systemMetrics", where),
        history_keys=_document(node, "historyKeys", where),
        project_id=_token(node.get("projectId")),
    )


def run_page(data: dict[str, Any], entity: str, project: str) -> RunPage | None:
    """Reads a page of runs; None when the project is not there."""
    found = data.get("project")
    if not isinstance(found, dict):
        return None
    listing = found.get("runs")
    if not isinstance(listing, dict) or not isinstance(listing.get("edges"), list):
        raise InvalidAnswer("the server's answer has no list at project.runs.edges")
    places = listing["edges"]
    edges = [edge for edge in places if _names_run(edge)]
    return Listed(
        runs=tuple(
            run(edge["node"], entity, project, f"project.runs.edges[{i}]") for i, edge in enumerate(edges)
        ),
        cursors=tuple(_token(edge.get("cursor")) for edge in edges),
        has_next=_dict(listing.get("pageInfo")).get("hasNextPage") is True,
        total=_count(found.get("runCount")),
        unread=len(places) - len(edges),
        end=_token(_dict(places[-1]).get("cursor")) if places else "",
    )


def _names_run(edge: Any) -> bool:
    """Whether a place of a list tells at least which run is there; one that does not counts as not given."""
    node = _dict(_dict(edge).get("node"))
    return bool(_text(node, "id") and _text(node, "name"))


def runs_beside_errors(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the data of a list's answer whose errors cost it single runs only, those runs as null; else None.

    Where an error stands is told by its `path`; what it says is not read. An error inside a run spoils that run: what
    it lacks would be taken for empty. One without a place is believed to be about the runs that are null.
    """
    data = answer.get("data")
    edges = _dict(_dict(_dict(data).get("project")).get("runs")).get("edges")
    if not isinstance(edges, list):
        return None
    null = [not (isinstance(edge, dict) and edge.get("node")) for edge in edges]
    for error in answer["errors"] if isinstance(answer["errors"], list) else [None]:
        told = _dict(error).get("path")
        path = tuple(told) if isinstance(told, list) else ()
        spoilt = path[3] if path[:3] == _EDGES and len(path) > 3 else None
        if isinstance(spoilt, int) and 0 <= spoilt < len(edges):
            edges[spoilt] = None
        elif path != _EDGES[: len(path)] or not any(null):
            return None
    return _dict(data)


def glance_page(data: dict[str, Any], entity: str, project: str) -> GlancePage | None:
    """Reads a page of runs without their documents; None when the project is not there."""
    found = run_page(data, entity, project)
    if found is None:
        return None
    glances = (RunGlance(run.storage_id, run.run_id, run.created_at, run.sign()) for run in found.runs)
    return Listed(tuple(glances), found.cursors, found.has_next, found.total, found.unread, found.end)


def page(found: Any, where: str, behind: str, one: Callable[[Any, str], T]) -> Page[T]:
    """Reads a page of a connection whose `pageInfo` says where it goes on; `one` reads a node at a place."""
    edges = _dict(found).get("edges")
    if not isinstance(edges, list):
        raise InvalidAnswer(f"the server's answer has no list at {where}.edges")
    nodes = [edge["node"] for edge in edges if isinstance(edge, dict) and edge.get("node")]
    info = _dict(found.get("pageInfo"))
    cursor = _text(info, "endCursor") or ""
    if info.get("hasNextPage") is not True:
        cursor = ""
    elif cursor in ("", behind):
        raise InvalidAnswer(f"the server says there is more at {where}, but not where it goes on")
    return Page(tuple(one(node, f"{where}.edges[{i}]") for i, node in enumerate(nodes)), cursor)


def project(node: Any, entity: str, where: str) -> ProjectData:
    """Reads one project; raises InvalidAnswer naming `where` when what every project must have is not there."""
    if not isinstance(node, dict):
        raise InvalidAnswer(f"the server's answer has no project at {where}")
    return ProjectData(
        id=_needed(node, "id", where),
        entity=_text(node, "entityName") or entity,
        name=_needed(node, "name", where),
        created_at=_text(node, "createdAt") or "",
        is_benchmark=node.get("isBenchmark") is True,
        description=_text(node, "description"),
    )


def sweep(node: Any, entity: str, project: str, where: str) -> SweepData:
    """Reads one sweep; raises InvalidAnswer naming `where` when what every sweep must have is not there."""
    if not isinstance(node, dict):
        raise InvalidAnswer(f"the server's answer has no sweep at {where}")
    config = _text(node, "config") or ""
    told = search(config)
    return SweepData(
        storage_id=_needed(node, "id", where),
        entity=entity,
        project=project,
        sweep_id=_needed(node, "name", where),
        config=config,
        search=Search(_text(node, "method") or told.method, told.metric, told.maximize),
        display_name=_text(node, "displayName") or "",
        state=(_text(node, "state") or "").upper(),
        best_loss=jsontext.number(node.get("bestLoss")),
        run_count=_count(node.get("runCount")),
        expected_run_count=_count(node.get("runCountExpected")),
        created_at=_text(node, "createdAt") or "",
    )


def rows(data: dict[str, Any], field: str) -> list[str] | None:
    """Reads `project.run.<field>`, a list of JSON texts; None when the run is not there."""
    found = _dict(data.get("project")).get("run")
    if not isinstance(found, dict):
        return None
    listed = found.get(field)
    if listed is None:
        return []
    if not isinstance(listed, list):
        raise InvalidAnswer(f"the server's answer has no list at project.run.{field}")
    return [_written(row, f"project.run.{field}") for row in listed]


def exports(data: dict[str, Any]) -> Exports | None:
    """Reads where a run's history is as files; None when the run is not there."""
    found = _dict(data.get("project")).get("run")
    if not isinstance(found, dict):
        return None
    where = "project.run.parquetHistory"
    told = _dict(found.get("parquetHistory"))
    urls, live = told.get("parquetUrls") or [], told.get("liveData") or []
    if not isinstance(urls, list) or not all(isinstance(url, str) and url for url in urls):
        raise InvalidAnswer(f"the server's answer has no list of addresses at {where}.parquetUrls")
    steps = [_step(_dict(row).get("_step")) for row in live] if isinstance(live, list) else [None]
    known = [step for step in steps if step is not None]
    if len(known) < len(steps):
        raise InvalidAnswer(f"the server's answer has a row without a step at {where}.liveData")
    return Exports(tuple(urls), min(known, default=None))


def exports_beside_errors(answer: dict[str, Any]) -> dict[str, Any] | None:
    """Returns the data of an answer that knows the run and failed to give its files, which then has none; else None."""
    data = _dict(answer.get("data"))
    return data if isinstance(inside(data, "project", "run"), dict) else None


def last_step(history_keys: str | None) -> int | None:
    """Returns the last step that a run's history keys tell; None when they do not."""
    if not history_keys:
        return None
    try:
        parsed = jsontext.loads(history_keys)
    except ValueError:
        return None
    return _step(parsed.get("lastStep")) if isinstance(parsed, dict) else None


def inside(data: dict[str, Any], *names: str) -> Any:
    """Returns what lies under these names, one in the other; None when there is no such place."""
    found: Any = data
    for name in names:
        found = _dict(found).get(name)
    return found


def _dict(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _needed(node: dict[str, Any], key: str, where: str) -> str:
    value = _text(node, key)
    if not value:
        raise InvalidAnswer(f"the server's answer lacks {where}.{key}")
    return value


def _text(node: dict[str, Any], key: str) -> str | None:
    value = node.get(key)
    return jsontext.encodable(value) if isinstance(value, str) else None


def _integer(value: Any) -> int | None:
    """A number that the contract can hold, also when it was written as a text."""
    try:
        number = None if value is None or isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return number if number is not None and -(2**63) <= number < 2**63 else None


def _count(value: Any) -> int | None:
    number = _integer(value)
    return None if number is None or number < 0 else number


def _token(value: Any) -> str:
    """An id or a cursor, which some servers give as numbers."""
    known = isinstance(value, str | int) and not isinstance(value, bool)
    return jsontext.encodable(str(value)) if known and value else ""


def _step(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**63:
        return None
    return int(value)


def _document(node: dict[str, Any], key: str, where: str) -> str | None:
    """A JSONString is a text already; servers that embed the object get it written out."""
    value = node.get(key)
    return None if value is None or value == "" else _written(value, f"{where}.{key}")


def _written(value: Any, where: str) -> str:
    try:
        return jsontext.encodable(value if isinstance(value, str) else jsontext.dumps(value))
    except RecursionError as error:
        raise InvalidAnswer(f"the server's answer is nested too deeply at {where}") from error
