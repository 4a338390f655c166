"""The guide's recipes that read runs and sweeps, word for word but for names, and what came out of each as JSON.

Arguments: `entity/project`, two runs, a sweep.
"""

import json
import sys
from typing import Any

import pandas as pd
import wandb

path, first, second, sweep_id = sys.argv[1:]
told: dict[str, Any] = {}

# 1: a CSV of all runs, with configs and summaries
api: Any = wandb.Api()
entity, project = path.split("/")
runs = api.runs(entity + "/" + project)

summary_list, config_list, name_list = [], [], []
for run in runs:
    # .summary contains the output keys/values for metrics like accuracy.
    #  We call ._json_dict to omit large files
    summary_list.append(run.summary._json_dict)

    # .config contains the hyperparameters.
    #  We remove special values that start with _.
    config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})

    # .name is the human-readable name of the run.
    name_list.append(run.name)

runs_df = pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list})
runs_df.to_csv("project.csv")
told["1"] = runs_df.to_dict("records")
told["1, read again"] = [sorted(pd.read_csv("project.csv").columns), len(pd.read_csv("project.csv"))]

# 2: a filter in MongoDB's language, and how many there are
runs = api.runs(path, {"$or": [{"config.experiment_name": "foo"}, {"config.experiment_name": "bar"}]})
told["2"] = f"Found {len(runs)} runs"
told["2, which"] = sorted(run.id for run in runs)

# 3: a filter by date, in hours as in the guide and in the moments of two runs
told["3"] = {}
moments = [api.run(f"{path}/{first}").created_at, api.run(f"{path}/{second}").created_at]
for before, after in (
    ("2100-01-01T00", "2000-01-01T00"),
    ("2001-01-01T12", "2000-01-01T00"),
    (moments[1], moments[0]),
):
    runs = api.runs(path, {"$and": [{"created_at": {"$lt": before, "$gt": after}}]})
    told["3"][before] = sorted(run.id for run in runs)

# The order of runs, by their time, by config and by summary
for order in ("-created_at", "+created_at", "+config.experiment_name", "-config.experiment_name"):
    told[f"order {order}"] = [run.name for run in api.runs(path, {"state": "finished"}, order=order)][:3]
told["order by summary"] = [run.id for run in api.runs(path, order="+summary_metrics.loss")]

# 6: the configs of two runs compared
run1 = api.run(f"{path}/{first}")
run2 = api.run(f"{path}/{second}")

df = pd.DataFrame([run1.config, run2.config]).transpose()

df.columns = [run1.name, run2.name]
told["6"] = df[df[run1.name] != df[run2.name]].to_dict("index")

# 13: the starting time of a run
run = api.run(f"{path}/{first}")
start_time = run.created_at
told["13"] = start_time

# 17: the runs of a sweep
sweep = api.sweep(f"{path}/{sweep_id}")
sweep_runs = sweep.runs
told["17"] = sorted(run.id for run in sweep_runs)
told["17, how many"] = len(sweep_runs)

# 18: its best run
sweep = api.sweep(f"{path}/{sweep_id}")
best_run = sweep.best_run()
told["18"] = [best_run.id, best_run.name, best_run.config, best_run.summary["loss"]]

# 19: the run with the best model, without the model
sweep = api.sweep(f"{path}/{sweep_id}")
runs = sorted(sweep.runs, key=lambda run: run.summary.get("val_acc", 0), reverse=True)
val_acc = runs[0].summary.get("val_acc", 0)
told["19"] = f"Best run {runs[0].name} with {val_acc}% validation accuracy"
told["19, all"] = [run.id for run in runs]

# 23: the commit
told["23"] = [run.commit for run in api.runs(path)]

# What runs know of their sweep
told["sweep of a run"] = [run.sweep and run.sweep.id for run in api.runs(path, order="+created_at")]
told["sweep_name"] = [run.sweep_name for run in api.runs(path, order="+created_at", include_sweeps=True)]
told["sweep of the best"] = [
    best_run.sweep.config,
    best_run.sweep.name,
    best_run.sweep.state,
    best_run.sweep.url,
]

# What is not there is a CommError that keeps the original, and of a list a ValueError
told["errors"] = {}
for name, call in (("run", api.run), ("sweep", api.sweep)):
    try:
        call(f"{path}/nothere1")
    except wandb.errors.CommError as error:
        told["errors"][name] = [isinstance(error.exc, ValueError), "nothere1" in str(error)]
for name, look in (("len", len), ("iteration", list), ("index", lambda runs: runs[0])):
    try:
        look(api.runs(f"{entity}/nothere1"))
    except ValueError as error:
        told["errors"][name] = "Could not find project" in str(error)
try:
    api.runs(path)[6]
except IndexError:
    told["errors"]["beyond the end"] = True

print(json.dumps(told, sort_keys=True))
