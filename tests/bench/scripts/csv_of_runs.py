"""The guide's script: a CSV of all runs. Arguments: client module, path, CSV to write, options of `Api.runs`."""

import hashlib
import importlib
import json
import sys
import time

import pandas as pd

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
path, target, options = sys.argv[2], sys.argv[3], json.loads(sys.argv[4])

began = time.perf_counter()
api = Api()
runs = api.runs(path, **options)
summary_list, config_list, name_list = [], [], []
for run in runs:
    summary_list.append(run.summary._json_dict)
    config_list.append({k: v for k, v in run.config.items() if not k.startswith("_")})
    name_list.append(run.name)
frame = pd.DataFrame({"summary": summary_list, "config": config_list, "name": name_list})
frame.to_csv(target)
seconds = time.perf_counter() - began

rows = zip(name_list, summary_list, config_list, strict=True)
canonical = sorted(json.dumps(row, sort_keys=True) for row in rows)
found = f"{len(canonical)} runs, " + hashlib.sha256("".join(canonical).encode()).hexdigest()[:12]
print(json.dumps({"seconds": seconds, "found": found}))
