"""Paths in every form people paste."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.faults import InvalidRequest
from runtapd.model.paths import entity_name, project_path, run_path


@pytest.mark.parametrize(
    "text",
    [
        "team/vision/r1",
        "/team/vision/r1",
        "team/vision/runs/r1",
        "team/vision:r1",
        "  team/vision/r1  ",
        "vision/r1",
        "vision:r1",
        "vision/runs/r1",
        "r1",
        "https://wandb.ai/team/vision/runs/r1",
        "https://wandb.ai/team/vision/runs/r1/overview?workspace=user-ada",
        "http://127.0.0.1:8080/team/vision/runs/r1#charts",
        "wandb.ai/team/vision/runs/r1?workspace=user-ada",
        "localhost:8080/team/vision/runs/r1",
        "team/vision/runs/r1/files",
        "team / vision / r1",
    ],
)
def test_a_run_in_any_form(text: str) -> None:
    assert str(run_path(text, "team", "vision")) == "team/vision/r1"


def test_a_url_is_unquoted_and_a_path_is_not() -> None:
    assert run_path("https://wandb.ai/team/my%20project/runs/r1", "", "").project == "my project"
    assert run_path("team/100%25/r1", "", "").project == "100%25"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "a/b/c/d",
        "team//r1",
        "https://wandb.ai/team/vision",
        "https://wandb.ai/team/vision/workspace",
        "https://wandb.ai/team/vision/sweeps/s1",
        "https://wandb.ai/team/vision/runs",
        "https://wandb.ai/team/a%2Fb/runs/r1",
        "http://[/team/vision/runs/r1",
    ],
)
def test_what_is_no_run_names_the_field_and_the_forms(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        run_path(text, "team", "vision")
    assert (caught.value.reason, caught.value.field) == ("INVALID_PATH", "path")
    assert repr(text) in caught.value.message


def test_a_missing_default_is_named() -> None:
    with pytest.raises(
        InvalidRequest, match=r"'r1' names no project .*\(the environment variable WANDB_PROJECT, or"
    ):
        run_path("r1", "team", "")
    with pytest.raises(InvalidRequest, match="no default entity"):
        run_path("vision/r1", "", "")
    with pytest.raises(InvalidRequest, match=r"write entity/project, or set a default .* WANDB_ENTITY"):
        project_path("vision", "", "")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("team/vision/sweeps/s1", "it is that of a sweep"),
        ("https://wandb.ai/team/vision/artifacts/model/x/v0", "it is that of an artifact"),
        ("https://wandb.ai/team/vision/workspace", "a project, whose runs are team/vision/<run_id>"),
    ],
)
def test_what_is_something_else_is_said(text: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        run_path(text, "team", "vision")


@pytest.mark.parametrize(
    "text", ["team/vision/r1", "team/vision/runs/r1/files", "https://x.test/team/vision/runs/r1"]
)
def test_whoever_names_a_run_for_a_project_is_told_its_project(text: str) -> None:
    with pytest.raises(InvalidRequest, match=r"did you mean 'team/vision'\?"):
        project_path(text, "", "")


@pytest.mark.parametrize("text", ["team", " team ", "https://wandb.ai/team", ""])
def test_an_entity(text: str) -> None:
    assert entity_name(text, "team") == "team"


@pytest.mark.parametrize("text", ["team/vision", "https://wandb.ai", "https://wandb.ai/team/vision", "//"])
def test_what_is_no_entity_names_the_field(text: str) -> None:
    with pytest.raises(InvalidRequest, match="the name of a user or a team") as caught:
        entity_name(text, "")
    assert (caught.value.reason, caught.value.field) == ("INVALID_PATH", "entity")


@pytest.mark.parametrize(
    "text",
    [
        "team/vision",
        "vision",
        "",
        "team/vision/workspace",
        "https://wandb.ai/team/vision",
        "https://wandb.ai/team/vision/table?x=1",
        "https://wandb.ai/team/vision/runs",
    ],
)
def test_a_project_in_any_form(text: str) -> None:
    assert str(project_path(text, "team", "vision")) == "team/vision"


@pytest.mark.parametrize("text", ["a/b/c", "a//b", "https://wandb.ai/team/vision/runs/r1", "http://[x"])
def test_what_is_no_project_names_the_field(text: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        project_path(text, "team", "vision")
    assert (caught.value.reason, caught.value.field) == ("INVALID_PATH", "project")


@given(st.text(max_size=40), st.sampled_from(["", "team"]), st.sampled_from(["", "vision"]))
def test_any_text_is_a_run_or_a_named_mistake(text: str, entity: str, project: str) -> None:
    for parse in (run_path, project_path):
        try:
            found = parse(text, entity, project)
        except InvalidRequest as refused:
            assert refused.reason == "INVALID_PATH"
        else:
            assert found.entity and found.project
