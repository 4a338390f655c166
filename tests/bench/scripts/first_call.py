"""A fresh process asks for one run. Arguments: client module, path of the run."""

import importlib
import json
import sys
import time

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now

began = time.perf_counter()
run = Api().run(sys.argv[2])
found = f"{run.name}, seed {run.config['seed']}"
print(json.dumps({"seconds": time.perf_counter() - began, "found": found}))
