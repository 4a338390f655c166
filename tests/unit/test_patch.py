"""Patches: what they do to a run, what they find changed by others, and whether a server kept them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.model.patch import (
    Conflict,
    Edit,
    Expectation,
    Patch,
    apply,
    broken_expectations,
    conflicts,
    not_honoured,
)
from tests.support.runs import make_run


def put(path: str, value: Any, base: Any = ...) -> Edit:
    """An edit that sets; `base` is what the caller had read, None for nothing there."""
    base_json = None if base is ... else "" if base is None else json.dumps(base)
    return Edit(tuple(path.split(".")), json.dumps(value), base_json)


def drop(path: str) -> Edit:
    return Edit(tuple(path.split(".")), None)


# What a patch does


def test_config_values_are_wrapped_and_their_description_kept() -> None:
    run = make_run(config={"lr": {"value": 0.1, "desc": "rate"}, "old": 3})

    changed = apply(Patch(config=(put("lr", 0.2), put("new", [1]), put("old", 4))), run)

    assert json.loads(changed.config) == {
        "lr": {"value": 0.2, "desc": "rate"},
        "new": {"value": [1], "desc": None},
        "old": {"value": 4, "desc": None},
    }


def test_a_nested_config_key_is_set_inside_the_value() -> None:
    run = make_run(config={"opt": {"value": {"name": "adam"}, "desc": None}, "raw": {"a": 1}})

    changed = apply(Patch(config=(put("opt.lr", 1), put("raw.b", 2), put("made.here", 3))), run)

    assert json.loads(changed.config) == {
        "opt": {"value": {"name": "adam", "lr": 1}, "desc": None},
        "raw": {"value": {"a": 1, "b": 2}, "desc": None},
        "made": {"value": {"here": 3}, "desc": None},
    }


def test_what_stands_beside_a_config_value_stays_there() -> None:
    run = make_run(config={"x": {"value": {"a": 1, "b": 2}, "foo": 2}, "y": {"value": 1, "foo": 3}})
    edits = (
        Edit(("x", "a"), "3", "1"),
        Edit(("x", "b"), None, "2"),
        Edit(("y",), "4", "1"),
    )
    assert conflicts(Patch(config=edits), run) == []
    after = apply(Patch(config=edits), run)
    assert json.loads(after.config or "") == {
        "x": {"value": {"a": 3}, "foo": 2},
        "y": {"value": 4, "foo": 3},
    }
    assert not_honoured(Patch(config=edits), after) == []


def test_summary_keys_are_set_as_they_are() -> None:
    run = make_run(summary={"acc": 0.5, "nested": {"a": 1}, "scalar": 1})

    changed = apply(Patch(summary=(put("nested.b", 2), put("scalar.deep", 3), put("value", 4))), run)

    assert json.loads(changed.summary) == {
        "acc": 0.5,
        "nested": {"a": 1, "b": 2},
        "scalar": {"deep": 3},
        "value": 4,
    }


def test_removing_takes_the_key_and_nothing_else() -> None:
    run = make_run(
        config={"lr": {"value": 1}, "opt": {"value": {"a": 1, "b": 2}}}, summary={"a": {"b": 1}, "c": 2}
    )

    changed = apply(Patch(config=(drop("lr"), drop("opt.a")), summary=(drop("a.b"), drop("c"))), run)

    assert json.loads(changed.config) == {"opt": {"value": {"b": 2}}}
    assert json.loads(changed.summary) == {"a": {}}


@pytest.mark.parametrize("path", ["nowhere", "nowhere.deep", "lr.deep", "raw.nowhere"])
def test_removing_what_is_not_there_changes_nothing(path: str) -> None:
    run = make_run(config='{ "lr": {"value": 0.1},  "raw": {"a": 1}}', summary='{ "lr": 1 }')

    assert apply(Patch(config=(drop(path),), summary=(drop(path),)), run) == run


def test_setting_what_is_there_leaves_the_text_as_it_is() -> None:
    run = make_run(config='{ "lr" : {"value": 1.0}, "n": NaN}', summary='{ "x":NaN }')

    patch = Patch(config=(put("lr", 1), put("n", "NaN")), summary=(put("x", "NaN"),))

    assert apply(patch, run) == run


def test_edits_that_end_where_they_began_leave_the_text_as_it_is() -> None:
    run = make_run(summary='{ "a" : 2 }')

    assert apply(Patch(summary=(put("a", 1), put("a", 2))), run) == run


def test_truth_values_are_not_numbers() -> None:
    run = make_run(summary={"flag": 1})

    assert json.loads(apply(Patch(summary=(put("flag", True),)), run).summary) == {"flag": True}


def test_large_integers_and_nan_elsewhere_survive_a_change() -> None:
    run = make_run(summary='{"big": 123456789012345678901234567890, "bad": NaN, "acc": 1}')

    changed = apply(Patch(summary=(put("acc", 2),)), run)

    assert changed.summary == '{"big":123456789012345678901234567890,"bad":NaN,"acc":2}'


def test_half_a_surrogate_pair_stays_an_escape() -> None:
    run = make_run(summary='{"half": "\\ud83d", "acc": 1}')

    changed = apply(Patch(summary=(put("acc", 2),)), run)

    assert changed.summary.encode() == b'{"half":"\\ud83d","acc":2}'


@pytest.mark.parametrize("text", ["", "null", "[]"])
def test_a_document_that_is_no_object_becomes_one(text: str) -> None:
    assert json.loads(apply(Patch(summary=(put("a", 1),)), make_run(summary=text)).summary) == {"a": 1}


def test_tags_are_added_removed_and_replaced() -> None:
    run = make_run(tags=("a", "b"))

    assert apply(Patch(tags_add=("c", "a"), tags_remove=("b", "x")), run).tags == ("a", "c")
    assert apply(Patch(tags_replace=()), run).tags == ()


# What others changed


def test_a_value_changed_by_others_is_a_conflict_unless_it_is_mine() -> None:
    run = make_run(config={"lr": {"value": 0.3}, "n": {"value": 7}}, summary={"acc": 1})
    patch = Patch(
        config=(put("lr", 0.2, base=0.1), put("n", 7, base=1), put("new", 1, base=None)),
        summary=(put("acc", 2), Edit(("gone",), None, "5")),
    )

    assert conflicts(patch, run) == [Conflict("config.lr", "0.3", "0.2", "0.1")]


def test_a_key_that_others_removed_is_a_conflict() -> None:
    patch = Patch(config=(put("lr", 0.2, base=0.1),))

    assert conflicts(patch, make_run(config={})) == [Conflict("config.lr", None, "0.2", "0.1")]


def test_a_field_changed_by_others_is_a_conflict_if_the_caller_told_what_it_had_read() -> None:
    run = make_run(notes="theirs", group=None, display_name="same")
    patch = Patch(
        fields=(("notes", "mine"), ("group", "g"), ("display_name", "new"), ("job_type", "x")),
        base_fields=(("notes", "old"), ("group", ""), ("display_name", "same")),
    )

    assert conflicts(patch, run) == [Conflict("notes", '"theirs"', '"mine"', '"old"')]
    assert Patch.from_json(patch.to_json()) == patch


def test_a_patch_of_an_older_journal_is_read() -> None:
    raw = json.loads(Patch(fields=(("notes", "mine"),)).to_json())
    del raw["base_fields"]

    assert Patch.from_json(json.dumps(raw)) == Patch(fields=(("notes", "mine"),))


def test_expectations_that_hold_and_that_do_not() -> None:
    run = make_run(config={"lr": {"value": 1.0}}, notes=None, tags=("b", "a"))
    holding = (
        Expectation("config", ("lr",), "1"),
        Expectation("summary", ("none",), None),
        Expectation("notes", (), None),
        Expectation("notes", (), '""'),
        Expectation("tags", (), '["a", "b"]'),
        Expectation("display_name", (), '"name of r1"'),
    )
    broken = (
        Expectation("config", ("lr",), "2"),
        Expectation("summary", ("acc",), None),
        Expectation("notes", (), '"x"'),
        Expectation("tags", (), '["a"]'),
    )

    assert broken_expectations(Patch(expect=holding, etag=run.etag()), run) == []
    found = broken_expectations(Patch(expect=broken, etag='"other"'), run)
    assert [conflict.field for conflict in found] == ["etag", "config.lr", "summary.acc", "notes", "tags"]
    assert found[1] == Conflict("config.lr", "1.0", None, "2")


# Whether a server kept it


def test_a_server_that_kept_everything() -> None:
    patch = Patch(
        config=(put("lr", 1),),
        summary=(put("a", {}), put("a.b", float("nan")), drop("acc")),
        fields=(("notes", ""), ("group", "g")),
        tags_add=("x",),
    )
    run = make_run(
        config={"lr": {"value": 1.0}}, summary='{"a": {"b": NaN}}', group="g", notes=None, tags=("x", "b")
    )

    assert not_honoured(patch, run) == []


def test_a_server_that_merges_deeply_is_found_out() -> None:
    patch = Patch(summary=(put("a", {"x": 1}), put("a.y", 2)))

    kept = not_honoured(patch, make_run(summary={"a": {"x": 1, "y": 2, "old": 3}}))

    assert kept == [Conflict("summary.a", '{"x":1,"y":2,"old":3}', '{"x":1,"y":2}')]


def test_a_server_that_keeps_something_else_is_told_by_field() -> None:
    patch = Patch(config=(put("lr", 1), drop("old")), fields=(("notes", "n"),), tags_replace=("x",))
    run = make_run(config={"lr": {"value": 2}, "old": {"value": 3}}, tags=("x", "y"))

    assert not_honoured(patch, run) == [
        Conflict("config.lr", "2", "1"),
        Conflict("config.old", "3", None),
        Conflict("notes", None, '"n"'),
        Conflict("tags", '["x","y"]', '["x"]'),
    ]


# Properties

KEYS = st.sampled_from(["a", "b", "value", "desc", "ä"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=2),
    max_leaves=4,
)
PATHS = st.lists(KEYS, min_size=1, max_size=3).map(tuple)
EDITS = st.builds(Edit, PATHS, st.none() | VALUES.map(json.dumps), st.none() | VALUES.map(json.dumps))
EDIT_LISTS = st.lists(EDITS, max_size=4).map(tuple)
TAGS = st.lists(st.sampled_from(["x", "y", "z"]), max_size=2, unique=True).map(tuple)
EXPECTATIONS = st.builds(
    Expectation, st.sampled_from(["config", "summary"]), PATHS, st.none() | VALUES.map(json.dumps)
)
PATCHES = st.builds(
    Patch,
    config=EDIT_LISTS,
    summary=EDIT_LISTS,
    fields=st.sampled_from([(), (("notes", ""),), (("notes", "n"), ("group", "g"))]),
    tags_add=TAGS,
    tags_remove=TAGS,
    tags_replace=st.none() | TAGS,
    etag=st.sampled_from(["", '"e"']),
    expect=st.lists(EXPECTATIONS, max_size=2).map(tuple),
)
DOCUMENTS = st.dictionaries(KEYS, VALUES, max_size=3).map(json.dumps)
RUNS = st.builds(
    lambda config, summary, tags: make_run(config=config, summary=summary, tags=tags),
    DOCUMENTS,
    DOCUMENTS,
    TAGS,
)


@given(PATCHES)
def test_a_patch_survives_the_journal(patch: Patch) -> None:
    assert Patch.from_json(patch.to_json()) == patch


@given(PATCHES, RUNS)
def test_a_run_that_took_a_patch_has_kept_it(patch: Patch, run: Any) -> None:
    changed = apply(patch, run)

    assert not_honoured(patch, changed) == []
    assert apply(patch, changed) == changed


@given(EDIT_LISTS, RUNS)
def test_other_keys_are_left_alone(edits: tuple[Edit, ...], run: Any) -> None:
    changed = apply(Patch(config=edits, summary=edits), run)

    mine = {edit.path[0] for edit in edits}
    for document in ("config", "summary"):
        before, after = (
            {k: v for k, v in json.loads(getattr(each, document)).items() if k not in mine}
            for each in (run, changed)
        )
        assert json.dumps(before) == json.dumps(after)


@given(EDITS, RUNS)
def test_what_was_read_just_now_is_no_conflict(edit: Edit, run: Any) -> None:
    there = broken_expectations(Patch(expect=(Expectation("config", edit.path, '"no such value"'),)), run)
    assert len(there) == 1
    read_just_now = Edit(edit.path, edit.set_json, there[0].theirs_json or "")

    assert conflicts(Patch(config=(read_just_now,)), run) == []
    assert (
        broken_expectations(Patch(expect=(Expectation("config", edit.path, there[0].theirs_json),)), run)
        == []
    )
