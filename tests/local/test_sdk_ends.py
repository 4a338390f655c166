"""However a program ends, its run says so; and what it printed is read back, once and in order."""

import signal

from tests.local.sdk import Program, check_run, finish, wait_until

STATE = 'query S($way: String!) { project(name: "ends") { run(name: $way) { state } } }'
LINES = [
    ["", "hello"],
    ["", "ünï 漢字 🎉"],
    ["", "in parts"],
    ["", "progress 100%"],
    ["error", "to stderr"],
    ["error", "bar 32"],  # as a terminal would show it
    ["", "L" * 4096],  # the SDK cuts lines there
    ["", "\x1b[31mred\x1b[0m"],
    ["", "a"],
    ["", ""],
    ["", "  b\ttab"],
    ["", "END without a newline"],
]


def test_each_way_to_end(program: Program) -> None:
    def state_of(way: str) -> str | None:
        project = program.client.query(STATE, way=way)["project"]
        return project["run"]["state"] if project and project["run"] else None

    codes = {"raise": 1, "exit": 3, "finish": 0, "interrupt": -signal.SIGINT, "console": 0, "preempt": 0}
    slow = {way: program.start("ends.py", way) for way in ("console", "preempt")}
    program.client.project = "ends"
    wait_until(lambda: state_of("preempt") == "preempting")
    for way, code in codes.items():
        finish(slow.get(way) or program.start("ends.py", way), code=code)
    found = {way: program.client.run(way, "state exitcode historyLineCount") for way in codes}
    assert {way: (run["state"], run["exitcode"]) for way, run in found.items()} == {
        "raise": ("failed", 1),
        "exit": ("failed", 3),
        "finish": ("failed", 7),
        "interrupt": ("failed", 255),
        "console": ("finished", 0),
        "preempt": ("finished", 0),
    }
    assert all(run["historyLineCount"] == 1 for run in found.values())
    program.run("reader.py", "ends/console", "ends/raise")
    read = program.record("read.json")
    logged = {"console": LINES, "rows": [{"_step": 0, "row": "console"}], "monitored": True}
    check_run(logged, read["ends/console"])
    trace = [line for _, line in read["ends/raise"]["console"]]
    assert (
        trace[0] == "Traceback (most recent call last):"
        and trace[-1] == "ZeroDivisionError: division by zero"
    )
    program.check_logs()
