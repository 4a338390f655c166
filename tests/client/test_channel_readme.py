"""The example of clients/README.md, run as it stands there against a real server."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from runtap import channel
from tests.support.client import Outcome, Place, new_place

README = Path(__file__).parents[2] / "clients" / "README.md"
MAKE_RUN = """mutation UpsertBucket($name: String, $project: String, $config: JSONString, $summary: JSONString) {
  upsertBucket(input: {name: $name, modelName: $project, config: $config, summaryMetrics: $summary}) { inserted }
}"""


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with new_place(tmp_path) as made:
        yield made


def example() -> str:
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found
    return found[1]


def make_run(reach: dict[str, str]) -> None:
    """Logs one run, as an SDK would."""
    answer = requests.post(
        f"{reach['url']}/graphql",
        json={
            "query": MAKE_RUN,
            "variables": {"name": "r1", "project": "vision", "summary": '{"loss": 0.25}'},
        },
        auth=("api", reach["api_key"]),
        timeout=20,
    )
    assert "errors" not in answer.json(), answer.text


def test_the_example_of_bare_stubs_runs(place: Place) -> None:
    reach = place.runtap("local", "start", "--json").json()
    make_run(reach)
    place.extra.update(
        WANDB_BASE_URL=reach["url"],
        WANDB_API_KEY=reach["api_key"],
        PATH=f"{os.path.dirname(sys.executable)}{os.pathsep}{os.environ['PATH']}",
    )
    outcome = Outcome.of(place.start("-c", example(), "vision"))
    assert (outcome.code, outcome.err) == (0, "")
    assert re.fullmatch(r'local/vision/r1 \w+ \{.*"loss": ?0\.25.*\}\n', outcome.out)


def test_the_options_it_lists_are_ours() -> None:
    table = dict(re.findall(r"^\| `(grpc\.\w+)` \| `(\w+)`", README.read_text(), re.MULTILINE))
    of_python = ("grpc.use_local_subchannel_pool", "SingleThreadedUnaryStream")  # they make forks safe
    ours = {name: str(value) for name, value in channel.CHANNEL_OPTIONS if name not in of_python}
    assert table == ours
