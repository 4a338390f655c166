"""Accounts through a real daemon: logging in and out, and what the caller's surroundings mean."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from runtap.v1 import accounts_pb2 as pb
from runtap.v1 import accounts_pb2_grpc, common_pb2
from tests.support.daemon import Daemon, check_clean
from tests.support.scripted_world import DEADLINE_S, World, failing, login, options
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream
from tests.support.upstream_faults import Delay, Html, Status

OTHER_KEY = "canary0scripted0key0of0the0other0user0000"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_user(OTHER_KEY, "bob", "bobs")
        yield server


def sign_in(daemon: Daemon, **fields: Any) -> pb.LoginResponse:
    stub = accounts_pb2_grpc.AccountServiceStub(daemon.channel())
    return stub.Login(pb.LoginRequest(**fields), timeout=DEADLINE_S)


def surroundings(folder: Path, **variables: str) -> pb.CallerEnvironment:
    return pb.CallerEnvironment(variables={"HOME": str(folder), **variables}, working_directory=str(folder))


def test_login_tells_who_where_and_from_where(world: World, tmp_path: Path) -> None:
    around = surroundings(
        tmp_path, WANDB_BASE_URL=world.server.url + "/", WANDB_API_KEY=KEY, WANDB_PROJECT="p"
    )
    answer = sign_in(world.daemon, environment=around)
    account = answer.account
    assert (account.base_url, account.app_url) == (world.server.url, world.server.url)
    assert (account.viewer.username, account.viewer.entity, list(account.viewer.teams)) == (
        "ada",
        ENTITY,
        [ENTITY],
    )
    assert account.key_source == pb.KEY_SOURCE_ENVIRONMENT and not account.stored and not account.is_default
    assert (answer.defaults.entity, answer.defaults.project) == (ENTITY, "p")
    assert account.account_id == world.account and world.server.count("Viewer") == 1
    assert KEY not in str(answer)


def test_the_callers_files_count_and_the_daemons_do_not(
    server: ScriptedUpstream, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    for name, key in (("daemon", OTHER_KEY), ("caller", KEY)):
        (tmp_path / name).mkdir()
        host = server.url.removeprefix("http://")
        (tmp_path / name / ".netrc").write_text(f"machine {host} login user password {key}\n")
    daemon = start(env={"HOME": str(tmp_path / "daemon"), "WANDB_API_KEY": OTHER_KEY})
    found = sign_in(daemon, base_url=server.url, environment=surroundings(tmp_path / "caller")).account
    assert (found.viewer.username, found.key_source) == ("ada", pb.KEY_SOURCE_NETRC)
    nobody = failing(lambda: sign_in(daemon, base_url=server.url, environment=surroundings(tmp_path / "x")))
    assert (nobody.code, nobody.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_API_KEY")
    for word in ("WANDB_API_KEY", str(tmp_path / "x" / ".netrc"), "runtap login", "runtap local use"):
        assert word in nobody.message


@pytest.mark.parametrize(
    ("fields", "code", "reason"),
    [
        ({"api_key": "short"}, grpc.StatusCode.INVALID_ARGUMENT, "API_KEY_MALFORMED"),
        ({"api_key": "x" * 40}, grpc.StatusCode.PERMISSION_DENIED, "API_KEY_REJECTED"),
        ({"base_url": "ftp://x", "api_key": KEY}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"base_url": "http://[", "api_key": KEY}, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD"),
        ({"base_url": "local", "api_key": KEY}, grpc.StatusCode.FAILED_PRECONDITION, "NO_API_KEY"),
    ],
)
def test_logins_that_cannot_be(world: World, fields: Any, code: grpc.StatusCode, reason: str) -> None:
    refused = failing(lambda: sign_in(world.daemon, **{"base_url": world.server.url} | fields))
    assert (refused.code, refused.reason) == (code, reason) and "x" * 40 not in str(refused)


def test_a_login_ends_before_its_callers_deadline(world: World) -> None:
    world.server.fail("Viewer", Delay(30), times=9)
    stub = accounts_pb2_grpc.AccountServiceStub(world.daemon.channel())
    request = pb.LoginRequest(base_url=world.server.url, api_key=OTHER_KEY)
    assert failing(lambda: stub.Login(request, timeout=1.0)).reason == "UPSTREAM_TIMEOUT"


def test_a_kept_key_survives_a_restart_and_goes_with_logout(
    world: World, start: Callable[..., Daemon], tmp_path: Path
) -> None:
    account = login(world.daemon, world.server, store=True, make_default=True)
    world.daemon.stop()
    world.daemon.secrets.clear()  # stored on purpose
    world.daemon = start(world.daemon.home)
    (known,) = world.accounts(account="").ListAccounts(pb.ListAccountsRequest()).accounts
    assert (known.account_id, known.stored, known.is_default) == (account, True, True)
    assert world.accounts(account="").GetViewer(pb.GetViewerRequest()).viewer.username == "ada"
    again = sign_in(world.daemon, base_url=world.server.url, environment=surroundings(tmp_path)).account
    assert (again.account_id, again.key_source) == (account, pb.KEY_SOURCE_STORE)
    world.server.add_run(ENTITY, "vision", "r1")
    world.get("r1")
    cache = next(world.daemon.home.rglob("records.db")).parent
    assert world.accounts().Logout(pb.LogoutRequest(account_id=account)).key_removed
    assert not cache.exists()
    assert failing(lambda: world.get("r1")).reason == "ACCOUNT_UNKNOWN"
    world.daemon.stop()
    check_clean(world.daemon.home, [KEY])


def test_after_a_restart_what_is_cached_is_read_while_the_server_cannot_be_reached(
    world: World, start: Callable[..., Daemon]
) -> None:
    world.server.add_run(ENTITY, "vision", "r1")
    world.get("r1")
    world.daemon.stop()
    world.server.fail("Viewer", Status(503), times=99)
    world.daemon = start(world.daemon.home)
    login(world.daemon, world.server)  # with the key that came with a call, too
    assert world.get("r1", options=options(cache_only=True)).run.run_id == "r1"


@pytest.mark.parametrize("account_id", ["..", ".", "../..", "/", "acct-", "acct-0123456789abcdef"])
def test_logout_of_nobody_removes_nothing(world: World, account_id: str) -> None:
    world.server.add_run(ENTITY, "vision", "r1")
    world.get("r1")
    before = sorted(path for path in world.daemon.home.rglob("*"))
    assert not world.accounts().Logout(pb.LogoutRequest(account_id=account_id)).key_removed
    assert sorted(path for path in world.daemon.home.rglob("*")) == before
    assert world.get("r1").run.run_id == "r1"


def test_accounts_are_listed_in_pages(world: World) -> None:
    login(world.daemon, world.server, OTHER_KEY)
    listing = world.accounts().ListAccounts
    first = listing(pb.ListAccountsRequest(page_size=1))
    second = listing(pb.ListAccountsRequest(page_size=1, page_token=first.next_page_token))
    assert [a.viewer.username for a in (*first.accounts, *second.accounts)] == ["ada", "bob"]
    assert first.next_page_token and not second.next_page_token
    for wrong, name in (({"page_size": -1}, "page_size"), ({"page_token": "x"}, "page_token")):
        assert failing(lambda w=wrong: listing(pb.ListAccountsRequest(**w))).fields == [name]  # type: ignore[misc]


def test_the_viewer_is_as_fresh_as_asked_for(world: World) -> None:
    def viewer(**wished: Any) -> common_pb2.Freshness:
        request = pb.GetViewerRequest(options=options(**wished))
        return world.accounts().GetViewer(request, timeout=DEADLINE_S).freshness

    assert viewer().source == common_pb2.FRESHNESS_SOURCE_MEMORY and viewer().fetched_at.seconds
    assert viewer(cache_only=True).source == common_pb2.FRESHNESS_SOURCE_MEMORY
    assert world.server.count("Viewer") == 1
    assert viewer(max_age=Duration()).source == common_pb2.FRESHNESS_SOURCE_UPSTREAM
    world.server.fail("Viewer", Html(), times=9)
    assert viewer(no_cache=True, allow_stale_on_error=True).stale


def test_a_key_that_is_refused_later_blocks_until_the_next_login(world: World) -> None:
    world.server.add_run(ENTITY, "vision", "r1")
    world.server.fail("Run", Status(401))
    refused = failing(lambda: world.get("r1"))
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "API_KEY_REJECTED")
    assert "runtap login" in refused.message
    (known,) = world.accounts().ListAccounts(pb.ListAccountsRequest()).accounts
    assert known.blocked
    login(world.daemon, world.server)
    (known,) = world.accounts().ListAccounts(pb.ListAccountsRequest()).accounts
    assert not known.blocked and world.get("r1").run.run_id == "r1"


def test_no_default_means_no_server_by_accident(world: World) -> None:
    unnamed = failing(lambda: world.accounts(account="").GetViewer(pb.GetViewerRequest()))
    assert (unnamed.code, unnamed.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "ACCOUNT_UNKNOWN")
    assert "runtap login --default" in unnamed.message
