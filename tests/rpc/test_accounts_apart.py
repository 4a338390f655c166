"""What two accounts never share: what they have read, what they write, and how often they may ask. Two users of one
server, and one user of two servers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from runtap.v1 import common_pb2, history_pb2, projects_pb2, runs_pb2, sweeps_pb2, writes_pb2
from tests.support.daemon import Daemon, check_clean, eventually
from tests.support.many_accounts import (
    PROJECT,
    PROJECT_PATH,
    SLOW_DOWN,
    SWEEP_PATH,
    Caller,
    Office,
    PersonalUpstream,
    Seat,
    key_of,
)
from tests.support.scripted_world import failing
from tests.support.upstream import ENTITY
from tests.support.upstream_faults import Status

CACHED = common_pb2.ReadOptions(cache_only=True)

# What was read

READS: dict[str, Callable[[Seat, common_pb2.ReadOptions], Any]] = {
    "GetRun": lambda seat, o: seat.runs().GetRun(
        runs_pb2.GetRunRequest(path=f"{PROJECT_PATH}/r1", options=o)
    ),
    "ListRuns": lambda seat, o: seat.runs().ListRuns(
        runs_pb2.ListRunsRequest(project=PROJECT_PATH, options=o)
    ),
    "ListRuns, judged here": lambda seat, o: seat.runs().ListRuns(
        runs_pb2.ListRunsRequest(project=PROJECT_PATH, options=o, order="+summary.reader")
    ),
    "StreamRuns": lambda seat, o: list(
        seat.runs().StreamRuns(runs_pb2.StreamRunsRequest(project=PROJECT_PATH, options=o))
    ),
    "ReadDocument": lambda seat, o: b"".join(
        piece.data
        for piece in seat.runs().ReadDocument(
            runs_pb2.ReadDocumentRequest(
                path=f"{PROJECT_PATH}/r2", document=runs_pb2.DOCUMENT_SUMMARY, options=o
            )
        )
    ),
    "GetHistoryKeys": lambda seat, o: seat.histories().GetHistoryKeys(
        history_pb2.GetHistoryKeysRequest(path=f"{PROJECT_PATH}/r1", options=o)
    ),
    "GetProject": lambda seat, o: seat.projects().GetProject(
        projects_pb2.GetProjectRequest(path=PROJECT_PATH, options=o)
    ),
    "ListProjects": lambda seat, o: seat.projects().ListProjects(
        projects_pb2.ListProjectsRequest(entity=ENTITY, options=o)
    ),
    "GetSweep": lambda seat, o: seat.sweeps().GetSweep(
        sweeps_pb2.GetSweepRequest(path=SWEEP_PATH, options=o)
    ),
    "ListSweeps": lambda seat, o: seat.sweeps().ListSweeps(
        sweeps_pb2.ListSweepsRequest(project=PROJECT_PATH, options=o)
    ),
    "ListSweepRuns": lambda seat, o: seat.sweeps().ListSweepRuns(
        sweeps_pb2.ListSweepRunsRequest(path=SWEEP_PATH, options=o)
    ),
    "GetBestRun": lambda seat, o: seat.sweeps().GetBestRun(
        sweeps_pb2.GetBestRunRequest(path=SWEEP_PATH, options=o)
    ),
}


@pytest.mark.parametrize("read", READS)
def test_what_one_account_has_read_is_not_there_for_the_other(pair: tuple[Seat, Seat], read: str) -> None:
    first, second = pair
    assert first.reader in str(READS[read](first, common_pb2.ReadOptions()))
    assert failing(lambda: READS[read](second, CACHED)).reason == "NOT_IN_CACHE"
    assert second.reader in str(READS[read](second, common_pb2.ReadOptions()))
    for seat, stranger in ((first, second), (second, first)):
        cached = str(READS[read](seat, CACHED))
        assert seat.reader in cached and stranger.reader not in cached


TOKENS: dict[str, Callable[[Seat, str], Any]] = {
    "ListRuns": lambda seat, token: seat.runs().ListRuns(
        runs_pb2.ListRunsRequest(project=PROJECT_PATH, page_size=1, page_token=token)
    ),
    "ListProjects": lambda seat, token: seat.projects().ListProjects(
        projects_pb2.ListProjectsRequest(entity=ENTITY, page_size=1, page_token=token)
    ),
    "ListSweeps": lambda seat, token: seat.sweeps().ListSweeps(
        sweeps_pb2.ListSweepsRequest(project=PROJECT_PATH, page_size=1, page_token=token)
    ),
    "GetHistoryKeys": lambda seat, token: seat.histories().GetHistoryKeys(
        history_pb2.GetHistoryKeysRequest(path=f"{PROJECT_PATH}/r1", page_size=1, page_token=token)
    ),
    "ListWrites": lambda seat, token: seat.writes().ListWrites(
        writes_pb2.ListWritesRequest(page_size=1, page_token=token)
    ),
}


@pytest.mark.parametrize("listing", TOKENS)
def test_a_page_token_is_good_for_its_account_only(pair: tuple[Seat, Seat], listing: str) -> None:
    first, second = pair
    if listing == "ListWrites":
        for number in range(2):
            update = runs_pb2.UpdateRunRequest(
                path=f"{PROJECT_PATH}/r3", tags_add=["t"], request_id=f"{first.account_id}{number}"
            )
            first.runs().UpdateRun(update)
    token = TOKENS[listing](first, "").next_page_token
    assert token and TOKENS[listing](first, token)
    refused = failing(lambda: TOKENS[listing](second, token))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN")


def test_a_resume_token_is_good_for_its_account_only(pair: tuple[Seat, Seat], office: Office) -> None:
    for server in (office.here, office.there):
        server.add_history(ENTITY, PROJECT, "r2", [{"_step": step, "loss": step} for step in range(10)])
    request = history_pb2.ReadHistoryRequest(path=f"{PROJECT_PATH}/r2")
    request.resume_token = next(iter(pair[0].histories().ReadHistory(request))).resume_token
    assert request.resume_token
    refused = failing(lambda: list(pair[1].histories().ReadHistory(request)))
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_RESUME_TOKEN")


def test_an_own_write_shows_to_its_account_only(pair: tuple[Seat, Seat], office: Office) -> None:
    first, second = pair
    assert not [seat for seat in pair if seat.run("r1").pending_writes]
    office.here.fail("UpsertBucket", Status(503, b"{}", {"Retry-After": "0.5"}))
    update = runs_pb2.UpdateRunRequest(
        path=f"{PROJECT_PATH}/r1", tags_add=[first.account_id], request_id=first.account_id
    )
    first.runs().UpdateRun(update)
    assert first.account_id in first.run("r1", cache_only=True).tags
    assert first.account_id not in second.run("r1", cache_only=True).tags
    eventually(lambda: first.run("r1", no_cache=True).pending_writes == 0, "the write arrives")


# How often one may ask


def test_a_pause_of_one_account_holds_up_no_other(pair: tuple[Seat, Seat], office: Office) -> None:
    first, second = pair
    office.here.fail("Run", SLOW_DOWN)
    assert failing(lambda: first.run("r1")).reason == "RATE_LIMITED"
    sent = office.here.count()
    assert failing(lambda: first.run("r2")).reason == "RATE_LIMITED" and office.here.count() == sent
    for run_id in ("r1", "r2", "r3"):
        assert second.run(run_id, timeout=5).run_id == run_id


# After a restart


def test_after_a_restart_each_account_has_its_own_again_and_keys_in_memory_are_gone(
    start: Callable[..., Daemon], tmp_path: Path
) -> None:
    with PersonalUpstream(name="here") as here, PersonalUpstream(name="there") as there:
        here.furnish()
        there.furnish()
        for name in ("ada", "bob", "carol", "dan"):
            here.user(name)
        there.user("ada")
        unstored = [key_of(name) for name in ("bob", "carol", "dan")]
        daemon = start(secrets=unstored)
        office = Office(daemon, here, there)
        by_netrc, by_settings = Caller(tmp_path / "carols"), Caller(tmp_path / "dans")
        by_netrc.netrc(here.url, key_of("carol"))
        by_settings.settings(base_url=here.url, api_key=key_of("dan"))
        seats = {
            "ada": office.account(here, key_of("ada"), store=True),
            "ada there": office.account(there, key_of("ada"), store=True),
            "bob": office.account(here, key_of("bob")),
            "carol": office.account(here, "", environment=by_netrc.environment()),
            "dan": office.account(here, "", environment=by_settings.environment()),
        }
        for seat in seats.values():
            seat.run("r1")
            READS["GetProject"](seat, common_pb2.ReadOptions())
        daemon.stop()
        for server in (here, there):
            server.requests.clear()
        again = start(daemon.home, secrets=unstored)
        seats = {name: Seat(again, seat.account_id) for name, seat in seats.items()}
        forgotten = failing(lambda: seats["bob"].run("r1"))
        assert (forgotten.code, forgotten.reason) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "ACCOUNT_UNKNOWN",
        )
        for word in ("bob", here.url, "kept it in memory only", "call Login", "runtap login"):
            assert word in forgotten.message
        Office(again, here, there).account(here, key_of("bob"))
        for name, seat in seats.items():
            who, _, place = name.partition(" ")
            assert seat.run("r1", cache_only=True).display_name == f"{who} at {place or 'here'}"
            assert f"{who} at {place or 'here'}" in str(READS["GetProject"](seat, CACHED))
        assert here.counts() == {"Viewer": 1} and not there.requests, "bob's login, and nothing else"
        for seat in seats.values():
            assert seat.run("r2").run_id == "r2", "keys on disk are found again without the caller"
        assert seats["ada"].logout().key_removed and not seats["bob"].logout().key_removed
        assert seats["ada there"].run("r1", cache_only=True).display_name == "ada at there"
        folders = {path.parent.name for path in again.home.rglob("records.db")}
        assert folders == {seats[name].account_id for name in ("ada there", "carol", "dan")}
        assert seats["ada there"].logout().key_removed
        again.stop()
        check_clean(again.home, [key_of("ada"), *unstored])
