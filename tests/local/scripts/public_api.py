"""Every method of the Public API that has to do with a server, on one logged run and some made by the API itself.

Each part writes what it read under its own name into ``read.json``.
"""

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import wandb

from tests.local.scripts.kit import begin, save


def plain(value: Any) -> Any:
    """The value as it can be written down."""
    return json.loads(json.dumps(value, default=str))


def failure(work: Any) -> str:
    """What a user is told when this fails, whichever class of errors it is; an empty text when it does not."""
    try:
        work()
    except Exception as error:  # noqa: BLE001 - the SDK lets out errors of many kinds
        return f"{type(error).__name__}: {error}"
    return ""


def log_run() -> dict[str, Any]:
    """The run that most parts read; it raises alerts and asks for artifacts on its way."""
    run = begin("papers", "first", name="shown", group="g", job_type="train", notes="n", tags=["x", "y"],
                config={"lr": 0.1, "deep": {"a": 1, "b": [1, None]}, "gone": 1})  # fmt: skip
    for step in range(6):
        run.log({"loss": 1 / (step + 1), "step2": step * 2})
        print("step", step)
    run.alert("a title", "a text", level="WARN", wait_duration=1)
    Path("model.txt").write_text("weights")
    artifact = wandb.Artifact("model", type="model")
    artifact.add_file("model.txt")
    run.log_artifact(artifact)
    told = {
        "wait": failure(lambda: artifact.wait(timeout=30)),
        "use": failure(lambda: run.use_artifact("model:latest")),
        "link": failure(lambda: run.link_model("model.txt", registered_model_name="m")),
    }
    run.log_code(".")
    started = time.monotonic()
    run.finish()
    return {**told, "finish_s": time.monotonic() - started}


def account(api: Any) -> dict[str, Any]:
    """Who asks."""
    viewer, me = api.viewer, api.default_entity
    team = api.team(me)
    return {
        "viewer": [viewer.username, viewer.entity, viewer.admin, viewer.api_keys, viewer.teams],
        "user": api.user(me).username,
        "nobody": [api.user("nobody"), api.users("nobody")],
        "users": [user.username for user in api.users(me)],
        "team": [team.name, [member.username for member in team.members]],
        "create_user": failure(lambda: api.create_user("a@b.c")),
    }


def projects(api: Any) -> dict[str, Any]:
    """Projects, made and found."""
    entity = api.default_entity
    api.create_project("made", entity)
    made = api.project("made")
    return {
        "names": [project.name for project in api.projects()],
        "first": api.projects(entity)[0].name,
        "made": [made.name, made.entity, made.path, made.owner.username, made.is_benchmark, made.url],
        "is_created": made.created_at[:2],
        "none": failure(lambda: api.project("none").id),
        "sweeps": [len(list(made.sweeps())), failure(lambda: api.sweep(f"{entity}/papers/none"))],
        "reports": [list(api.reports(f"{entity}/papers")), len(api.reports(f"{entity}/papers", name="x"))],
        "from_path": [
            str(api.from_path(path)) for path in (f"{entity}/papers", f"{entity}/papers/runs/first")
        ],
    }


def runs(api: Any) -> dict[str, Any]:
    """Lists of runs."""
    path = f"{api.default_entity}/papers"
    for number in range(4):
        made = api.create_run(run_id=f"made{number}", project="papers")
        made.summary.update({"score": number})
    listed, lazy = api.runs(path, per_page=2, lazy=False), api.runs(path, order="-created_at")
    full = api.runs(path, filters={"name": "first"})
    full.upgrade_to_full()
    frame = api.runs(path, {"name": "first"}).histories(format="pandas", keys=["loss"])
    return {
        "ids": [run.id for run in listed],
        "len": [len(listed), len(lazy), len(api.runs(path, {"summary_metrics.score": {"$gte": 2}}))],
        "indexed": [lazy[0].id, lazy[4].id, [run.id for run in api.runs(path)[1:3]]],
        "beyond": failure(lambda: lazy[99]),
        "lazily": [dict(run.config) for run in lazy][-1],
        "upgraded": plain(full[0].config),
        "ordered": [run.id for run in api.runs(path, order="-summary_metrics.score")],
        "histories": [list(frame.columns), len(frame), sorted(set(frame["run_id"]))],
        "as_lists": len(api.runs(path).histories(samples=3)),
        "no_project": failure(lambda: list(api.runs("none"))),
        "bad_filter": failure(lambda: len(api.runs(path, {"confg.lr": 1}))),
    }


def one_run(api: Any) -> dict[str, Any]:
    """What can be read of a run."""
    entity = api.default_entity
    run = api.run(f"{entity}/papers/first")
    run.wait_until_finished()
    spellings = ("papers/first", f"/{entity}/papers/runs/first", f"{entity}/papers:first")
    scanned = run.scan_history(keys=["loss"], page_size=2, min_step=1, max_step=5)
    return {
        "paths": [api.run(path).id for path in spellings],
        "names": [run.id, run.name, run.display_name, run.state, run.entity, run.project, run.path, run.url],
        "words": [run.tags, run.notes, run.group, run.job_type, run.commit, run.description, run.read_only],
        "user": [run.user.username, run.user.name, run.username],
        "times": [run.created_at, run.heartbeat_at],
        "config": plain(run.config),
        "raw": sorted(run.rawconfig),
        "json_config": sorted(json.loads(run.json_config)),
        "summary": plain(run.summary_metrics),
        "system": isinstance(run.system_metrics, dict),
        "last": run.lastHistoryStep,
        "keys": plain(run.history_keys),
        "history": [len(run.history(pandas=False)), run.history(samples=2).shape],
        "keyed": run.history(keys=["loss"]).columns.tolist(),
        "scan": [len(list(run.scan_history())), [row["_step"] for row in scanned]],
        "exports": plain(run.download_history_exports("exports").paths),
        "console": [(line.number, line.level, line.content) for line in run.console_logs(per_page=4)],
        "tail": [line.content for line in run.console_logs(last=2)],
        "metadata": [run.metadata["program"].endswith("public_api.py"), "args" in run.metadata],
        "html": run.to_html().startswith("<iframe"),
        "storage_id": bool(run.storage_id),
        "artifacts": [list(run.logged_artifacts()), list(run.used_artifacts()), len(run.logged_artifacts())],
        "no_run": failure(lambda: api.run(f"{entity}/papers/none")),
        "no_project": failure(lambda: api.run(f"{entity}/none/first")),
    }  # fmt: skip


def edited(api: Any) -> dict[str, Any]:
    """A run, changed and read again by somebody who remembers nothing."""
    run = api.run("papers/first")
    run.config["lr"] = 0.5
    run.config["new"] = {"x": [1, "ü"]}
    del run.config["gone"]
    run.tags.append("z")
    run.tags.append("z")
    run.name, run.notes, run.description = "other", "more", "words"
    run.group, run.job_type = "h", "eval"
    run.update()
    run.summary["loss"] = 7
    run.summary.update({
        "nan": float("nan"), "half": np.float32(0.5), "array": np.arange(3), "nested": {"a": {"b": 1}},
        "histogram": wandb.Histogram([1, 2, 2]), " padded ": True,
    })  # fmt: skip
    del run.summary["step2"]
    run.summary.update()
    run.save()
    again = wandb.Api().run("papers/first")
    run.load(force=True)
    return {
        "config": plain(again.config),
        "internal": "_wandb" in again.rawconfig,
        "words": [again.tags, again.name, again.notes, again.description, again.group, again.job_type],
        "summary": plain(again.summary_metrics),
        "state": again.state,
        "reloaded": run.name,
    }


def files(api: Any) -> dict[str, Any]:
    """Files of a run: up, down, listed, and deleted while they are listed."""
    run = api.run("papers/first")
    Path("folder").mkdir()
    for number in range(5):
        Path(f"folder/{number}.png").write_bytes(b"x" * number)
    uploaded = [run.upload_file(f"folder/{number}.png") for number in range(5)]
    one = uploaded[3]
    downloaded = run.file("folder/3.png").download(root="down")
    missing = run.file("none.txt")
    read = {
        "one": [
            one.name,
            one.size,
            one.mimetype,
            one.md5,
            one.url.startswith("http"),
            one.direct_url.startswith("http"),
        ],
        "repr": repr(one),
        "bytes": len(downloaded.read()),
        "again": failure(lambda: run.file("folder/3.png").download(root="down")),
        "exist_ok": run.file("folder/3.png").download(root="down", exist_ok=True).name,
        "missing": [missing.size, failure(lambda: missing.download(root="down"))],
        "pattern": [file.name for file in run.files(pattern="folder/_.png", per_page=2)],
        "named": [file.name for file in run.files(names=["output.log", "folder/0.png"])],
        "both": failure(lambda: run.files(names=["a"], pattern="b")),
        "len": len(run.files()),
    }
    for file in run.files(per_page=2):
        if file.name.endswith(".png"):
            file.delete()
    read["left"] = [file.name for file in run.files()]
    return read


def lives(api: Any) -> dict[str, Any]:
    """Runs that are made, stopped, ended and deleted without ever having a program."""
    made = api.create_run(run_id="life", project="papers")
    read: dict[str, Any] = {"made": [made.state, made.id]}
    made.stop()
    read["failed"] = made.update_state("failed")
    read["pending"] = made.update_state("pending")
    read["states"] = [api.run("papers/life").state, failure(lambda: made.update_state("finished"))]
    pending = wandb.apis.public.Run.create(api, run_id="later", project="papers", state="pending")
    read["later"] = [pending.state, wandb.Api().run("papers/later").state]
    read["refused"] = failure(lambda: api.run("papers/first").update_state("pending"))
    Path("a.txt").write_text("a")
    made.upload_file("a.txt")
    made.delete()
    pending.delete(delete_artifacts=True)
    api.flush()
    read["deleted"] = failure(lambda: api.run("papers/life"))
    read["twice"] = failure(made.delete)
    api.create_run(run_id="life", project="papers")
    again = api.run("papers/life")
    read["again"] = [len(list(again.files())), again.lastHistoryStep, plain(again.config), again.state]
    return read


def refused(api: Any) -> dict[str, Any]:
    """What this server does not have."""
    entity = api.default_entity
    path = f"{entity}/papers"
    tried = {
        "artifact": lambda: api.artifact(f"{path}/model:latest"),
        "artifact_type": lambda: api.artifact_type("model", path),
        "artifact_collection": lambda: api.artifact_collection("model", f"{path}/model"),
        "job": lambda: api.job(f"{path}/job:latest"),
        "artifacts": lambda: list(api.artifacts("model", f"{path}/model")),
        "artifact_collections": lambda: list(api.artifact_collections(path, "model")),
        "automations": lambda: list(api.automations()),
        "integrations": lambda: list(api.integrations()),
        "queue": lambda: api.create_run_queue("q", "local-process"),
        "chart": lambda: api.create_custom_chart(entity, "n", "d", "vega2", "private", "{}"),
    }
    read: dict[str, Any] = {name: failure(work) for name, work in tried.items()}
    read["exists"] = [
        api.artifact_exists(f"{path}/model:latest"),
        api.artifact_collection_exists(f"{path}/model", "model"),
    ]
    read["types"] = [list(api.artifact_types(path)), list(api.project("papers").artifacts_types())]
    read["collections"] = [collection.name for collection in api.project("papers").collections()]
    return read


def forks() -> dict[str, Any]:
    """Runs that are to begin where others are."""
    for name in ("WANDB_RUN_ID", "WANDB_RESUME"):
        os.environ.pop(name, None)
    return {
        "fork": failure(lambda: begin("papers", "forked", fork_from="first?_step=2")),
        "rewind": failure(lambda: begin("papers", resume_from="first?_step=2")),
    }


answers: dict[str, Any] = {"logging": log_run()}
client = wandb.Api()
for part in (account, projects, runs, one_run, edited, files, lives, refused):
    answers[part.__name__] = part(client)
answers["forks"] = forks()
answers["runs_after"] = sorted(run.id for run in wandb.Api().runs("papers"))
save("read.json", answers)
