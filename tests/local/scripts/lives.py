"""Begin runs again: resumed in every mode, begun anew under an old id, forked, rewound, and as somebody else."""

import sys
from typing import Any

import wandb

from tests.local.scripts import kit

LOGGED: dict[str, Any] = {}


def life(run_id: str, rows: int, word: str, **options: Any) -> dict[str, Any]:
    """One program's part of a run: so many rows and as many console lines."""
    run = kit.begin("lives", run_id, **options)
    told = {"resumed": run.resumed, "starting_step": run.starting_step, "config": dict(run.config)}
    for number in range(rows):
        run.log({word: number})
        print(f"{word} {number}", flush=True)
    run.finish()
    return told


def part(word: str, rows: int, first_step: int = 0) -> list[dict[str, Any]]:
    """The rows of a life."""
    return [{"_step": first_step + number, word: number} for number in range(rows)]


def console(**lives: int) -> list[list[str]]:
    """The console lines of lives."""
    return [["", f"{word} {number}"] for word, rows in lives.items() for number in range(rows)]


def resumed() -> None:
    """``allow`` makes and continues, ``must`` continues, ``never`` refuses."""
    told = [
        life(
            "again",
            5,
            "one",
            resume="allow",
            config={"x": 1, "y": 1},
            tags=["t"],
            notes="n",
            name="nm",
            group="g",
        ),
        life("again", 3, "two", resume="allow", config={"y": 2}),
        life("again", 2, "three", resume="must", tags=["u"]),
    ]
    refused = [
        kit.error_of(lambda: life("again", 1, "never", resume="never")),
        kit.error_of(lambda: life("absent", 1, "must", resume="must")),
    ]
    LOGGED["again"] = {
        "rows": [*part("one", 5), *part("two", 3, 5), *part("three", 2, 8)],
        "console": console(one=5, two=3, three=2),
        "summary": {"one": 4, "two": 2, "three": 1},
        "config": {"x": 1, "y": 2},
        "tags": ["u"],
        "notes": "n",
        "name": "nm",
        "group": "g",
        "told": told,
        "refused": refused,
    }


def begun_anew() -> None:
    """Without ``resume`` the later program's data stands in place of the earlier one's, also where it is less."""
    life("anew", 6, "old", config={"x": 1}, tags=["t"])
    told = life("anew", 2, "new", config={"y": 1})
    LOGGED["anew"] = {
        "rows": part("new", 2),
        "console": console(new=2),
        "summary": {"new": 1},
        "config": {"y": 1},
        "tags": ["t"],
        "told": told,
    }


def never() -> None:
    """A new run may be made with ``never``."""
    life("fresh", 1, "only", resume="never")
    LOGGED["fresh"] = {"rows": part("only", 1), "console": console(only=1)}


def refusals() -> dict[str, str]:
    """What is refused at ``init``, in words."""
    return {
        "fork": kit.error_of(lambda: life("forked", 1, "x", fork_from="again?_step=2")),
        "rewind": kit.error_of(lambda: life("anew", 1, "x", resume_from="anew?_step=1")),
        "entity": kit.error_of(lambda: life("x", 1, "x", entity="somebody-else")),
        "project": kit.error_of(lambda: wandb.init(project="a/b")),
        "id": kit.error_of(lambda: life("x" * 129, 1, "x")),
        "shared": kit.error_of(lambda: life("shared", 1, "x", settings={"mode": "shared", "x_label": "a"})),
    }


if __name__ == "__main__":
    resumed()
    begun_anew()
    never()
    kit.save("refused.json", refusals())
    kit.save("logged.json", LOGGED)
    entity = wandb.Api().default_entity
    kit.save("read.json", {name: kit.read(f"{entity}/lives/{name}") for name in LOGGED})
    runs = wandb.Api().runs(f"{entity}/lives")
    kit.save("runs.json", sorted(run.id for run in runs))
    sys.exit(0)
