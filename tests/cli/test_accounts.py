"""`runtap login | logout | whoami | local`, against the real local server."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import CANARY_KEY, Outcome, Place, new_place

ADA_KEY = CANARY_KEY


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """One home with a local server and a user of a known key, for all tests here."""
    with new_place(tmp_path_factory.mktemp("accounts")) as made:
        made.runtap("local", "start", "--json").json()
        # Not by `made.runtap`, which forbids the key in any output: here it is asked for.
        made.start("-m", "runtap", "local", "user", "add", "ada", "--api-key", ADA_KEY).communicate(
            timeout=30
        )
        yield made


@pytest.fixture
def url(place: Place) -> str:
    found: str = place.runtap("local", "status", "--json").json()["url"]
    return found


# -- the local server


def test_local_start_is_idempotent_and_says_how_to_log(place: Place, url: str) -> None:
    reach = place.runtap("local", "start", "--json").json()
    assert set(reach) == {"url", "api_key", "entity", "pid"}
    shown = place.runtap("local", "start").out
    assert f"  export WANDB_BASE_URL={url}\n  export WANDB_API_KEY={reach['api_key']}\n" in shown


def test_local_users(place: Place) -> None:
    users = place.runtap("local", "user", "list", "--json").json()
    assert [user["user"] for user in users] == ["local", "ada"]
    refused = place.runtap("local", "user", "add", "-x-")
    assert refused.code != 0
    assert refused.err.startswith("runtap: ")
    assert refused.err.count("\n") == 1


def test_local_status_of_a_home_without_one(tmp_path: Path) -> None:
    with new_place(tmp_path) as empty:
        status = empty.runtap("local", "status", "--json")
        assert (status.code, json.loads(status.out)["running"]) == (3, False)
        assert empty.runtap("local", "stop").code == 0
        assert empty.processes() == []


def test_local_use_makes_it_what_is_used_by_default(place: Place, url: str) -> None:
    used = place.runtap("local", "use", "--json").json()
    assert used["account"]["is_default"] is True
    assert used["account"]["base_url"] == url
    said = f"Programs that name neither a server nor a key now read {url} as local.\n"
    assert said in place.runtap("local", "use").out
    assert place.runtap("whoami", "--json").json()["base_url"] == url
    assert [a["is_default"] for a in place.runtap("status", "--json").json()["accounts"]] == [True]


def test_without_its_packages_the_cure_is_named(place: Place) -> None:
    outcome = place.python(
        "import runtap.cli.local as local\n"
        "local.NEEDED = ('no_such_package_here',)\n"
        "from runtap.cli.main import main\n"
        "main(['local', 'start'])"
    )
    assert (outcome.code, outcome.err) == (
        1,
        "runtap: the local server needs no_such_package_here: pip install 'runtap[local]'\n",
    )


# -- accounts


def test_whoami_without_any_key_is_exit_code_4_with_the_cures(tmp_path: Path) -> None:
    with new_place(tmp_path) as empty:
        outcome = empty.runtap("whoami")
        assert (outcome.code, outcome.out) == (4, "")
        assert outcome.err.count("\n") == 1
        for word in ("https://api.wandb.ai", "WANDB_API_KEY", "runtap login", "runtap local use"):
            assert word in outcome.err


def test_whoami_goes_by_the_callers_environment(place: Place, url: str) -> None:
    caller = Place(place.root, {"WANDB_BASE_URL": url, "WANDB_API_KEY": ADA_KEY})
    account = caller.runtap("whoami", "--json").json()
    assert (account["username"], account["base_url"], account["key_source"]) == ("ada", url, "environment")
    shown = caller.runtap("whoami").out
    assert re.search(r"^key from +the environment variable WANDB_API_KEY$", shown, re.MULTILINE)


def test_login_from_standard_input_keeps_the_key(place: Place, url: str) -> None:
    done = place.runtap("login", "--host", url, "--key-stdin", stdin=f"{ADA_KEY}\n")
    assert (done.code, done.err) == (0, "")
    assert done.out == f"Logged in to {url} as ada; the key is kept in a private file of the daemon\n"
    keeping = [
        path
        for path in Path(place.folders.state).rglob("*")
        if path.is_file() and ADA_KEY.encode() in path.read_bytes()
    ]
    assert len(keeping) == 1
    assert stat.S_IMODE(keeping[0].stat().st_mode) == 0o600


def test_login_says_when_another_key_comes_first(place: Place, url: str) -> None:
    caller = Place(place.root, {"WANDB_API_KEY": "x" * 40})
    done = caller.runtap("login", "--host", url, "--key-stdin", stdin=ADA_KEY)
    assert (done.code, done.err) == (
        0,
        "runtap: WANDB_API_KEY is set here and comes first; unset it to use the key just kept\n",
    )


def test_a_kept_key_is_found_after_a_restart(place: Place, url: str) -> None:
    place.runtap("login", "--host", url, "--key-stdin", stdin=ADA_KEY)
    place.runtap("restart")
    account = place.runtap("whoami", "--host", url, "--json").json()
    assert (account["username"], account["key_source"], account["stored"]) == ("ada", "store", True)


def test_logout_forgets_it(place: Place, url: str) -> None:
    place.runtap("login", "--host", url, "--key-stdin", stdin=ADA_KEY)
    assert place.runtap("logout", "--host", url, "--user", "ada").out == f"Removed the key of ada on {url}\n"
    assert place.runtap("whoami", "--host", url).code == 4
    assert not [
        path for path in place.home.rglob("*") if path.is_file() and ADA_KEY.encode() in path.read_bytes()
    ]


def test_logout_says_what_it_leaves_alone(place: Place, url: str) -> None:
    caller = Place(place.root, {"WANDB_BASE_URL": url, "WANDB_API_KEY": ADA_KEY})
    caller.runtap("whoami")
    assert caller.runtap("logout", "--host", url, "--user", "ada").out == (
        f"`runtap login` had stored no key of ada on {url}; keys in the environment, netrc and settings files are not "
        "touched\n"
    )


def test_logout_of_nobody_says_who_there_is(place: Place) -> None:
    place.runtap("local", "use")
    outcome = place.runtap("logout", "--user", "nobody")
    assert outcome.code == 2
    assert re.match(r"runtap: no such account; known are: .*local on http://\S+ ", outcome.err)


def test_logout_where_nobody_is_known(tmp_path: Path) -> None:
    with new_place(tmp_path) as empty:
        outcome = empty.runtap("logout")
        assert (outcome.code, outcome.err) == (
            1,
            "runtap: no account is known here, so there is nothing to forget\n",
        )


def test_login_asks_hidden(place: Place, url: str) -> None:
    ours, theirs = pty.openpty()
    process = place.start("-m", "runtap", "login", "--host", url, stdin=theirs, start_new_session=True)
    assert process.stderr is not None
    prompt = ""
    while not prompt.endswith("authorize): "):  # what is typed before the prompt is thrown away
        prompt += process.stderr.read(1) or pytest.fail(f"it ended without asking: {prompt}")
    os.write(ours, ADA_KEY.encode() + b"\n")
    done = Outcome.of(process)
    echoed = os.read(ours, 4096) if select.select([ours], [], [], 0)[0] else b""
    os.close(ours)
    os.close(theirs)
    assert prompt == f"API key for {url} (copy it from {url}/authorize): "
    assert (done.code, done.out[: len("Logged in")]) == (0, "Logged in")
    assert ADA_KEY.encode() not in echoed


def test_login_into_netrc(place: Place, url: str) -> None:
    done = place.runtap("login", "--host", url, "--netrc", "--key-stdin", stdin=ADA_KEY)
    path = place.root / ".netrc"
    assert done.out == f"Logged in to {url} as ada; the key is kept in {path}\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    place.runtap("restart")
    assert place.runtap("whoami", "--host", url, "--json").json()["key_source"] == "netrc"
    path.unlink()


@pytest.mark.parametrize(
    ("stdin", "words", "code", "complaint"),
    [
        ("", ["--key-stdin"], 2, "the key is empty"),
        ("short\n", ["--key-stdin"], 4, "40"),
        ("x" * 40, ["--key-stdin"], 4, "refused"),
        (None, [], 2, "no terminal to ask for the key on; use --key-stdin"),
    ],
)
def test_a_bad_login_is_one_line(
    place: Place, url: str, stdin: str | None, words: list[str], code: int, complaint: str
) -> None:
    outcome = place.runtap("login", "--host", url, *words, stdin=stdin)
    assert outcome.code == code, outcome
    assert complaint in outcome.err
    assert outcome.err.count("\n") == 1
    assert "x" * 40 not in outcome.err


@pytest.mark.slow
def test_a_server_that_is_not_there_is_one_line(place: Place) -> None:
    outcome = place.runtap("login", "--host", "http://127.0.0.1:9", "--key-stdin", stdin=ADA_KEY)
    assert outcome.code == 1
    assert "127.0.0.1:9" in outcome.err
    assert outcome.err.count("\n") == 1
