"""The README's first script runs on the demo's runs and prints what the README says, but for names and ids of runs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.conftest import World

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(120)
def test_the_first_script_prints_what_is_promised(world: World) -> None:
    readme = (ROOT / "README.md").read_text()
    found = re.search(r"```python\n(.*?)```\s+```text\n(.*?)```", readme, re.S)
    assert found is not None
    script, promised = found.groups()
    world.python(
        f"import runpy, sys\nsys.argv = ['train.py']\nrunpy.run_path({TRAIN!r}, run_name='__main__')\n"
    )
    # Here the server is known by its address; "local" would be the one of this very home.
    printed = world.python(script.replace('base_url="local"', f'base_url="{world.server.url}"')).stdout
    assert figures(printed) == figures(promised)


def figures(text: str) -> list[list[str]]:
    """Returns the numbers of each row behind its index, in an order of their own: two runs are equally good."""
    rows = [re.findall(r"(?<= )\d[\d.]*(?= |$)", line) for line in text.splitlines()]
    return sorted([f"{float(figure):.3g}" for figure in row] for row in rows if row)


TRAIN = str(ROOT / "clients/demo/train.py")
