"""What a new config does to the one a run has: takes its place, or, where so set, is merged into it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtap_local.graphql.merging import merged_config
from runtap_local.settings import Settings, SettingsError, load
from tests.local.client import Client
from tests.support.local_server import local_server

plain = st.integers(0, 3) | st.none() | st.lists(st.integers(0, 3), max_size=2)
nested = st.recursive(
    plain, lambda below: st.dictionaries(st.sampled_from("xyz"), below, max_size=3), max_leaves=8
)
configs = st.dictionaries(
    st.sampled_from("abc"), nested | nested.map(lambda value: {"value": value, "desc": None}), max_size=3
)


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ({"a": {"value": 1}}, {"b": {"value": 2}}, {"a": {"value": 1}, "b": {"value": 2}}),
        ({"a": {"value": 1, "desc": None}}, {"a": {"value": 2}}, {"a": {"value": 2, "desc": None}}),
        ({"a": {"value": {"x": {"y": 1}}}}, {"a": {"value": {"x": {"z": 2}}}},
         {"a": {"value": {"x": {"y": 1, "z": 2}}}}),
        ({"a": {"value": {"x": 1}}}, {"a": {"value": 3}}, {"a": {"value": 3}}),
        ({"a": {"value": 3}}, {"a": {"value": {"x": 1}}}, {"a": {"value": {"x": 1}}}),
        ({"a": {"value": [1, 2]}}, {"a": {"value": [3]}}, {"a": {"value": [3]}}),
        ({"a": {"value": {"x": 1}}}, {"a": {"value": {"x": None}}}, {"a": {"value": {"x": None}}}),
        ({"a": {"value": {"x": 1}}}, {}, {"a": {"value": {"x": 1}}}),
        # One bare, one wrapped: whose key is 'value'? The new entry stands as it is.
        ({"a": {"value": {"x": 1}}}, {"a": {"y": 2}}, {"a": {"y": 2}}),
        ({"a": {"y": 2}}, {"a": {"value": {"x": 1}}}, {"a": {"value": {"x": 1}}}),
        ({"a": {"y": 2}}, {"a": {"z": 3}}, {"a": {"y": 2, "z": 3}}),
    ],
)  # fmt: skip
def test_how_configs_are_merged(old: Any, new: Any, expected: Any) -> None:
    assert merged_config(old, new) == expected


@given(configs, configs)
def test_merging_loses_no_key_and_repeats_without_effect(old: Any, new: Any) -> None:
    merged = merged_config(old, new)
    assert merged.keys() == old.keys() | new.keys()
    assert merged_config(merged, new) == merged
    assert merged_config(old, {}) == old and merged_config({}, new) == new


def test_the_setting_is_read_and_checked(tmp_path: Path) -> None:
    assert Settings(home=tmp_path).config_merge == "replace"
    assert load(tmp_path, {"RUNTAP_LOCAL_CONFIG_MERGE": "deep"}).config_merge == "deep"
    with pytest.raises(SettingsError, match="config_merge must be replace or deep, not 'both'"):
        load(tmp_path, {"RUNTAP_LOCAL_CONFIG_MERGE": "both"})


@pytest.fixture(scope="module")
def merging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """The user of a server that merges."""
    with local_server(tmp_path_factory.mktemp("merging") / "home", config_merge="deep") as server:
        yield Client(server.url, server.entity, server.api_key)


def config_of(client: Client) -> Any:
    """The config of the run."""
    return json.loads(client.run("r1", "config")["config"])


def test_configs_are_merged_where_so_set(merging: Client) -> None:
    made = merging.upsert("r1", config={"a": {"value": {"x": 1}}, "b": {"value": 1}}, summaryMetrics={"s": 1})
    merging.upsert("r1", config={"a": {"value": {"y": 2}}})
    assert config_of(merging) == {"a": {"value": {"x": 1, "y": 2}}, "b": {"value": 1}}
    merging.upsert(id=made["bucket"]["id"], config={"b": {"value": 2}}, summaryMetrics={"t": 2})
    assert config_of(merging) == {"a": {"value": {"x": 1, "y": 2}}, "b": {"value": 2}}
    # Summaries are replaced here as everywhere.
    assert json.loads(merging.run("r1", "summaryMetrics")["summaryMetrics"]) == {"t": 2}
    answered = merging.upsert("r1", config={"c": {"value": float("nan")}})["bucket"]["config"]
    assert '"b":{"value":2}' in answered and "NaN" in answered
    merging.upsert("r1", notes="without a config")
    assert set(config_of(merging)) == {"a", "b", "c"}


def test_configs_are_replaced_otherwise(client: Client) -> None:
    client.upsert("r1", config={"a": {"value": {"x": 1}}, "b": {"value": 1}})
    client.upsert("r1", config={"a": {"value": {"y": 2}}})
    assert config_of(client) == {"a": {"value": {"y": 2}}}
