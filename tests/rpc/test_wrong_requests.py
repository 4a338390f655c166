"""Every wrong filter, column, operator, order, path and mask, to every RPC that takes one: INVALID_ARGUMENT that names
the field and tells what would be right, before any server is asked."""

from __future__ import annotations

import json
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask

from runtap.v1 import common_pb2
from tests.support.many_accounts import PROJECT_PATH, PersonalUpstream, Seat
from tests.support.reading_calls import LISTS_OF_RUNS, call
from tests.support.scripted_world import failing
from tests.support.status import Failure

COLUMNS = "known columns are commit, created_at"
OPERATORS_TOLD = "known are $eq, $ne, $gt"


def refused(seat: Seat, server: PersonalUpstream, rpc: str, **fields: Any) -> Failure:
    """The refusal of a request, of which the server must not have heard."""
    before = server.count()
    failure = failing(lambda: call(seat, rpc, **fields))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT and server.count() == before, failure
    assert failure.fields == [next(iter(fields))]
    return failure


FILTERS = [
    # columns
    ({"stat": "finished"}, "unknown column 'stat'; did you mean 'state'?"),
    ({"State": "finished"}, "did you mean 'state'?"),
    ({"jobtype": "train"}, "did you mean 'job_type'?"),
    ({"user.username": "ada"}, "did you mean 'user'?"),
    ({"id": "r1"}, "did you mean 'name'?"),
    ({"sumary.loss": 1}, "did you mean 'summary.<key>'?"),
    ({"metrics.loss": 1}, "did you mean 'summary_metrics.<key>'?"),
    (
        {"loss": 1},
        "what a run logged is 'summary_metrics.loss', what it was given 'config.loss'; other " + COLUMNS,
    ),
    ({"config": 1}, "column 'config' needs a key after it, as in 'config.<key>'"),
    ({"summary": {"loss": 1}}, "name the key with it, as in 'summary.loss'"),
    ({"keys_info.keys": 1}, "as in 'keys_info.keys.<metric>'"),
    ({"": 1}, "a column has no name; known are commit"),
    ({"order": "+summary.loss"}, "give it as the order argument beside the filters"),
    ({"$or": [{"state": "a"}, {"stat": "b"}]}, "did you mean 'state'? (at $or[1])"),
    # operators
    ({"config.lr": {"$gtt": 1}}, "unknown operator '$gtt' on config.lr; did you mean $gt?"),
    ({"config.lr": {"$xyz": 1}}, OPERATORS_TOLD),
    ({"state": {"$elemMatch": {}}}, OPERATORS_TOLD),
    ({"$adn": []}, "operator $adn cannot stand here; did you mean $and?"),
    ({"$where": "x"}, "known are $and, $or, $nor, $not"),
    ({"$regex": "x"}, "it belongs inside a column, as in {'state': {'$regex': ...}}"),
    ({"config.lr": {"$options": "i"}}, "$options on config.lr stands without $regex"),
    ({"created_at": {"$regex": "2024"}}, "use $gte and $lt"),
    # operands
    ({"config.lr": {"$lt": None}}, "$lt on config.lr needs a number, a text or a date, not null"),
    ({"$and": [{}, {"config.lr": {"$lt": [1]}}]}, "not a list of 1 (at $and[1].config.lr.$lt)"),
    ({"created_at": {"$gt": "yesterday"}}, "needs a date such as '2024-05-31'"),
    ({"created_at": {"$gt": "2024-13-01"}}, "not '2024-13-01'"),
    ({"state": {"$in": "finished"}}, "$in on state needs a list, not 'finished'"),
    ({"tags": {"$exists": "yes"}}, "$exists on tags needs true or false, not 'yes'"),
    ({"tags": {"$size": -1}}, "$size on tags needs a whole number of at least 0"),
    ({"state": {"$regex": 5}}, "$regex on state needs a text, not 5"),
    ({"state": {"$regex": "(?=x)"}}, "RE2 has no look-around"),
    ({"config.lr": {"$not": 5}}, "to exclude a value use $ne"),
    ({"config.lr": {"$eq": {"$gt": 1}}}, "join the two by $and or $or"),
    # shapes
    ({"$or": {"state": "a"}}, "$or needs a list of filters, not an object"),
    ({"$and": [7]}, "a filter must be an object, not 7 (at $and[0])"),
    ([], "a filter must be an object, not []"),
    ("x", "a filter must be an object, not 'x'"),
    # texts that are no JSON
    ("raw:state=finished", 'one looks like {"state": "finished"}'),
    ("raw:{'state': 'finished'}", "names and texts stand in double quotes"),
    ('raw:{"state": "a", "state": "b"}', "'state' stands twice"),
    ('raw:{"config.lr": NaN}', "the filter is not JSON"),
    ("raw:" + '{"$and":[' * 400 + "{}" + "]}" * 400, "nested deeper than 50 levels"),
    ("raw:" + "[" * 4000, "the filter is not JSON"),
]


@pytest.mark.parametrize("rpc", [*LISTS_OF_RUNS, "ReadHistories"])
@pytest.mark.parametrize(("written", "said"), FILTERS, ids=[str(written)[:40] for written, _ in FILTERS])
def test_wrong_filters(seat: Seat, server: PersonalUpstream, rpc: str, written: Any, said: str) -> None:
    raw = isinstance(written, str) and written.startswith("raw:")
    text = written[4:] if raw else json.dumps(written)
    failure = refused(seat, server, rpc, filter_json=text)
    assert failure.reason == "INVALID_FILTER" and said in failure.message


ORDERS = [
    ("+", "order '+' names no column; write it as '-created_at' or '+summary_metrics.loss'"),
    ("+creatd_at", "did you mean 'created_at'?"),
    ("-id", "did you mean 'name'?"),
    ("loss", "what a run logged is 'summary_metrics.loss'"),
    ("-summary", "column 'summary' needs a key after it, as in 'summary.<key>'"),
    ("created_at desc", "did you mean '-created_at'?"),
    ("state  ASC", "did you mean '+state'?"),
    (
        "-created_at,+name",
        "names several columns; there is one, and ties go by run id; did you mean '-created_at'?",
    ),
    ("--created_at", "did you mean '-created_at'?"),
    ("+-name", "did you mean '+name'?"),
    ("*state", "did you mean '-state'?"),
    ("\N{MINUS SIGN}created_at", "did you mean '-created_at'?"),
    ("~nothing", "unknown column '~nothing'"),
]


@pytest.mark.parametrize("rpc", [*LISTS_OF_RUNS, "ListSweepRuns", "GetBestRun"])
@pytest.mark.parametrize(("order", "said"), ORDERS)
def test_wrong_orders(seat: Seat, server: PersonalUpstream, rpc: str, order: str, said: str) -> None:
    failure = refused(seat, server, rpc, order=order)
    assert failure.reason == "INVALID_ORDER" and said in failure.message


def wrong_items(kind: str, other: str) -> list[tuple[str, str]]:
    """Texts that are no path of a run or a sweep, and what is said of them."""
    forms = f"entity/project/{kind}_id (or project/{kind}_id, {kind}_id, or the {kind}'s URL)"
    return [
        ("", forms),
        ("  / ", forms),
        ("a/b/c/d", forms),
        ("team//x", forms),
        (f"team/vision/{kind}s/ /x", forms),
        (f"team/vision/{other}s/x", f"; it is that of a {other}"),
        (f"https://wandb.test/team/vision/{other}s/x?y=z", f"; it is that of a {other}"),
        (f"wandb.test/team/vision/{other}s/x", f"; it is that of a {other}"),
        ("https://wandb.test/team/vision/reports/x", "; it is that of a report"),
        ("https://wandb.test/team/vision", f"; it is that of a project, whose {kind}s are team/vision/<{kind}_id>"),
        (f"https://wandb.test/team/vision/{kind}s", f"whose {kind}s are team/vision/<{kind}_id>"),
        ("https://wandb.test/team", forms),
        ("http://[", "is not a URL"),
        ("x", f"no default project: write entity/project/{kind}_id, or set a default"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "rpc", ["GetRun", "ReadDocument", "UpdateRun", "ReadHistory", "SampleHistory", "GetHistoryKeys"]
)
@pytest.mark.parametrize(("path", "said"), wrong_items("run", "sweep"))
def test_wrong_paths_of_runs(seat: Seat, server: PersonalUpstream, rpc: str, path: str, said: str) -> None:
    failure = refused(seat, server, rpc, path=path)
    assert failure.reason == "INVALID_PATH" and said in failure.message and repr(path) in failure.message


@pytest.mark.parametrize(
    ("rpc", "fields"), [("BatchGetRuns", {}), ("ReadHistories", {"project": "", "filter_json": ""})]
)
@pytest.mark.parametrize(("path", "said"), wrong_items("run", "sweep"))
def test_wrong_paths_among_right_ones(
    seat: Seat, server: PersonalUpstream, rpc: str, fields: dict[str, str], path: str, said: str
) -> None:
    before = server.count()
    failure = failing(lambda: call(seat, rpc, paths=[f"{PROJECT_PATH}/r1", path], **fields))
    assert failure.fields == ["paths[1]"] and server.count() == before
    assert failure.reason == "INVALID_PATH" and said in failure.message and repr(path) in failure.message


@pytest.mark.parametrize("rpc", ["GetSweep", "ListSweepRuns", "GetBestRun"])
@pytest.mark.parametrize(("path", "said"), wrong_items("sweep", "run"))
def test_wrong_paths_of_sweeps(seat: Seat, server: PersonalUpstream, rpc: str, path: str, said: str) -> None:
    failure = refused(seat, server, rpc, path=path)
    assert failure.reason == "INVALID_PATH" and said in failure.message and repr(path) in failure.message


PROJECTS = [
    ("", "no default project: write entity/project, or set a default"),
    ("team//vision", "entity/project (or project, or the project's URL)"),
    ("team/vision/r1", "did you mean 'team/vision'?"),
    ("team/vision/runs/r1", "did you mean 'team/vision'?"),
    ("https://wandb.test/team/vision/runs/r1/overview", "did you mean 'team/vision'?"),
    ("wandb.test/team/vision/sweeps/s1", "did you mean 'team/vision'?"),
    ("https://wandb.test/team", "entity/project (or project, or the project's URL)"),
    ("https://wandb.test", "entity/project (or project, or the project's URL)"),
    ("http://[", "is not a URL"),
]


@pytest.mark.parametrize("rpc", [*LISTS_OF_RUNS, "ReadHistories", "ListSweeps", "GetProject"])
@pytest.mark.parametrize(("path", "said"), PROJECTS)
def test_wrong_paths_of_projects(
    seat: Seat, server: PersonalUpstream, rpc: str, path: str, said: str
) -> None:
    failure = refused(seat, server, rpc, **{"path" if rpc == "GetProject" else "project": path})
    assert failure.reason == "INVALID_PATH" and said in failure.message and repr(path) in failure.message


@pytest.mark.parametrize(
    ("entity", "said"),
    [("team/vision", "did you mean 'team'?"), ("https://x.test/team/vision", "did you mean 'team'?"), ("/", "")],
)  # fmt: skip
def test_wrong_entities(seat: Seat, server: PersonalUpstream, entity: str, said: str) -> None:
    if entity == "/":
        assert call(seat, "ListProjects", entity=entity).projects, "nothing is the default"
        return
    failure = refused(seat, server, "ListProjects", entity=entity)
    assert failure.reason == "INVALID_PATH" and "the name of a user or a team" in failure.message
    assert said in failure.message


MASKS = [
    ("config", "did you mean 'config_json'?"),
    ("summary.loss", "did you mean 'summary_json.loss'?"),
    ("displayName", "did you mean 'display_name'?"),
    ("name", "did you mean 'display_name'?"),
    ("id", "did you mean 'run_id'?"),
    ("tags.x", "keys are named behind config_json and summary_json only"),
    ("config_json.", "as in 'config_json.lr'"),
    ("omitted", "it comes with the documents that it stands for"),
    ("*", "these are commit, config_json"),
    ("", "these are commit, config_json"),
]


@pytest.mark.parametrize("rpc", ["GetRun", "BatchGetRuns", "ListRuns", "StreamRuns", "ListSweepRuns"])
@pytest.mark.parametrize(("path", "said"), MASKS)
def test_wrong_masks(seat: Seat, server: PersonalUpstream, rpc: str, path: str, said: str) -> None:
    failure = refused(seat, server, rpc, read_mask=FieldMask(paths=["tags", path]))
    assert failure.reason == "INVALID_FIELD" and said in failure.message and repr(path) in failure.message


@pytest.mark.parametrize(
    ("rpc", "fields", "said"),
    [
        ("UpdateRun", {"update_mask": FieldMask(paths=["notse"])}, "it restricts `fields`, which has display_name"),
        ("UpdateRun", {"request_id": ""}, "give each change an id"),
        ("ReadDocument", {"document": 99}, "must be one of DOCUMENT_CONFIG, DOCUMENT_SUMMARY"),
        ("ReadDocument", {"document": 0}, "must be one of DOCUMENT_CONFIG"),
        ("GetBestRun", {"pick": 99}, "it can be METRIC_PICK_LAST, METRIC_PICK_MIN, METRIC_PICK_MAX"),
        ("ListRuns", {"page_size": -1}, "it must be 0 (the default) or more"),
        ("ListSweepRuns", {"page_size": -1}, "it must be 0 (the default) or more"),
        ("ListRuns", {"page_token": "\N{SNOWMAN}"}, "begin again without it"),
        ("ListSweepRuns", {"page_token": "x"}, "begin again without it"),
        ("ListSweeps", {"page_token": "x"}, "begin again without it"),
        ("ReadHistory", {"resume_token": "x"}, "begin again without it"),
        ("StreamRuns", {"limit": -1}, "limit must not be negative"),
        ("GetRun", {"options": common_pb2.ReadOptions(cache_only=True, no_cache=True)}, "exclude each other"),
        ("GetSweep", {"options": common_pb2.ReadOptions(max_age=Duration(seconds=-1))}, "cannot be negative"),
    ],
)  # fmt: skip
def test_other_wrong_fields(
    seat: Seat, server: PersonalUpstream, rpc: str, fields: dict[str, Any], said: str
) -> None:
    before = server.count()
    failure = failing(lambda: call(seat, rpc, **fields))
    assert failure.code == grpc.StatusCode.INVALID_ARGUMENT and server.count() == before
    assert failure.fields[0].partition(".")[0] == next(iter(fields)) and said in failure.message


@pytest.mark.parametrize("rpc", ["GetRun", "ReadDocument", "ReadHistory", "SampleHistory", "GetHistoryKeys"])
@pytest.mark.parametrize(
    "path",
    [
        " team / vision / r1 ",
        "team/vision/runs/r1",
        "team/vision/runs/r1/files",
        "https://wandb.test/team/vision/runs/r1/overview?workspace=user",
        "wandb.test/team/vision/runs/r1?workspace=user",
        "localhost:8080/team/vision/runs/r1",
    ],
)
def test_what_people_paste_is_no_mistake(seat: Seat, rpc: str, path: str) -> None:
    assert call(seat, rpc, path=path)
