"""A sample of a history as a frame. Arguments: client module, path of the run, its rows and keys, rows of the sample.

Which rows make a good sample is each server's and each client's own matter, so what is compared is that there are as
many as asked for, the first and the last among them, and that all are as they were logged.
"""

import importlib
import sys

import numpy as np

from tests.bench.told import Job

client = importlib.import_module(sys.argv[1])
Api = client.Api  # runtap imports what a name needs when it is named; wandb has imported all of it by now
path = sys.argv[2]
rows, keys, samples = map(int, sys.argv[3:])

job = Job()
frame = Api(timeout=60).run(path).history(samples=samples)
job.end()

from tests.bench.series import Series  # noqa: E402

logged = Series(rows, keys).columns()
steps = frame["_step"].to_numpy(dtype=np.int64)
assert sorted(frame.columns) == sorted(logged), frame.columns
for key, values in logged.items():
    assert np.array_equal(frame[key].to_numpy(dtype=np.float64), values[steps], equal_nan=True), key
job.tell(f"{len(frame)} rows of steps {steps[0]} to {steps[-1]}, all as logged")
