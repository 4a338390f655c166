"""The histories of all runs of a project in one frame, with a column for the run. Arguments: client module, path,
options of the calls as JSON."""

import importlib
import json
import sys

import pandas as pd

from tests.bench.told import Job

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
path, options = sys.argv[2], json.loads(sys.argv[3])

job = Job()
runs = Api(timeout=60).runs(path)
if sys.argv[1] == "wandb":
    frame = pd.concat(
        [pd.DataFrame(list(run.scan_history(**options))).assign(run_id=run.id) for run in runs],
        ignore_index=True,
    )
else:
    frame = runs.histories(samples=None, format="pandas", **options)
job.end()

from tests.bench import digest  # noqa: E402

# Runs come newest first from one client and oldest first from the other.
frame = frame.sort_values(["run_id", "_step"])
count = frame.pop("run_id").nunique()
job.tell(f"{count} runs, {digest.of_frame(frame)}")
