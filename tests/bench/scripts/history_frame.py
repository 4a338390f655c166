"""A whole history as a frame. Arguments: client module, path of the run, options of the call as JSON."""

import importlib
import json
import sys

import pandas as pd

from tests.bench.told import Job

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
path, options = sys.argv[2], json.loads(sys.argv[3])

job = Job()
run = Api(timeout=60).run(path)
if sys.argv[1] == "wandb":
    frame = pd.DataFrame(list(run.scan_history(**options)))
else:
    frame = run.history_table(**options).to_pandas()
job.end()

from tests.bench import digest  # noqa: E402

keys = options.get("keys")
job.tell(digest.of_frame(frame, keys and ["_step", *keys]))
