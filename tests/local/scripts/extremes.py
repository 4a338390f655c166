"""Log much at once: wide rows, deep values, long texts, many files and many console lines."""

import base64
from pathlib import Path
from typing import Any

import wandb

from tests.local.scripts import kit

FILES = 400


def nested(depth: int) -> Any:
    """A value so many dictionaries deep."""
    value: Any = 1
    for level in range(depth):
        value = {f"l{level % 3}": value}
    return value


if __name__ == "__main__":
    config: dict[str, Any] = {
        f"key {number}/{number % 7}.x": {"a": number, "b": [number]} for number in range(10_000)
    }
    config["deep"] = nested(80)
    config["text"] = "ü" * 1_000_000
    run = kit.begin("extremes", "extremes", config=config, tags=[f"tag {number}" for number in range(50)])
    wide = {f"metric/{number}": number / 3 for number in range(10_000)}
    rows: list[dict[str, Any]] = [
        wide,
        {"deep": nested(80)},
        {"text": "x" * 4_000_000},
        {"list": list(range(50_000))},
    ]
    for row in rows:
        run.log(row)
    Path("many").mkdir()
    for number in range(FILES):
        Path(f"many/{number:04}.txt").write_text(f"content {number}")
    run.save("many/*.txt", policy="now")
    for number in range(20_000):
        print(f"line {number}")
    run.finish()
    summary: dict[str, Any] = {}
    for row in rows:
        summary.update(row)
    kit.save(
        "logged.json",
        {
            "config": config,
            "rows": [{**row, "_step": step} for step, row in enumerate(rows)],
            "summary": summary,
            "console": [["", f"line {number}"] for number in range(20_000)],
            "files": {
                f"many/{number:04}.txt": base64.b64encode(f"content {number}".encode()).decode()
                for number in range(FILES)
            },
            "state": "finished",
        },
    )
    kit.save("read.json", kit.read(f"{wandb.Api().default_entity}/extremes/extremes"))
