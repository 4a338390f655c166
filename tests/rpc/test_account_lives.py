"""What becomes of an account: its key is refused or replaced, it logs out and in again while requests are under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest

import runtap
from runtap import errors
from runtap.v1 import projects_pb2, runs_pb2, writes_pb2
from tests.support.daemon import eventually
from tests.support.many_accounts import PROJECT_PATH, SLOW_DOWN, Caller, Office, Seat, key_of
from tests.support.scripted_world import failing
from tests.support.status import failure_of
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Status


def test_a_pause_is_not_over_because_of_another_login(office: Office, name: str) -> None:
    seat = office.account(office.here, key_of(name))
    office.here.fail("Run", SLOW_DOWN)
    assert failing(lambda: seat.run("r1")).reason == "RATE_LIMITED"
    seat.logout()
    sent = office.here.count()
    refused = failing(lambda: office.account(office.here, key_of(name)))
    assert refused.reason == "RATE_LIMITED" and 50 < (refused.retry_after_s or 0) <= 60
    assert office.here.count() == sent, "not even who one is can be asked"
    second_key = office.here.user(name, key_of(f"{name}-second"))
    office.daemon.secrets.append(second_key)
    again = office.account(office.here, second_key)  # whose key it is, is known only now
    assert again.account_id == seat.account_id
    assert failing(lambda: again.run("r1")).reason == "RATE_LIMITED"


# A key that is refused


def test_a_refused_key_pauses_its_account_alone_until_it_logs_in(
    pair: tuple[Seat, Seat], office: Office, name: str
) -> None:
    first, second = pair
    assert first.run("r1").run_id == "r1"
    office.here.fail("Run", Status(401))
    refused = failing(lambda: first.run("r2"))
    sent = office.here.count()
    with ThreadPoolExecutor(8) as threads:
        again = list(
            threads.map(lambda n: failing(lambda: first.run(f"r{n % 3 + 1}", no_cache=True)), range(8))
        )
    for told in (refused, *again):
        assert (told.code, told.reason) == (grpc.StatusCode.PERMISSION_DENIED, "API_KEY_REJECTED")
        for word in (office.here.url, f"the API key of {name} from the call", "runtap login"):
            assert word in told.message
    assert office.here.count() == sent, "nothing is sent with a key that is known to be bad"
    told_now = first.told()
    assert told_now is not None and told_now.blocked
    assert first.run("r1", cache_only=True).run_id == "r1", "what was read can still be read"
    assert second.run("r2").run_id == "r2"
    assert office.account(office.here, key_of(name)) == first
    told_now = first.told()
    assert told_now is not None and not told_now.blocked and first.run("r2").run_id == "r2"


def test_a_write_of_a_refused_key_waits_and_login_wakes_it(office: Office, name: str) -> None:
    seat = office.account(office.here, key_of(name))
    node = office.here.add_personal_run(f"of-{name}")
    office.here.fail("Run", Status(401))
    update = runs_pb2.UpdateRunRequest(
        path=f"{PROJECT_PATH}/of-{name}", tags_add=["kept"], request_id=f"write of {name}"
    )
    write_id = seat.runs().UpdateRun(update).write.write_id

    def write() -> writes_pb2.Write:
        return seat.writes().GetWrite(writes_pb2.GetWriteRequest(write_id=write_id)).write

    eventually(lambda: write().state == writes_pb2.WRITE_STATE_BLOCKED_AUTH, "the write waits")
    assert node["tags"] == [] and "refused" in write().message
    office.account(office.here, key_of(name))
    eventually(lambda: write().state == writes_pb2.WRITE_STATE_APPLIED, "the write arrives")
    assert node["tags"] == ["kept"]


def test_a_key_that_was_replaced(office: Office, name: str) -> None:
    old, new = key_of(name), key_of(f"{name}-new")
    office.daemon.secrets.append(new)
    seat = office.account(office.here, old)
    assert seat.run("r1").display_name == f"{name} at here"
    del office.here.users[old]
    assert failing(lambda: seat.run("r2")).reason == "API_KEY_REJECTED"
    assert failing(lambda: office.account(office.here, old)).reason == "API_KEY_REJECTED"
    office.here.user(name, new)
    assert office.account(office.here, new) == seat, (
        "the same viewer is the same account, with what it has read"
    )
    assert seat.run("r1", cache_only=True).run_id == "r1"
    assert seat.run("r2").run_id == "r2" and office.here.last("Run").key == new
    stale = failing(lambda: office.account(office.here, old))
    assert stale.reason == "API_KEY_REJECTED", "the new key opens no door for the old one"
    assert seat.run("r3").run_id == "r3", "and the old one closes none"


def test_two_keys_of_one_viewer_share_account_and_cache(office: Office, name: str) -> None:
    second_key = office.here.user(name, key_of(f"{name}-second"))
    office.daemon.secrets.append(second_key)
    seat = office.account(office.here, key_of(name))
    seat.run("r1")
    assert office.account(office.here, second_key) == seat
    assert seat.run("r1", cache_only=True).run_id == "r1"
    viewers = office.here.count("Viewer")
    for key in (key_of(name), second_key):
        assert office.account(office.here, key) == seat
    assert office.here.count("Viewer") == viewers, "each key is verified once"


def test_a_program_whose_key_is_good_goes_on_when_another_ones_was_refused(
    office: Office, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = Caller(tmp_path / "caller", {"WANDB_API_KEY": key_of(name), "WANDB_BASE_URL": office.here.url})
    caller.become(monkeypatch, office.daemon)
    api = runtap.Api()
    assert api.run(f"{PROJECT_PATH}/r1").name == f"{name} at here"
    others_key = office.here.user(name, key_of(f"{name}-bad"))
    office.daemon.secrets.append(others_key)
    seat = office.account(office.here, others_key)
    del office.here.users[others_key]
    assert failing(lambda: seat.run("r2")).reason == "API_KEY_REJECTED"
    assert api.run(f"{PROJECT_PATH}/r2").name == f"{name} at here"
    del office.here.users[key_of(name)]
    with pytest.raises(errors.AuthenticationError, match="refused the API key from WANDB_API_KEY"):
        api.run(f"{PROJECT_PATH}/r3")
    office.here.user(name)
    assert api.run(f"{PROJECT_PATH}/r3").id == "r3", "the same object, once its key works again"


# Logging out


def test_logout_removes_what_one_account_has_read_and_nothing_else(pair: tuple[Seat, Seat]) -> None:
    first, second = pair
    for seat in pair:
        seat.run("r1")
    first.logout()
    assert failing(lambda: first.run("r1")).reason == "ACCOUNT_UNKNOWN"
    assert second.run("r1", cache_only=True).run_id == "r1"


@pytest.mark.parametrize("operation", ["Run", "Runs", "Projects"])
def test_logout_while_requests_are_under_way(office: Office, name: str, operation: str) -> None:
    seat = office.account(office.here, key_of(name))
    calls: dict[str, Any] = {
        "Run": lambda: seat.run("r1"),
        "Runs": lambda: list(seat.runs().StreamRuns(runs_pb2.StreamRunsRequest(project=PROJECT_PATH))),
        "Projects": lambda: seat.projects().ListProjects(projects_pb2.ListProjectsRequest(entity=ENTITY)),
    }
    before = office.here.count(operation)
    gate = office.here.hold(operation)
    with ThreadPoolExecutor(4) as threads:
        under_way = [threads.submit(calls[operation]) for _ in range(4)]
        eventually(lambda: office.here.count(operation) > before, "the request arrives")
        seat.logout()
        office.here.heal()
        assert gate.is_set()
        for call in under_way:
            try:
                assert name in str(call.result())
            except grpc.RpcError as error:
                assert failure_of(error).reason == "ACCOUNT_UNKNOWN"
    assert not list(office.daemon.home.rglob(seat.account_id))
    assert failing(lambda: seat.run("r1")).reason == "ACCOUNT_UNKNOWN"
    again = office.account(office.here, key_of(name))
    assert failing(lambda: again.run("r1", cache_only=True)).reason == "NOT_IN_CACHE"
    assert again.run("r1").run_id == "r1"


def test_logout_while_a_login_is_under_way(office: Office, name: str) -> None:
    seat = office.account(office.here, key_of(name))
    before = office.here.count("Viewer")
    office.here.hold("Viewer")
    with ThreadPoolExecutor(1) as threads:
        login = threads.submit(office.account, office.here, key_of(name), verify=True)
        eventually(lambda: office.here.count("Viewer") > before, "the server is asked who it is")
        seat.logout()
        office.here.heal()
        assert login.result() == seat
    assert seat.run("r1").run_id == "r1"
