"""`runtap cache` and `runtap cache prune`, against a scripted server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runtap.cli.cache import in_words
from tests.support.client import Place, new_place, wait_until
from tests.support.upstream import ENTITY, KEY, ScriptedUpstream

READ = f"import runtap; print(len(list(runtap.Api().runs('{ENTITY}/vision'))))"


@pytest.fixture(scope="module")
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        for i in range(80):
            server.add_run(ENTITY, "vision", f"r{i}", config={"x": "y" * 50_000})
        yield server


@pytest.fixture(scope="module")
def place(server: ScriptedUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    variables = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY, "RUNTAP_CACHE_LIMIT": "100M"}
    with new_place(tmp_path_factory.mktemp("cache"), **variables) as made:
        yield made


def read_all(place: Place) -> None:
    """Lists the runs, and waits until they are on disk."""
    assert place.python(READ).out == "80\n"
    wait_until(lambda: place.runtap("cache", "--json").json()["accounts"][0]["records"] == 80)


def test_usage_is_shown_and_pruned(place: Place, server: ScriptedUpstream) -> None:
    read_all(place)
    usage = place.runtap("cache", "--json").json()
    (account,) = usage["accounts"]
    assert usage["limit_bytes"] == 100 * 2**20
    assert usage["disk_bytes"] == account["disk_bytes"] > 4_000_000
    assert (account["base_url"], account["username"], account["answers"]) == (server.url, "ada", 1)

    shown = place.runtap("cache").out
    assert shown.startswith(f"{in_words(usage['disk_bytes'])} on disk, of at most 100 MiB\n")
    row = shown.splitlines()[-1]
    assert row.split()[:6] == [account["account_id"], server.url, "ada", "80", "1", "0"]

    assert place.runtap("cache", "prune", "--unused-for", "1d").out.startswith("Freed ")  # the log, at most
    usage = place.runtap("cache", "--json").json()
    assert usage["accounts"][0]["records"] == 80
    freed = place.runtap("cache", "prune", "--account", "ada", "--keep", "1M", "--json").json()["freed_bytes"]
    after = place.runtap("cache", "--json").json()
    assert after["disk_bytes"] == usage["disk_bytes"] - freed <= 2**20
    assert 5 < after["accounts"][0]["records"] < 25
    assert place.python(READ).out == "80\n"

    pruned = place.runtap("cache", "prune", "--account", account["account_id"])
    assert (pruned.code, pruned.out.startswith("Freed ")) == (0, True)
    assert place.runtap("cache", "--json").json()["disk_bytes"] == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("prune", "--keep", "much"), "'much' is not a size, such as 500M or 2G"),
        (("prune", "--keep", "-1"), "'-1' is not a size"),
        (("prune", "--unused-for", "30"), "'30' is not a span of time, such as 12h or 30d"),
        (("prune", "--account", "nobody"), "nothing is cached of 'nobody'; accounts are: acct-"),
        (("prune", "--account", "nobody"), " (ada at http"),
        (("--json", "prune"), "--json comes after prune"),
    ],
)
def test_what_is_not_understood_is_said_in_a_line(place: Place, words: tuple[str, ...], message: str) -> None:
    place.runtap("whoami")  # so that there is an account
    refused = place.runtap("cache", *words)
    assert refused.code == 2
    assert message in refused.err
    assert refused.err.count("\n") == 1


def test_a_limit_without_sense_is_told_to_whoever_starts_the_daemon(tmp_path: Path) -> None:
    with new_place(tmp_path, RUNTAP_CACHE_LIMIT="lots") as wrong:
        refused = wrong.runtap("cache")
        assert refused.code != 0
        assert (
            "RUNTAP_CACHE_LIMIT is 'lots'; it must be a size of at least 1M, such as 500M or 5G"
            in refused.err
        )


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1536, "1.5 KiB"),
        (500 * 2**20, "500 MiB"),
        (5 * 2**30, "5.0 GiB"),
        (2**51, "2048 TiB"),
    ],
)
def test_sizes_in_words(size: int, words: str) -> None:
    assert in_words(size) == words
