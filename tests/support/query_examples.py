"""Two runs, and an example of every operator, column and spelling of filters that tells one from the other.

``tests/unit`` holds them against the query language itself, ``tests/local`` against a server over HTTP.
"""

from __future__ import annotations

from typing import Any

RUNS: list[dict[str, Any]] = [
    {
        "name": "one",
        "display_name": "brave-river-1",
        "state": "finished",
        "tags": ["base", "v2"],
        "created_at": 1644316200.0,  # 2022-02-08T10:30:00Z
        "heartbeat_at": 1644319800.5,
        "updated_at": 1644319801.0,
        "duration": 3600.5,
        "group": "g1",
        "job_type": "train",
        "host": "node-1",
        "username": "ann",
        "entity": "team",
        "project": "digits",
        "sweep": "sw1",
        "commit": "c0ffee",
        "notes": "first\nsecond",
        "description": "about one",
        "program": "train.py",
        "exit_code": 0,
        "history_line_count": 12,
        "input_artifacts": ["data:v0"],
        "output_artifacts": ["model:v1"],
        "config": {"lr": 0.1, "layers": [64, 32], "opt": {"name": "adam"}, "none": None},
        "summary_metrics": {"loss": 0.25, "val/acc.top1": 0.9},
        "system_metrics": {"gpu.0.temp": 40},
        "history_keys": {"keys": {"loss": {"typeCounts": [{"type": "number", "count": 12}]}}},
    },
    # A run that has nothing but what every run has.
    {
        "name": "two",
        "display_name": "calm-lake-2",
        "state": "running",
        "created_at": 1644402600.0,
        "tags": [],
    },
]

OPERATOR_EXAMPLES: list[tuple[str, dict[str, Any], str]] = [
    ("$and", {"$and": [{"state": "finished"}, {"config.lr": 0.1}]}, "one"),
    ("$or", {"$or": [{"state": "running"}, {"config.lr": 0.1}]}, "one two"),
    ("$nor", {"$nor": [{"state": "running"}, {"config.lr": 5}]}, "one"),
    ("$not", {"$not": {"state": "running"}}, "one"),
    ("$not", {"config.lr": {"$not": {"$gt": 0.05}}}, "two"),
    ("$eq", {"config.layers": {"$eq": 64}}, "one"),
    ("$ne", {"config.lr": {"$ne": 0.1}}, "two"),
    ("$gt", {"config.lr": {"$gt": 0.05}}, "one"),
    ("$gte", {"config.lr": {"$gte": 0.1}}, "one"),
    ("$lt", {"config.lr": {"$lt": 0.1}}, ""),
    ("$lte", {"config.lr": {"$lte": 0.1}}, "one"),
    ("$in", {"state": {"$in": ["running", "crashed"]}}, "two"),
    ("$nin", {"state": {"$nin": ["running", "crashed"]}}, "one"),
    ("$exists", {"config.none": {"$exists": True}}, "one"),
    ("$exists", {"config.none": {"$exists": False}}, "two"),
    ("$regex", {"display_name": {"$regex": "a.e-r"}}, "one"),
    ("$options", {"display_name": {"$regex": "RIVER", "$options": "i"}}, "one"),
    ("$contains", {"display_name": {"$contains": "-lake-"}}, "two"),
    ("$all", {"tags": {"$all": ["v2", "base"]}}, "one"),
    ("$size", {"config.layers": {"$size": 2}}, "one"),
]
# Implied operators: a bare value, several columns, several operators, nothing.
IMPLIED_EXAMPLES: list[tuple[dict[str, Any], str]] = [
    ({}, "one two"),
    ({"$or": [{"$and": []}]}, "one two"),
    ({"$and": [{"state": "finished"}, None]}, "one"),
    ({"$or": [None]}, "one two"),
    ({"$or": [None, {"state": "finished"}]}, "one"),
    ({"state": "finished"}, "one"),
    ({"state": "finished", "config.lr": 5}, ""),
    ({"config.lr": {"$gt": 0.05, "$lt": 0.2}}, "one"),
    ({"config.opt": {"name": "adam"}}, "one"),
    ({"config.gone": None}, "one two"),
    ({"config.none": None}, "one two"),
    ({"tags": ["base", "v2"]}, "one"),
]
OPTION_EXAMPLES = {
    "i": {"notes": {"$regex": "SECOND", "$options": "i"}},
    "m": {"notes": {"$regex": "^second", "$options": "m"}},
    "s": {"notes": {"$regex": "first.second", "$options": "s"}},
}
# Column -> its spellings, and what finds run "one" and not run "two".
COLUMN_EXAMPLES: dict[str, tuple[str, Any]] = {
    "name": ("name", "one"),
    "display_name": ("display_name displayName", "brave-river-1"),
    "state": ("state", "finished"),
    "tags": ("tags", "base"),
    "created_at": ("created_at createdAt createdTimestamp", "2022-02-08T10"),
    "heartbeat_at": ("heartbeat_at heartbeatAt", {"$gt": "2022-02-08T11:30", "$lt": "2022-02-08T12"}),
    "updated_at": ("updated_at updatedAt", 1644319801),
    "duration": ("duration runtime", {"$gte": 3600}),
    "group": ("group groupName group_name", "g1"),
    "job_type": ("job_type jobType", "train"),
    "host": ("host hostname", {"$regex": "^node"}),
    "username": ("username user", "ann"),
    "entity": ("entity", "team"),
    "project": ("project", "digits"),
    "sweep": ("sweep sweepName sweep_name", "sw1"),
    "commit": ("commit", "c0ffee"),
    "notes": ("notes", {"$contains": "first"}),
    "description": ("description", "about one"),
    "program": ("program jobProgram", "train.py"),
    "exit_code": ("exit_code exitCode exitcode", 0),
    "history_line_count": ("history_line_count historyLineCount", {"$gt": 10}),
    "input_artifacts": ("input_artifacts inputArtifacts", "data:v0"),
    "output_artifacts": ("output_artifacts outputArtifacts", {"$in": ["model:v1"]}),
}
JSON_EXAMPLES: dict[str, tuple[str, Any]] = {
    "config": ("config.lr config.lr.value", 0.1),
    "summary": ("summary.loss", 0.25),
    "summary_metrics": ("summary_metrics.loss", 0.25),
    "summaryMetrics": ("summaryMetrics.val/acc.top1", 0.9),
    "system_metrics": ("system_metrics.gpu.0.temp", 40),
    "systemMetrics": ("systemMetrics.gpu.0.temp", 40),
    "keys_info": ("keys_info.keys.loss", {"$exists": True}),
    "keysInfo": ("keysInfo.keys.loss", {"$ne": None}),
    "history_keys": ("history_keys.loss history_keys.keys.loss", {"$exists": True}),
    "historyKeys": ("historyKeys.keys.loss", {"$exists": True}),
    "tags": ("tags.base", True),
}
