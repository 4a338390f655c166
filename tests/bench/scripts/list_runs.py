"""Reads a list of runs to its end. Arguments: client module, path, options of `Api.runs` as JSON."""

import importlib
import json
import sys
import time

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
options = json.loads(sys.argv[3])

began = time.perf_counter()
runs = Api(timeout=60).runs(sys.argv[2], **options)
count = 0
for run in runs:
    assert run.name
    if options.get("lazy") is False:
        assert run.config and run.summary._json_dict
    count += 1
seconds = time.perf_counter() - began
assert count == len(runs)
print(json.dumps({"seconds": seconds, "found": f"{count} runs"}))
