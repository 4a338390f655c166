"""Which server and key a caller means."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.faults import Fault, InvalidRequest, NeedsLogin
from runtapd.upstream import credentials
from runtapd.upstream.credentials import DEFAULT_BASE_URL, Credentials, KeySource, Surroundings

URL = "http://127.0.0.1:8080"


def key(name: str) -> str:
    return f"{name}-" + (name[0] * 40)


class Caller:
    """A caller's surroundings, made a file at a time."""

    def __init__(self, folder: Path) -> None:
        self.home, self.cwd = folder / "home", folder / "work"
        self.home.mkdir()
        self.cwd.mkdir()
        self.local_home = folder / "local"
        self.variables = {"HOME": str(self.home)}
        self.kept: dict[str, str] = {}

    def netrc(self, text: str, name: str = ".netrc") -> None:
        (self.home / name).write_text(text)

    def settings(self, text: str, *, workspace: bool = False) -> None:
        folder = self.cwd / "wandb" if workspace else self.home / ".config" / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings").write_text(f"[default]\n{text}\n")

    def resolve(self, base_url: str = URL, api_key: str = "") -> Credentials:
        around = Surroundings(self.variables, str(self.cwd))
        return credentials.resolve(
            base_url, api_key, around, self.local_home, lambda url: self.kept.get(url, "")
        )


@pytest.fixture
def caller(tmp_path: Path) -> Caller:
    return Caller(tmp_path)


def provide(caller: Caller, source: KeySource) -> str:
    if source is KeySource.ENVIRONMENT:
        caller.variables["WANDB_API_KEY"] = key("environment")
    elif source is KeySource.NETRC:
        caller.netrc(f"machine 127.0.0.1:8080\n  login user\n  password {key('netrc')}\n")
    elif source is KeySource.SETTINGS:
        caller.settings(f"base_url = {URL}\napi_key = {key('settings')}")
    elif source is KeySource.STORE:
        caller.kept[URL] = key("kept")
    return key("argument") if source is KeySource.ARGUMENT else ""


ORDER = [KeySource.ARGUMENT, KeySource.ENVIRONMENT, KeySource.NETRC, KeySource.SETTINGS, KeySource.STORE]


@pytest.mark.parametrize(
    ("first", "second"), [(a, b) for i, a in enumerate(ORDER) for b in ORDER[i:]], ids=lambda s: s.name
)
def test_the_order_of_sources(caller: Caller, first: KeySource, second: KeySource) -> None:
    argument = provide(caller, second) + (provide(caller, first) if first is not second else "")
    found = caller.resolve(api_key=argument)
    assert found.source is first and found.api_key.startswith(
        {"STORE": "kept"}.get(first.name, first.name.lower())
    )


def test_the_daemons_own_surroundings_never_count(caller: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    other = caller.home.parent / "daemon"
    other.mkdir()
    (other / ".netrc").write_text(f"machine 127.0.0.1:8080 login user password {key('daemon')}\n")
    monkeypatch.setenv("HOME", str(other))
    monkeypatch.setenv("NETRC", str(other / ".netrc"))
    monkeypatch.setenv("WANDB_API_KEY", key("daemon"))
    monkeypatch.setenv("WANDB_BASE_URL", "https://daemon.example")
    with pytest.raises(NeedsLogin):
        caller.resolve()
    with pytest.raises(NeedsLogin):
        credentials.resolve("", "", Surroundings({}), caller.local_home)
    caller.variables["NETRC"] = "~/mine"
    caller.netrc(f"machine 127.0.0.1:8080 login user password {key('mine')}\n", "mine")
    assert caller.resolve().api_key == key("mine")


def test_no_key_names_every_place_and_three_cures(caller: Caller) -> None:
    with pytest.raises(NeedsLogin) as caught:
        caller.resolve()
    text = caught.value.message
    assert caught.value.reason == "NO_API_KEY"
    for word in (URL, "WANDB_API_KEY", str(caller.home / ".netrc"), "settings files", "kept by `runtap login`",
                 "runtap login", "runtap local use"):  # fmt: skip
        assert word in text


@pytest.mark.parametrize("entry", ["127.0.0.1:8081", "127.0.0.1", "localhost:8080"])
def test_netrc_entries_of_other_machines_and_ports_do_not_count(caller: Caller, entry: str) -> None:
    caller.netrc(
        f"machine {entry} login user password {key('other')}\ndefault login user password {key('other')}\n"
    )
    with pytest.raises(NeedsLogin):
        caller.resolve()


@pytest.mark.parametrize("entry", sorted(credentials.CLOUD_HOSTS))
@pytest.mark.parametrize("host", sorted(credentials.CLOUD_HOSTS))
def test_both_names_of_the_cloud_are_one(caller: Caller, entry: str, host: str) -> None:
    caller.netrc(f"machine {entry} login user password {key('cloud')}\n")
    assert caller.resolve(f"https://{host}").api_key == key("cloud")


def test_the_netrc_file_is_chosen_as_the_sdk_does(caller: Caller) -> None:
    caller.netrc(f"machine 127.0.0.1:8080 login user password {key('underscored')}\n", "_netrc")
    assert caller.resolve().api_key == key("underscored")
    caller.netrc(f"machine 127.0.0.1:8080 login user password {key('dotted')}\n")
    assert caller.resolve().api_key == key("dotted")
    (caller.cwd / "here").write_text(f"machine 127.0.0.1:8080 login user password {key('here')}\n")
    caller.variables["NETRC"] = "here"
    assert caller.resolve().place == str(caller.cwd / "here")


@pytest.mark.parametrize(
    ("content", "trouble"),
    [
        (b"machine 127.0.0.1:8080 password secret-secret nonsense", "is not a netrc file"),
        (b"\xff\xfe\x00", "is not a netrc file"),
    ],
)
def test_a_netrc_file_that_cannot_be_read_is_said_so_without_its_content(
    caller: Caller, content: bytes, trouble: str
) -> None:
    (caller.home / ".netrc").write_bytes(content)
    with pytest.raises(NeedsLogin, match=trouble) as caught:
        caller.resolve()
    assert "secret" not in caught.value.message


def test_a_netrc_that_is_a_folder(caller: Caller) -> None:
    (caller.home / ".netrc").mkdir()
    with pytest.raises(NeedsLogin, match="cannot be read"):
        caller.resolve()


def test_settings_files(caller: Caller) -> None:
    caller.settings("base_url = https://one.example/\nentity = one\nproject = p1\napi_key = " + key("one"))
    assert caller.resolve("").base_url == "https://one.example"
    caller.settings("entity = two", workspace=True)
    found = caller.resolve("")
    assert (found.entity, found.project, found.source) == ("two", "p1", KeySource.SETTINGS)
    caller.variables |= {"WANDB_ENTITY": "three", "WANDB_PROJECT": "p3"}
    assert (caller.resolve("").entity, caller.resolve("").project) == ("three", "p3")
    caller.variables["WANDB_CONFIG_DIR"] = "elsewhere"
    with pytest.raises(NeedsLogin, match=DEFAULT_BASE_URL):
        caller.resolve("")


def test_a_chosen_local_server_is_meant_by_those_who_name_neither_server_nor_key(caller: Caller) -> None:
    caller.local_home.mkdir()
    info = {"url": "http://127.0.0.1:20000", "api_key": key("local")}
    (caller.local_home / "local.json").write_text(json.dumps(info))
    caller.netrc(f"machine api.wandb.ai login user password {key('cloud')}\n")

    def server(api_key: str = "", base_url: str = "", *, chosen: bool = True) -> str:
        around = Surroundings(caller.variables, str(caller.cwd))
        return credentials.resolve(base_url, api_key, around, caller.local_home, local_chosen=chosen).base_url

    assert server() == "http://127.0.0.1:20000"
    assert server(chosen=False) == DEFAULT_BASE_URL
    assert server(api_key=key("argument")) == DEFAULT_BASE_URL
    assert server(base_url="https://api.wandb.ai") == DEFAULT_BASE_URL
    caller.variables["WANDB_API_KEY"] = key("environment")
    assert server() == DEFAULT_BASE_URL


def test_a_key_in_a_settings_file_is_only_for_its_own_server(caller: Caller) -> None:
    caller.settings("base_url = https://one.example\napi_key = " + key("one"))
    caller.settings("base_url = https://two.example", workspace=True)
    with pytest.raises(NeedsLogin, match=r"two\.example"):
        caller.resolve("")
    assert caller.resolve("https://one.example").api_key == key("one")


@pytest.mark.parametrize("text", ["no section", "[default]\na = 1\na = 2", "[other]\napi_key = x", ""])
def test_broken_settings_files_are_passed_over(caller: Caller, text: str) -> None:
    folder = caller.home / ".config" / "wandb"
    folder.mkdir(parents=True)
    (folder / "settings").write_text(text)
    with pytest.raises(NeedsLogin):
        caller.resolve()


@pytest.mark.parametrize(
    "good",
    ["a" * 40, "a" * 86, "local-" + "b" * 40, "  " + "c" * 40 + "\n", "wandb_v1_" + "d" * 77, "aaa.bbb.ccc"],
)
def test_keys_of_any_known_form(good: str) -> None:
    assert credentials.check_key(good) == good.strip()


@pytest.mark.parametrize(
    "bad", ["a" * 39, "local-" + "b" * 39, "x" * 20 + " " + "x" * 20, "é" * 40, "-", "a.b"]
)
def test_malformed_keys_are_named_but_not_shown(caller: Caller, bad: str) -> None:
    caller.variables["WANDB_API_KEY"] = bad
    with pytest.raises(NeedsLogin, match="WANDB_API_KEY") as caught:
        caller.resolve()
    assert caught.value.reason == "API_KEY_MALFORMED"
    assert len(bad) < 4 or bad not in caught.value.message


@pytest.mark.parametrize(
    "url",
    ["", "api.wandb.ai", "ftp://x", "http://", "http://[", "http://host:port", "https://x?key=1", "https://x#y",
     "http://api.wandb.ai", "https://wandb.ai"],
)  # fmt: skip
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        credentials.check_base_url(url)
    assert caught.value.field == "base_url"


def test_an_address_with_a_password_is_refused_without_repeating_it() -> None:
    with pytest.raises(InvalidRequest) as caught:
        credentials.check_base_url("https://api:verysecret@host.example")
    assert "verysecret" not in caught.value.message


def test_addresses_are_written_one_way() -> None:
    assert credentials.check_base_url(" HTTPS://Api.Wandb.AI/ ") == "https://api.wandb.ai"
    assert credentials.check_base_url("http://Host:80/Base/") == "http://host:80/Base"
    assert credentials.check_base_url("http://notwandb.ai") == "http://notwandb.ai"


@pytest.mark.parametrize(
    ("base", "app"),
    [
        ("https://api.wandb.ai", "https://wandb.ai"),
        ("https://api.example.org", "https://app.example.org"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
    ],
)
def test_where_people_look(base: str, app: str) -> None:
    assert credentials.app_url(base) == app
    assert credentials.app_url(base, "https://mine/") == "https://mine"


def test_the_local_server_only_when_asked_for(caller: Caller) -> None:
    caller.local_home.mkdir()
    (caller.local_home / "local.json").write_text(json.dumps({"url": URL, "api_key": key("local")}))
    found = caller.resolve("local")
    assert (found.base_url, found.api_key, found.source) == (URL, key("local"), KeySource.LOCAL_SERVER)
    with pytest.raises(NeedsLogin):
        caller.resolve(URL)
    assert caller.resolve("local", key("argument")).source is KeySource.ARGUMENT


@pytest.mark.parametrize("content", [None, "", "[]", "{}", '{"url": 1}'])
def test_no_local_server_yet_says_how_to_make_one(caller: Caller, content: str | None) -> None:
    caller.local_home.mkdir()
    if content is not None:
        (caller.local_home / "local.json").write_text(content)
    with pytest.raises(NeedsLogin, match="runtap local start"):
        caller.resolve("local")


def test_no_repr_shows_a_key(caller: Caller) -> None:
    assert key("argument") not in repr(caller.resolve(api_key=key("argument")))


@given(st.text(max_size=50), st.text(max_size=60))
def test_whatever_is_given_is_understood_or_refused_by_name(url: str, given_key: str) -> None:
    try:
        credentials.resolve(url, given_key, Surroundings({}), Path("/nonexistent"))
    except Fault as fault:
        assert fault.reason in {"INVALID_FIELD", "NO_API_KEY", "API_KEY_MALFORMED"}
