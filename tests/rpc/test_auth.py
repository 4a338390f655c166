"""Whose key is used: every pair of sources, for programs in any language and for `runtap.Api`, through a real daemon
whose own surroundings are full of keys that must never count."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

import runtap
from runtap import errors
from runtap.v1 import accounts_pb2 as pb
from tests.support.daemon import start_daemon
from tests.support.many_accounts import Caller, Office, PersonalUpstream, key_of
from tests.support.scripted_world import failing

SOURCES = ("argument", "environment", "netrc", "settings", "store")
PAIRS = list(itertools.combinations(SOURCES, 2))
FOUND_BY_SEARCH = SOURCES[:4]


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Office]:
    """A daemon with keys of its own for `here` in every place, and a key for `here` that a Login had it keep."""
    folder = tmp_path_factory.mktemp("office")
    with PersonalUpstream(name="here") as here, PersonalUpstream(name="there") as there:
        for server in (here, there):
            for name in (*SOURCES, "daemon"):
                server.user(name)
        own = Caller(folder / "own")
        own.netrc(here.url, key_of("daemon"))
        own.settings(base_url=here.url, api_key=key_of("daemon"), entity="daemons")
        env = own.variables | {"WANDB_API_KEY": key_of("daemon"), "WANDB_BASE_URL": here.url}
        secrets = [key_of(name) for name in FOUND_BY_SEARCH]
        with start_daemon(folder / "home", env, secrets=secrets) as daemon:
            office = Office(daemon, here, there)
            office.account(here, key_of("store"), store=True)
            yield office


@pytest.fixture
def caller(tmp_path: Path) -> Caller:
    return Caller(tmp_path / "caller")


def provide(caller: Caller, source: str, url: str, key: str = "") -> str:
    """Puts the source's key where it belongs; returns the argument to give."""
    key = key or key_of(source)
    if source == "environment":
        caller.variables["WANDB_API_KEY"] = key
    elif source == "netrc":
        caller.netrc(url, key)
    elif source == "settings":
        caller.settings(base_url=url, api_key=key)
    return key if source == "argument" else ""


# Every test below is made twice: by the stubs, as any language would, and by the Python client.
Login = Callable[..., str]
"""Logs in to a server with an argument and tells the user's name; `entity` tells the default entity instead."""


@pytest.fixture(params=["stubs", "python"])
def login(
    request: pytest.FixtureRequest, office: Office, caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> Login:
    def by_stubs(url: str = "", argument: str = "", *, entity: bool = False) -> str:
        answer = office.sign_in(base_url=url, api_key=argument, environment=caller.environment())
        return answer.defaults.entity if entity else answer.account.viewer.username

    def by_python(url: str = "", argument: str = "", *, entity: bool = False) -> str:
        caller.become(monkeypatch, office.daemon)
        api = runtap.Api(base_url=url or None, api_key=argument or None)
        return api.default_entity if entity else str(api.viewer)

    return by_stubs if request.param == "stubs" else by_python


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=lambda name: str(name))
def test_of_two_sources_the_first_counts(
    office: Office, caller: Caller, login: Login, first: str, second: str
) -> None:
    url = office.here.url
    arguments = [provide(caller, source, url) for source in (first, second)]
    assert login(url, "".join(arguments)) == first


@pytest.mark.parametrize("source", SOURCES)
def test_one_source_is_enough_and_is_named(office: Office, caller: Caller, source: str) -> None:
    argument = provide(caller, source, office.here.url)
    account = office.sign_in(
        base_url=office.here.url, api_key=argument, environment=caller.environment()
    ).account
    assert account.viewer.username == source
    assert pb.KeySource.Name(account.key_source) == f"KEY_SOURCE_{source.upper()}"
    assert account.stored == (source == "store")


def test_nothing_of_the_daemons_own_surroundings_counts(office: Office, caller: Caller, login: Login) -> None:
    with pytest.raises((grpc.RpcError, errors.UsageError)) as caught:
        login(office.there.url)
    message = str(caught.value)
    for word in (office.there.url, "WANDB_API_KEY", str(caller.netrc_path), "runtap login", "runtap local"):
        assert word in message
    assert login(office.here.url) == "store", "what a Login had it keep is no surrounding"
    assert login(office.here.url, entity=True) != "daemons"
    assert office.here.sent_by("Viewer", "daemon") == 0 == office.there.sent_by("Viewer", "daemon")


def test_no_key_is_told_in_one_way_to_all(office: Office, caller: Caller) -> None:
    nobody = failing(lambda: office.sign_in(base_url=office.there.url, environment=caller.environment()))
    assert (nobody.code, nobody.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_API_KEY")
    assert nobody.metadata["server"] == office.there.url


@pytest.mark.parametrize("source", FOUND_BY_SEARCH)
@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("tooshort", "has 8 characters; an API key has 40 or more"),
        ("local-tooshort", "has 8 characters behind its first dash; an API key has 40 or more"),
        ("x" * 30 + "!" + "x" * 30, "has other characters than letters, digits, dashes and underscores"),
    ],
    ids=["short", "short with prefix", "odd"],
)
def test_a_key_that_is_none_is_refused_with_the_reason_and_its_place(
    office: Office, caller: Caller, monkeypatch: pytest.MonkeyPatch, source: str, key: str, reason: str
) -> None:
    """No other source is tried instead: whoever gives a key means it."""
    url = office.here.url
    argument = provide(caller, source, url, key)
    place = {
        "argument": "the call",
        "environment": "WANDB_API_KEY",
        "netrc": str(caller.netrc_path),
        "settings": str(caller.settings_path),
    }[source]
    before = office.here.count()
    refused = failing(
        lambda: office.sign_in(base_url=url, api_key=argument, environment=caller.environment())
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "API_KEY_MALFORMED")
    assert refused.message == f"the API key from {place} {reason}" and refused.metadata["key_source"] == place
    caller.become(monkeypatch, office.daemon)
    with pytest.raises(errors.AuthenticationError, match="API key from") as caught:
        runtap.Api(base_url=url, api_key=argument or None)
    assert str(caught.value) == refused.message and "tooshort" not in str(caught.value)
    assert office.here.count() == before, "nothing was sent"


@pytest.mark.parametrize("source", FOUND_BY_SEARCH)
def test_a_key_that_the_server_refuses_is_told_with_its_place(
    office: Office, caller: Caller, source: str
) -> None:
    url, unknown = office.here.url, key_of("unknown")
    argument = provide(caller, source, url, unknown)
    refused = failing(
        lambda: office.sign_in(base_url=url, api_key=argument, environment=caller.environment())
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.PERMISSION_DENIED, "API_KEY_REJECTED")
    for word in (url, refused.metadata["key_source"], "runtap login"):
        assert word in refused.message
    assert unknown not in str(refused)


def test_the_server_is_the_arguments_then_the_environments_then_the_settings(
    office: Office, caller: Caller, login: Login
) -> None:
    here, there = office.here, office.there
    caller.settings(base_url=here.url, api_key=key_of("settings"))
    assert login() == "settings"
    caller.settings(workspace=True, base_url=there.url, api_key=key_of("netrc"))
    assert login() == "netrc", "the settings of the working folder come before those of the user"
    caller.variables |= {"WANDB_BASE_URL": here.url, "WANDB_API_KEY": key_of("environment")}
    before = there.count()
    assert login() == "environment" and there.count() == before
    caller.netrc(there.url, key_of("argument"))
    del caller.variables["WANDB_API_KEY"]
    assert login(there.url) == "argument", "each server has its own entry"


def test_a_key_for_one_server_is_never_sent_to_another(office: Office, caller: Caller, login: Login) -> None:
    caller.netrc(office.here.url, key_of("netrc"))
    caller.settings(base_url=office.here.url, api_key=key_of("settings"))
    before = office.there.count()
    with pytest.raises((grpc.RpcError, errors.UsageError)):
        login(office.there.url)
    assert office.there.count() == before


def test_defaults_for_paths_are_the_callers(office: Office, caller: Caller, login: Login) -> None:
    caller.variables["WANDB_API_KEY"] = key_of("environment")
    assert login(office.here.url, entity=True) == "team", "the viewer's own"
    caller.settings(entity="of-settings")
    assert login(office.here.url, entity=True) == "of-settings"
    caller.variables["WANDB_ENTITY"] = "of-environment"
    assert login(office.here.url, entity=True) == "of-environment"


def test_surroundings_that_nobody_can_have_are_read_all_the_same(office: Office) -> None:
    around = pb.CallerEnvironment(
        variables={"WANDB_CONFIG_DIR": "a\0b", "NETRC": "a\0b", "HOME": "\0"}, working_directory="\0"
    )
    refused = failing(lambda: office.sign_in(base_url=office.there.url, environment=around))
    assert refused.reason == "NO_API_KEY"
