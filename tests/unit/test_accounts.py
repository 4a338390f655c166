"""Accounts: verified once, kept privately, found again after a restart."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest

from runtapd import faults
from runtapd.upstream.accounts import Account, Accounts, is_account_id
from runtapd.upstream.api import Wait
from runtapd.upstream.credentials import Credentials, KeySource
from tests.support.upstream import KEY, ScriptedUpstream
from tests.support.upstream_faults import Status

T = TypeVar("T")
OTHER_KEY = "canary0scripted0key0of0the0other0user0000"
SECOND_KEY = "canary0scripted0second0key0of0first0user0"


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_user(OTHER_KEY, "bob", "bobs")
        server.add_user(SECOND_KEY, "ada", "team")
        yield server


class Life:
    """One daemon's life, as far as accounts go."""

    def __init__(self, folder: Path, server: ScriptedUpstream) -> None:
        self.folder, self.server = folder, server

    def run(self, what: Callable[[Accounts], Awaitable[T]]) -> T:
        async def lived() -> T:
            with ThreadPoolExecutor(4) as threads:
                accounts = Accounts(
                    state_dir=self.folder, local_home=self.folder / "local", threads=threads, version="test"
                )
                try:
                    return await what(accounts)
                finally:
                    accounts.close()

        return asyncio.run(lived())

    @property
    def file(self) -> Path:
        return self.folder / "accounts.json"


@pytest.fixture
def life(tmp_path: Path, server: ScriptedUpstream) -> Life:
    return Life(tmp_path, server)


async def login(
    accounts: Accounts,
    server: ScriptedUpstream,
    key: str = KEY,
    *,
    source: KeySource = KeySource.ARGUMENT,
    place: str = "the call",
    store: bool = False,
    make_default: bool = False,
    verify: bool = False,
    patience_s: float = 5,
) -> Account:
    found = Credentials(server.url, server.url, key, source, place)
    wait = Wait(asyncio.get_running_loop().time() + patience_s)
    return await accounts.login(found, wait, store=store, make_default=make_default, verify=verify)


def test_a_stored_key_survives_in_a_private_file(life: Life, server: ScriptedUpstream) -> None:
    account = life.run(lambda accounts: login(accounts, server, store=True))
    assert stat.S_IMODE(life.file.stat().st_mode) == 0o600 and KEY in life.file.read_text()

    async def again(accounts: Accounts) -> str:
        assert accounts.stored_key(server.url) == KEY
        upstream = await accounts.for_account(account.account_id)
        return (await upstream.viewer(Wait(asyncio.get_running_loop().time() + 5))).username

    life.file.chmod(0o644)  # as from a backup
    assert life.run(again) == "ada"
    assert stat.S_IMODE(life.file.stat().st_mode) == 0o600


def test_a_key_of_a_call_is_never_written(life: Life, server: ScriptedUpstream) -> None:
    account = life.run(lambda accounts: login(accounts, server))
    assert not any(KEY in path.read_text() for path in life.folder.rglob("*") if path.is_file())

    async def again(accounts: Accounts) -> None:
        assert [known.viewer.username for known in accounts.all()] == ["ada"]
        accounts.get(account.account_id)

    with pytest.raises(faults.NeedsLogin, match="earlier daemon"):
        life.run(again)


def test_a_confirmed_key_needs_no_server_in_the_next_life(life: Life, server: ScriptedUpstream) -> None:
    account = life.run(lambda accounts: login(accounts, server))

    async def again(accounts: Accounts) -> list[str]:
        known = [await login(accounts, server) for _ in range(2)]
        return [one.account_id for one in known if one.upstream is not None]

    server.fail("Viewer", Status(503), times=99)
    assert life.run(again) == [account.account_id] * 2
    assert not any(KEY in path.read_text() for path in life.folder.rglob("*") if path.is_file())

    # Neither another key nor one that is to be verified or kept passes without the server, and its no is a no.
    for other in ({"key": OTHER_KEY}, {"key": SECOND_KEY}, {"verify": True}, {"store": True}):
        with pytest.raises(faults.UpstreamUnavailable):
            life.run(lambda accounts, o=other: login(accounts, server, patience_s=0.3, **o))  # type: ignore[misc]
    server.heal()
    server.fail("Viewer", Status(401))
    with pytest.raises(faults.NeedsLogin, match="refused"):
        life.run(lambda accounts: login(accounts, server))


def test_a_key_that_logged_out_needs_the_server_again(life: Life, server: ScriptedUpstream) -> None:
    async def in_and_out(accounts: Accounts) -> None:
        account = await login(accounts, server)
        await accounts.logout(account.account_id)

    life.run(in_and_out)
    server.fail("Viewer", Status(503), times=99)
    with pytest.raises(faults.UpstreamUnavailable):
        life.run(lambda accounts: login(accounts, server, patience_s=0.3))


def test_a_netrc_key_is_found_again_without_the_caller(life: Life, server: ScriptedUpstream) -> None:
    netrc = life.folder / "netrc"
    netrc.write_text(f"machine {server.url.removeprefix('http://')} login user password {KEY}\n")
    place = str(netrc)
    account = life.run(lambda accounts: login(accounts, server, source=KeySource.NETRC, place=place))

    async def again(accounts: Accounts) -> bool:
        return accounts.get(account.account_id).upstream is not None

    assert life.run(again)


def test_logging_in_again_is_cheap_and_crowds_ask_once(life: Life, server: ScriptedUpstream) -> None:
    async def crowd(accounts: Accounts) -> int:
        found = await asyncio.gather(*(login(accounts, server) for _ in range(50)))
        return len({account.account_id for account in found})

    assert life.run(crowd) == 1 and server.count("Viewer") == 1


def test_two_keys_of_one_user_are_one_account_and_two_users_are_two(
    life: Life, server: ScriptedUpstream
) -> None:
    async def several(accounts: Accounts) -> list[str]:
        keys = (KEY, SECOND_KEY, OTHER_KEY)
        return [(await login(accounts, server, key)).account_id for key in keys]

    ids = life.run(several)
    assert ids[0] == ids[1] != ids[2] and all(map(is_account_id, ids))


def test_the_default_changes_only_when_asked(life: Life, server: ScriptedUpstream) -> None:
    async def story(accounts: Accounts) -> list[str]:
        with pytest.raises(faults.NeedsLogin, match="--default"):
            accounts.get("")
        await login(accounts, server)
        with pytest.raises(faults.NeedsLogin, match="--default"):
            accounts.get("")
        await login(accounts, server, make_default=True)
        await login(accounts, server, OTHER_KEY)
        first = accounts.get("").viewer.username
        await login(accounts, server, OTHER_KEY, make_default=True)
        return [first, accounts.get("").viewer.username]

    assert life.run(story) == ["ada", "bob"]


def test_of_several_stored_keys_the_default_accounts_or_else_the_last_one_is_found(
    life: Life, server: ScriptedUpstream
) -> None:
    async def keep(*keys: str, accounts: Accounts) -> str:
        for key in keys:
            await login(accounts, server, key, store=True)
        return accounts.stored_key(server.url)

    assert life.run(lambda accounts: keep(KEY, OTHER_KEY, accounts=accounts)) == OTHER_KEY
    assert life.run(lambda accounts: keep(KEY, accounts=accounts)) == KEY
    assert life.run(lambda accounts: keep(accounts=accounts)) == KEY  # after a restart, too

    async def choose(accounts: Accounts) -> str:
        await login(accounts, server, OTHER_KEY, make_default=True)
        return accounts.stored_key(server.url)

    assert life.run(choose) == OTHER_KEY


def test_a_refused_key_is_told_with_its_place(life: Life, server: ScriptedUpstream) -> None:
    with pytest.raises(faults.NeedsLogin, match="from WANDB_API_KEY") as caught:
        life.run(lambda accounts: login(accounts, server, "x" * 40, place="WANDB_API_KEY"))
    assert caught.value.reason == "API_KEY_REJECTED" and "x" * 40 not in str(caught.value.__dict__)
    assert "replace it there" not in caught.value.message
    with pytest.raises(
        faults.NeedsLogin,
        match="from WANDB_API_KEY: replace it there, or remove it there and log in with another",
    ):
        place = {"source": KeySource.ENVIRONMENT, "place": "WANDB_API_KEY"}
        life.run(lambda accounts: login(accounts, server, "x" * 40, **place))  # type: ignore[arg-type]


def test_a_local_server_that_does_not_run_is_told_with_its_cure(life: Life) -> None:
    with socket.socket() as taken:  # and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"

        async def unreachable(accounts: Accounts) -> str:
            found = Credentials(url, url, KEY, KeySource.ARGUMENT, "the call")
            wait = Wait(asyncio.get_running_loop().time() + 0.3)
            with pytest.raises(faults.UpstreamUnavailable) as caught:
                await accounts.login(found, wait, store=False, make_default=False, verify=False)
            return caught.value.message

        assert life.run(unreachable).endswith("connection refused")
        (life.folder / "local").mkdir()
        (life.folder / "local" / "local.json").write_text(json.dumps({"url": url, "api_key": KEY}))
        assert life.run(unreachable).endswith("connection refused; `runtap local start` starts it")


def test_a_blocked_account_is_unblocked_by_a_login(life: Life, server: ScriptedUpstream) -> None:
    async def story(accounts: Accounts) -> list[bool]:
        account = await login(accounts, server)
        server.fail("Viewer", Status(401))
        with pytest.raises(faults.NeedsLogin):
            await login(accounts, server, verify=True)
        upstream = accounts.get(account.account_id).upstream
        assert upstream is not None
        server.fail("Viewer", Status(401))
        with pytest.raises(faults.NeedsLogin):
            await upstream.viewer(Wait(asyncio.get_running_loop().time() + 5))
        blocked = account.blocked
        with pytest.raises(faults.NeedsLogin):
            await accounts.for_account(account.account_id)
        await login(accounts, server)
        return [blocked, account.blocked]

    assert life.run(story) == [True, False]


def test_logout_forgets_key_and_account(life: Life, server: ScriptedUpstream) -> None:
    async def story(accounts: Accounts) -> list[object]:
        account = await login(accounts, server, store=True)
        removed = await accounts.logout(account.account_id)
        return [removed, await accounts.logout(account.account_id), accounts.all(), accounts.default_id]

    assert life.run(story) == [True, False, [], ""]
    assert KEY not in life.file.read_text()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"format": 1}',
        b'{"format": 99, "accounts": [], "default": ""}',
        b'{"format": 1, "default": "", "accounts": [{"account_id": "../../etc"}]}',
        b'{"format": 1, "default": "", "accounts": [7]}',
    ],
)
def test_a_damaged_file_costs_a_login_and_nothing_else(
    life: Life, server: ScriptedUpstream, content: bytes
) -> None:
    life.file.write_bytes(content)
    assert life.run(lambda accounts: login(accounts, server, store=True)).viewer.username == "ada"
    assert json.loads(life.file.read_text())["accounts"][0]["viewer"]["username"] == "ada"


def test_a_disk_that_takes_nothing_only_matters_to_who_wants_it_kept(
    life: Life, server: ScriptedUpstream
) -> None:
    life.file.with_suffix(".new").mkdir()  # what is written first cannot be

    async def story(accounts: Accounts) -> str:
        account = await login(accounts, server)
        with pytest.raises(faults.DiskFull):
            await login(accounts, server, store=True)
        return accounts.get(account.account_id).viewer.username

    assert life.run(story) == "ada"


def test_no_repr_shows_a_key(life: Life, server: ScriptedUpstream) -> None:
    account = life.run(lambda accounts: login(accounts, server, store=True))
    assert KEY not in repr(account) and KEY not in repr(vars(account))


@pytest.mark.parametrize("text", ["", ".", "..", "acct-", "acct-../../../x", "acct-0123456789abcdeF", "/"])
def test_what_is_no_account_id(text: str) -> None:
    assert not is_account_id(text)


def test_a_login_keeps_to_the_pause_of_its_account(life: Life, server: ScriptedUpstream) -> None:
    async def story(accounts: Accounts) -> None:
        account = await login(accounts, server)
        server.fail("Viewer", Status(429, b"{}", {"Retry-After": "60"}))
        for _ in range(2):
            with pytest.raises(faults.RateLimited):
                await login(accounts, server, verify=True)
        assert server.count("Viewer") == 2 and "asked for a pause" in account.held_back
        assert not (await login(accounts, server, OTHER_KEY)).held_back

    life.run(story)


def test_another_key_of_the_same_user_is_held_to_the_same_limits(
    life: Life, server: ScriptedUpstream
) -> None:
    async def story(accounts: Accounts) -> None:
        account = await login(accounts, server)
        server.fail("Viewer", Status(503, b"{}", {"Retry-After": "60"}))
        with pytest.raises(faults.UpstreamUnavailable):
            await login(accounts, server, verify=True)
        assert await login(accounts, server, SECOND_KEY) is account and account.held_back

    life.run(story)


def test_a_login_that_waits_while_its_account_logs_out_is_told_so(
    life: Life, server: ScriptedUpstream
) -> None:
    async def story(accounts: Accounts) -> None:
        account = await login(accounts, server)
        await login(accounts, server, SECOND_KEY)
        server.fail("Viewer", Status(429, b"{}", {"Retry-After": "60"}))
        with pytest.raises(faults.RateLimited):
            await login(accounts, server, verify=True)
        waiting = asyncio.ensure_future(login(accounts, server, SECOND_KEY, verify=True, patience_s=100))
        while "1 requests wait" not in account.held_back:
            await asyncio.sleep(0.01)
        await accounts.logout(account.account_id)
        with pytest.raises(faults.NeedsLogin, match="logged out") as caught:
            await waiting
        assert caught.value.reason == "ACCOUNT_UNKNOWN"

    life.run(story)
