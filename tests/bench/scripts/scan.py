"""Reads a whole history. Arguments: client module, path of the run, and the keys to read, all where none is named."""

import importlib
import json
import sys
import time

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
keys = sys.argv[3:] or None

began = time.perf_counter()
rows = sum(1 for _ in Api(timeout=60).run(sys.argv[2]).scan_history(keys=keys))
print(json.dumps({"seconds": time.perf_counter() - began, "found": f"{rows} rows"}))
