"""Columns of runs and how values look in tables; progress and JSON lists."""

from __future__ import annotations

import io
import json
from typing import Any

import click
import pytest

from runtap.cli import output, run_columns
from runtap.documents import Documents
from runtap.v1 import runs_pb2


class NoSession:
    """What a run needs that has all its documents."""


def run(**fields: Any) -> Documents:
    return Documents(NoSession(), runs_pb2.Run(path="e/p/r", **fields))  # type: ignore[arg-type]


SUMMARY = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}, "val/acc": "NaN", "none": None}
CONFIG = {"lr": {"value": 0.1}, "opt": {"value": {"name": "adam"}}, "plain": 5, "_wandb": {"value": {}}}


@pytest.mark.parametrize(
    ("name", "title", "mask", "value"),
    [
        ("state", "state", "state", "finished"),
        ("run", "run", "run_id", "r"),
        ("name", "name", "display_name", "shown"),
        ("createdAt", "created_at", "created_at", "2026-01-02T03:04:05.678Z"),
        ("tags", "tags", "tags", "x, y"),
        ("user", "user", "user", "ada"),
        ("group", "group", "group", None),
        ("notes", "notes", "notes", None),
        ("history_line_count", "history_line_count", "history_line_count", None),
        ("config.lr", "config.lr", "config_json.lr", 0.1),
        ("config.lr.value", "config.lr", "config_json.lr", 0.1),
        ("config.opt.name", "config.opt.name", "config_json.opt.name", "adam"),
        ("config.plain", "config.plain", "config_json.plain", 5),
        ("config.nowhere", "config.nowhere", "config_json.nowhere", None),
        ("summary.a.b", "summary.a.b", "summary_json.a.b", 1),
        ("summary_metrics.a.c.d", "summary.a.c.d", "summary_json.a.c.d", 3),
        ("summary.val/acc", "summary.val/acc", "summary_json.val/acc", "NaN"),
    ],
)
def test_a_column_by_its_name(name: str, title: str, mask: str, value: Any) -> None:
    documents = run(
        run_id="r",
        display_name="shown",
        state="finished",
        created_at="2026-01-02T03:04:05.678Z",
        tags=["x", "y"],
        user=runs_pb2.User(username="ada", name="Ada"),
        config_json=json.dumps(CONFIG),
        summary_json=json.dumps(SUMMARY),
    )
    column = run_columns.named(name)
    found = column.value(documents)
    assert (column.title, column.mask) == (title, mask)
    assert found == value or (value == "NaN" and found != found)


@pytest.mark.parametrize("name", ["nope", "config.", "summary", "", "-state"])
def test_what_is_no_column_is_refused_with_what_there_is(name: str) -> None:
    with pytest.raises(
        click.BadParameter, match=r"is no column: give config\.<key>, summary\.<key> or one of run"
    ):
        run_columns.named(name)


@pytest.mark.parametrize(
    ("filter_json", "order", "titles"),
    [
        ("", "-created_at", []),
        (
            '{"state": "finished", "config.lr": {"$lt": 1}}',
            "+summary_metrics.loss",
            ["config.lr", "summary.loss"],
        ),
        ('{"$or": [{"config.a": 1}, {"config.a": 2}, {"username": "x"}]}', "", ["config.a", "username"]),
        ('{"nonsense": 1}', "-nonsense", []),
        ("no json", "-summary.loss", []),
    ],
)
def test_what_is_asked_about_is_shown(filter_json: str, order: str, titles: list[str]) -> None:
    assert [column.title for column in run_columns.asked_about(filter_json, order)] == titles


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, ""),
        (0.1 + 0.2, "0.3"),
        (12, "12"),
        (True, "true"),
        (float("nan"), "nan"),
        ([1, "ö"], '[1, "ö"]'),
        ({"_type": "histogram", "bins": [1]}, "(histogram)"),
        ("two\nlines\x1b[31m", "two lines [31m"),
        ("x" * 61, "x" * 59 + "…"),
    ],
)
def test_values_in_tables(value: Any, shown: str) -> None:
    assert run_columns.text(value) == shown


def test_optional_columns_are_left_out_when_empty() -> None:
    columns = [*run_columns.usual(), run_columns.named("summary.a")]
    titles, rows = run_columns.filled(columns, [["r", "n", "s", "c", "", "g", None, None]])
    assert titles == ["run", "name", "state", "created", "group", "summary.a"]
    assert rows == [["r", "n", "s", "c", "g", ""]]


def test_documents_are_flattened() -> None:
    document = {"b": {"c": 1, "a": {}}, "a": {"_type": "table-file"}}
    assert list(run_columns.flat(document)) == [("a", {"_type": "table-file"}), ("b.a", {}), ("b.c", 1)]


@pytest.mark.parametrize("items", [[], [{"a": "line\u2028separator"}], [{"a": [1, {"b": 2}]}, None, "x"]])
def test_a_list_printed_item_by_item_is_the_list(
    items: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    output.print_json_list(iter(items))
    assert capsys.readouterr().out == json.dumps(items, indent=2, ensure_ascii=False) + "\n"


class Terminal(io.StringIO):
    """A standard error that people look at."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_for_terminals(terminal: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    stderr = Terminal() if terminal else io.StringIO()
    monkeypatch.setattr("sys.stderr", stderr)
    with output.progress("runs", shown=True) as tell:
        tell(5, 10)
    assert ("runs" in stderr.getvalue()) is terminal
    with output.progress("runs", shown=False) as tell:
        tell(5, None)
    assert ("runs" in stderr.getvalue()) is terminal


def test_a_table_in_a_pipe_is_never_folded(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_table("t", ("key", "value"), [("k", "word " * 100)])
    assert "word " * 99 + "word" in capsys.readouterr().out
