"""A whole history as dicts. Arguments: client module, path of the run, options of `scan_history` as JSON."""

import importlib
import json
import sys

from tests.bench.told import Job

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
path, options = sys.argv[2], json.loads(sys.argv[3])

job = Job()
rows = list(Api(timeout=60).run(path).scan_history(**options))
job.end()

from tests.bench import digest  # noqa: E402

job.tell(digest.of_rows(rows))
