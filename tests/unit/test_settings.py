"""Settings: where the folders lie, and which values are refused."""

from __future__ import annotations

import os
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest

from runtapd.settings import Settings, SettingsError, folders, host_id


def test_one_home_holds_everything() -> None:
    assert folders({"RUNTAP_HOME": "/h", "XDG_RUNTIME_DIR": "/x", "XDG_STATE_HOME": "/y"}) == (
        Path("/h/run") / host_id(),
        Path("/h/state") / host_id(),
        Path("/h/local"),
    )


def test_the_desktop_standard_is_followed() -> None:
    assert folders({"XDG_RUNTIME_DIR": "/run/user/7", "XDG_STATE_HOME": "/s"}) == (
        Path("/run/user/7/runtap"),
        Path("/s/runtap") / host_id(),
        Path("/s/runtap/local"),
    )


def test_without_any_hint_there_is_a_place() -> None:
    assert folders({"HOME": "/home/u", "XDG_STATE_HOME": "relative"}) == (
        Path(f"/tmp/runtap-{os.getuid()}"),
        Path("/home/u/.local/state/runtap") / host_id(),
        Path("/home/u/.local/state/runtap/local"),
    )


def test_a_host_becomes_a_folder_name() -> None:
    assert host_id("Node_7.Cluster.ORG") == "node-7-cluster-org"
    assert len(host_id("n" * 100)) == 40


def test_the_environment_is_read() -> None:
    settings = Settings.from_environment(
        {"RUNTAP_HOME": "/h", "RUNTAP_IDLE_EXIT_S": "0", "RUNTAP_LOG_LEVEL": "DEBUG"}, start_reason="test"
    )
    assert settings.idle_exit_s == 0
    assert settings.log_level == "debug"
    assert settings.start_reason == "test"
    assert settings.log_path == settings.state_dir / "daemon.log"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RUNTAP_HOME", "relative/home"),
        ("RUNTAP_IDLE_EXIT_S", "-1"),
        ("RUNTAP_IDLE_EXIT_S", "inf"),
        ("RUNTAP_IDLE_EXIT_S", "nan"),
        ("RUNTAP_LOG_LEVEL", "loud"),
        ("RUNTAP_MAX_OPEN_CALLS", "many"),
        ("RUNTAP_MAX_STREAMS", "0"),
        ("RUNTAP_CACHE_LIMIT", "plenty"),
        ("RUNTAP_CACHE_LIMIT", "-5G"),
        ("RUNTAP_CACHE_LIMIT", "0"),
        ("RUNTAP_CACHE_LIMIT", "1000K"),
        ("RUNTAP_CACHE_LIMIT", "10 %"),
        ("RUNTAP_CACHE_LIMIT", "99999999T"),
    ],
)
def test_a_value_without_sense_is_named(name: str, value: str) -> None:
    with pytest.raises(SettingsError, match=value):
        Settings.from_environment({"RUNTAP_HOME": "/h", name: value})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("", None),
        ("500M", 500 * 2**20),
        ("5g", 5 * 2**30),
        ("1.5 GiB", 3 * 2**29),
        ("2TB", 2 * 2**40),
        ("1048576", 2**20),
    ],
)
def test_the_limit_of_the_cache_is_a_size(text: str, size: int | None) -> None:
    settings = Settings.from_environment({"RUNTAP_HOME": "/h", "RUNTAP_CACHE_LIMIT": text})
    assert settings.cache_limit_bytes == size


def test_settings_do_not_change() -> None:
    settings = Settings.from_environment({"RUNTAP_HOME": "/h"})
    with pytest.raises(FrozenInstanceError):
        settings.idle_exit_s = 1  # type: ignore[misc]
