"""Runs: a sequence whose pages come when needed, shared by threads, honest about what is missing."""

from __future__ import annotations

import datetime
import json
import pickle
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

import runtap
from runtap.errors import CommError, IncompleteError, InvalidRequestError, RateLimitError
from runtap.v1 import common_pb2, runs_pb2
from tests.support.scripted_daemon import Fault, ScriptedDaemon, scripted_daemon

BAD = common_pb2.ItemError(
    item="ada/digits/bad",
    code=14,
    reason="UPSTREAM_UNAVAILABLE",
    message="HTTP 500",
    metadata={"http_status": "500"},
)


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    with scripted_daemon(tmp_path, monkeypatch) as script:
        for number in range(120):
            script.add_run(f"r{number}", summary={"loss": number})
        yield script


@pytest.fixture
def runs(daemon: ScriptedDaemon) -> runtap.Runs:
    return runtap.Api().runs("ada/digits")


def test_the_first_run_costs_one_page(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert runs[0].id == "r0"
    assert len(runs) == 120
    assert runs
    assert [call.request.page_size for call in daemon.calls if call.method == "runs.ListRuns"] == [0]


def test_all_runs_cost_two_pages(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert [run.id for run in runs] == [f"r{number}" for number in range(120)]
    assert [call.request.page_size for call in daemon.calls if call.method == "runs.ListRuns"] == [0, 1000]
    assert runs.complete
    assert not runs.more


def test_per_page_is_a_ceiling(daemon: ScriptedDaemon) -> None:
    assert len(list(runtap.Api().runs("ada/digits", per_page=60))) == 120
    assert [call.request.page_size for call in daemon.calls if call.method == "runs.ListRuns"] == [60, 60]


def test_nothing_is_fetched_before_it_is_looked_at(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert repr(runs) == "<Runs ada/digits (? runs)>"
    assert (runs.complete, runs.freshness, runs.objects) == (None, None, [])
    assert daemon.count("runs.ListRuns") == 0


def test_loops_do_not_disturb_each_other(runs: runtap.Runs) -> None:
    pairs = [(one.id, other.id) for one in runs for other in runs]
    assert len(pairs) == 120 * 120


def test_indexes_and_slices_as_of_a_list(runs: runtap.Runs) -> None:
    assert runs[-1].id == "r119"
    assert [run.id for run in runs[1:3]] == ["r1", "r2"]
    assert [run.id for run in runs[118:]] == ["r118", "r119"]
    assert [run.id for run in runs[::-60]] == ["r119", "r59"]
    assert runs[200:300] == []
    assert [run.id for run in runs[-2:]] == ["r118", "r119"]
    with pytest.raises(IndexError):
        runs[120]
    with pytest.raises(IndexError):
        runs[-121]
    with pytest.raises(TypeError, match="'str' object cannot be interpreted as an integer"):
        runs["r1"]  # type: ignore[call-overload]


def test_a_slice_at_the_beginning_costs_one_page(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert len(runs[:10]) == 10
    assert daemon.count("runs.ListRuns") == 1


def test_membership_and_equality_go_by_path(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    run = runtap.Api().run("ada/digits/r7")
    assert run in runs
    assert run == runs[7]
    assert len({run, runs[7]}) == 1
    assert "r8" in runs
    assert "ada/digits/r8" in runs
    assert "r999" not in runs


def test_next_takes_one_after_another(runs: runtap.Runs) -> None:
    assert next(runs).id == "r0"
    assert runs.next().id == "r1"
    assert next(iter(runs)).id == "r0"


def test_no_run_is_falsy_and_empty(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.runs.clear()
    assert not runs
    assert len(runs) == 0
    assert list(runs) == []


def test_threads_share_pages(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: [run.id for run in runs], range(16)))
    assert all(ids == seen[0] for ids in seen)
    assert daemon.count("runs.ListRuns") == 2
    assert runs[3] is runs[3]


def test_runs_that_cannot_be_read_come_last_as_an_error(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.bad_runs.append(BAD)
    good = []
    with pytest.raises(IncompleteError, match="1 of 121 runs could not be read") as caught:
        for run in runs:
            good.append(run)
    assert len(good) == 120
    assert len(runs) == 121
    assert runs.complete is False
    error = pickle.loads(pickle.dumps(caught.value)).errors[0]
    assert error.message == "ada/digits/bad: HTTP 500"
    assert error.reason == "UPSTREAM_UNAVAILABLE"
    assert error.exc.status_code == 500
    with pytest.raises(IncompleteError):
        runs[:]
    with pytest.raises(IncompleteError):
        runs[120]
    assert len(runs[:120]) == 120


def test_on_error_warn_gives_the_good_ones(daemon: ScriptedDaemon) -> None:
    daemon.bad_runs.append(BAD)
    runs = runtap.Api().runs("ada/digits", on_error="warn")
    with pytest.warns(UserWarning, match="could not be read") as caught:
        assert len(list(runs)) == 120
    assert [warning.filename for warning in caught] == [__file__]


def test_a_list_known_to_be_incomplete_says_why(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.incomplete_reason = "the server counts 125 runs"
    with pytest.warns(UserWarning, match="the server counts 125 runs"):
        list(runs)
    assert runs.complete is False
    assert runs.incomplete_reason == "the server counts 125 runs"


def test_errors_of_len_index_and_loops_are_comm_errors_and_a_retry_goes_on(
    daemon: ScriptedDaemon, runs: runtap.Runs
) -> None:
    limited = Fault(grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", "wait 30 s")
    daemon.fail("runs.ListRuns", limited, limited, limited)
    for look in (len, bool, list):
        with pytest.raises(RateLimitError):
            look(runs)
    assert len(list(runs)) == 120
    daemon.fail("runs.ListRuns", Fault(grpc.StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND", "no project x"))
    with pytest.raises(CommError, match="no project x"):
        runtap.Api().runs("ada/x")[0]


def test_a_failed_second_page_is_fetched_by_the_next_loop(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert runs[0]
    daemon.fail("runs.ListRuns", Fault(grpc.StatusCode.UNAVAILABLE, "UPSTREAM_UNAVAILABLE", "HTTP 502"))
    with pytest.raises(CommError, match="502"):
        list(runs)
    assert len(list(runs)) == 120


def test_an_order_that_is_no_text_is_refused_by_name(daemon: ScriptedDaemon) -> None:
    with pytest.raises(InvalidRequestError, match="order must be a text, not list"):
        runtap.Api().runs("ada/digits", order=["-created_at"])  # type: ignore[arg-type]


def test_filters_and_order_as_people_write_them(daemon: ScriptedDaemon) -> None:
    day = datetime.datetime(2026, 1, 2, 3)
    api = runtap.Api()
    len(api.runs("ada/digits", {"created_at": {"$gt": day}, "config.n": {"$in": (1, 2)}}, "+summary.loss"))
    request = daemon.last("runs.ListRuns")
    assert json.loads(request.filter_json) == {
        "created_at": {"$gt": "2026-01-02T03:00:00"},
        "config.n": {"$in": [1, 2]},
    }
    assert request.order == "+summary.loss"
    len(api.runs("ada/digits", filters={}, per_page=None, include_sweeps=False, lazy=True))
    request = daemon.last("runs.ListRuns")
    assert (request.filter_json, request.order) == ("", "-created_at")
    len(api.runs(["ada", "digits"], '{"state": "finished"}', order=None))
    request = daemon.last("runs.ListRuns")
    assert (request.project, request.filter_json, request.order) == (
        "ada/digits",
        '{"state": "finished"}',
        "",
    )


def test_pickled_runs_go_on_where_they_were(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    assert runs[0].summary["loss"] == 0
    next(runs)
    copy = pickle.loads(pickle.dumps(runs))
    assert [run.id for run in copy] == [run.id for run in runs]
    assert copy[0].summary["loss"] == 0


def test_a_list_says_how_old_its_oldest_page_is(daemon: ScriptedDaemon, runs: runtap.Runs) -> None:
    daemon.freshness.fetched_at.FromSeconds(2_000)
    assert runs[0]
    daemon.freshness.fetched_at.FromSeconds(1_000)
    list(runs)
    assert runs.freshness is not None
    assert runs.freshness.fetched_at == datetime.datetime.fromtimestamp(1_000, datetime.UTC)


def test_a_query_is_explained_without_reading_runs(daemon: ScriptedDaemon) -> None:
    daemon.explanation = runs_pb2.ExplainQueryResponse(
        normalized_filter_json='{"config.a.b":1,"state":"Finished"}',
        normalized_order="+summary_metrics.loss",
        upstream_filter_json='{"state":"Finished"}',
        upstream_order="-created_at",
        local_filter_json='{"config.a.b":1}',
        local_order="+summary_metrics.loss",
        warnings=["did you mean 'finished'?"],
    )
    found = (
        runtap.Api().runs("digits", {"config.a.b": 1, "state": "Finished"}, "+summary_metrics.loss").explain()
    )
    request = daemon.last("runs.ExplainQuery")
    assert json.loads(request.filter_json) == {"config.a.b": 1, "state": "Finished"}
    assert (request.project, request.order, request.defaults.entity) == (
        "digits",
        "+summary_metrics.loss",
        "ada",
    )
    assert daemon.count("runs.ListRuns") == 0
    assert found.warnings == ("did you mean 'finished'?",) and found.local_filter_json == '{"config.a.b":1}'
    assert str(found).splitlines() == [
        'understood as  {"config.a.b":1,"state":"Finished"} +summary_metrics.loss',
        'at the server  {"state":"Finished"} -created_at',
        'in the daemon  {"config.a.b":1} +summary_metrics.loss',
        "warning        did you mean 'finished'?",
    ]
    daemon.explanation.Clear()
    assert "in the daemon  nothing" in str(runtap.Api().runs("digits").explain())
