"""Api: login, paths, defaults, freshness, and what it hides."""

from __future__ import annotations

import math
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

import runtap
from runtap.errors import (
    AuthenticationError,
    CommError,
    InvalidRequestError,
    RunNotFoundError,
    StaleWarning,
)
from tests.support.scripted_daemon import KEY, Fault, ScriptedDaemon, scripted_daemon


@pytest.fixture
def daemon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ScriptedDaemon]:
    for name in ("WANDB_ENTITY", "WANDB_PROJECT", "WANDB_API_KEY", "WANDB_BASE_URL", "WANDB_HTTP_TIMEOUT"):
        monkeypatch.delenv(name, raising=False)
    with scripted_daemon(tmp_path, monkeypatch) as script:
        script.add_run("r1", config={"lr": {"value": 0.1}})
        yield script


def test_logs_in_at_once_with_the_callers_environment(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_PROJECT", "digits")
    api = runtap.Api(base_url="https://other.test/")

    request = daemon.last("accounts.Login")
    assert request.base_url == "https://other.test"
    assert request.environment.variables["WANDB_PROJECT"] == "digits"
    assert request.environment.working_directory
    assert api.run("r1").id == "r1"
    assert daemon.calls[-1].account == "account-of-ada"


def test_what_it_knows_of_the_user_and_the_defaults(daemon: ScriptedDaemon) -> None:
    api = runtap.Api({"entity": "team", "project": "p", "run": "r9", "base_url": "https://b.test"})

    assert (api.viewer.username, api.viewer.entity, api.viewer.teams) == ("ada", "ada", ["vision"])
    assert str(api.viewer) == "ada"
    assert api.default_entity == "team"
    assert api.settings == {"base_url": "https://b.test", "entity": "team", "project": "p", "run": "r9"}
    assert repr(api) == "<Api ada at https://b.test>"
    assert runtap.Api({"username": "old"}).default_entity == "old"


def test_path_forms_go_to_the_daemon_as_they_are(daemon: ScriptedDaemon) -> None:
    api = runtap.Api({"entity": "ada", "project": "digits", "run": "r1"})
    run = api.run("ada/digits/r1")

    assert api.run(run.path).id == "r1"
    assert api.run(str(run.path)).id == "r1"
    assert api.run().id == "r1"
    assert api.run("r1").id == "r1"
    request = daemon.last("runs.GetRun")
    assert (request.path, request.defaults.entity, request.defaults.project) == ("r1", "ada", "digits")


def test_an_empty_path_says_what_is_missing(daemon: ScriptedDaemon) -> None:
    with pytest.raises(ValueError, match="no run is named"):
        runtap.Api().run()


def test_a_missing_run_is_a_comm_error_and_a_value_error(daemon: ScriptedDaemon) -> None:
    with pytest.raises(RunNotFoundError, match="no run ada/digits/none") as caught:
        runtap.Api().run("ada/digits/none")
    assert isinstance(caught.value, runtap.CommError)
    assert isinstance(caught.value, ValueError)


def test_a_daemon_that_forgot_the_account_is_told_again(daemon: ScriptedDaemon) -> None:
    api = runtap.Api(api_key=KEY)
    daemon.known_accounts.clear()

    assert api.run("ada/digits/r1").id == "r1"
    assert daemon.count("accounts.Login") == 2
    assert daemon.last("accounts.Login").api_key == KEY


def test_streams_survive_a_forgotten_account_too(daemon: ScriptedDaemon) -> None:
    daemon.rows["ada/digits/r1"] = [{"_step": 0, "loss": 1.0}]
    run = runtap.Api().run("ada/digits/r1")
    daemon.known_accounts.clear()

    assert list(run.scan_history()) == [{"_step": 0, "loss": 1.0}]


def test_an_account_that_stays_unknown_is_an_error_and_no_loop(daemon: ScriptedDaemon) -> None:
    api = runtap.Api()
    unknown = Fault(grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_UNKNOWN")
    daemon.fail("runs.GetRun", unknown, unknown, unknown)

    with pytest.raises(CommError):
        api.run("ada/digits/r1")
    assert daemon.count("runs.GetRun") == 2


def test_logging_in_again_never_changes_the_user(daemon: ScriptedDaemon) -> None:
    api = runtap.Api()
    daemon.known_accounts.clear()
    daemon.users[""] = "eve"

    with pytest.raises(AuthenticationError, match="that of eve, not of ada"):
        api.run("ada/digits/r1")


def test_pickles_without_the_key(daemon: ScriptedDaemon) -> None:
    api = runtap.Api({"project": "digits"}, api_key=KEY)
    packed = pickle.dumps(api)

    assert KEY.encode() not in packed
    assert pickle.loads(packed).run("r1").id == "r1"
    assert KEY not in repr(api) + repr(api.client) + str(vars(api))


def test_reads_ask_for_what_is_fresh_enough(daemon: ScriptedDaemon) -> None:
    before = time.time()
    api = runtap.Api()
    api.run("ada/digits/r1")
    floor = daemon.last("runs.GetRun").options.not_before.ToNanoseconds() / 1e9
    assert before - 10.5 < floor < time.time() - 9.5

    api.flush()
    api.run("ada/digits/r1")
    assert daemon.last("runs.GetRun").options.not_before.ToNanoseconds() / 1e9 >= before


def test_a_named_age_is_not_overruled_by_the_floor(daemon: ScriptedDaemon) -> None:
    api = runtap.Api(max_age=90, stale_ok=True)
    api.run("ada/digits/r1")
    options = daemon.last("runs.GetRun").options
    assert options.max_age.ToSeconds() == 90
    assert options.allow_stale_on_error
    assert not options.HasField("not_before")

    api.flush()
    api.run("ada/digits/r1")
    assert daemon.last("runs.GetRun").options.HasField("not_before")


def test_offline_reads_the_cache_only(daemon: ScriptedDaemon) -> None:
    runtap.Api(offline=True).run("ada/digits/r1").load(force=True)
    options = daemon.last("runs.GetRun").options
    assert options.cache_only
    assert not options.HasField("max_age")


def test_a_stale_answer_warns_and_says_so(daemon: ScriptedDaemon) -> None:
    daemon.freshness.stale = True
    api = runtap.Api(stale_ok=True)
    with pytest.warns(StaleWarning, match="could not be asked"):
        run = api.run("ada/digits/r1")
    assert run.freshness.stale
    assert run.freshness.source == "upstream"
    assert run.freshness.age_s is not None


def test_the_timeout_limits_each_request_of_a_stream_too(
    daemon: ScriptedDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sent(**arguments: Any) -> float | None:
        run = runtap.Api(**arguments).run("ada/digits/r1")
        list(run.scan_history())
        options = daemon.last("history.ReadHistory").options
        assert options.HasField("request_timeout") == daemon.last("runs.GetRun").options.HasField(
            "request_timeout"
        )
        return (
            options.request_timeout.ToTimedelta().total_seconds()
            if options.HasField("request_timeout")
            else None
        )

    assert sent() is None
    assert sent(timeout=20.5) == 20.5
    assert sent(timeout=math.inf) == 1e9
    monkeypatch.setenv("WANDB_HTTP_TIMEOUT", "45")
    assert sent() == 45
    assert sent(timeout=20) == 20
    for wrong in ("0", "-1", "2.5", "soon"):
        monkeypatch.setenv("WANDB_HTTP_TIMEOUT", wrong)
        with pytest.raises(
            InvalidRequestError, match="WANDB_HTTP_TIMEOUT is a whole number of seconds above 0"
        ):
            runtap.Api()


def test_the_timeout_ends_a_call(daemon: ScriptedDaemon) -> None:
    api = runtap.Api(timeout=30)
    daemon.fail("runs.GetRun", Fault(grpc.StatusCode.DEADLINE_EXCEEDED, "UPSTREAM_TIMEOUT", "no answer"))
    with pytest.raises(TimeoutError, match="no answer"):
        api.run("ada/digits/r1")


def test_arguments_that_mean_nothing_are_refused(daemon: ScriptedDaemon) -> None:
    api = runtap.Api()
    with pytest.raises(InvalidRequestError, match="per_page"):
        api.runs("ada/digits", per_page=0)
    with pytest.raises(InvalidRequestError, match="on_error"):
        api.runs("ada/digits", on_error="ignore")  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match="order is no filter"):
        api.runs("ada/digits", {"order": "+x", "state": "finished"})
    with pytest.raises(InvalidRequestError, match="JSON"):
        api.runs("ada/digits", "state=finished")
    for wrong in (-1, "soon", float("nan")):
        with pytest.raises(InvalidRequestError, match="timeout is a number of seconds, not"):
            runtap.Api(timeout=wrong)  # type: ignore[arg-type]
        with pytest.raises(InvalidRequestError, match="max_age is a number of seconds, not"):
            runtap.Api(max_age=wrong)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"filters.state is of type object, which JSON cannot hold"):
        api.runs("ada/digits", {"state": object()})
    with pytest.raises(InvalidRequestError, match=r"a path is a text, or a list of its parts, not 5$"):
        api.run(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidRequestError, match=r"not <Run .*; did you mean its `path`"):
        api.run(api.run("ada/digits/r1"))  # type: ignore[arg-type]


def test_the_seed_example_with_order_among_the_filters_works_and_says_better(daemon: ScriptedDaemon) -> None:
    with pytest.warns(UserWarning, match="order="):
        runs = runtap.Api().runs("ada/digits", {"order": "+summary.loss"})
    assert len(runs) == 1
    request = daemon.last("runs.ListRuns")
    assert (request.order, request.filter_json) == ("+summary.loss", "")
