"""A long run: ten thousand steps with sparse keys, read whole, sampled, by key and in pages."""

from itertools import pairwise

from tests.local.sdk import Program, check_run


def test_ten_thousand_steps(program: Program) -> None:
    program.run("many.py")
    check_run(program.record("logged.json"), program.record("read.json"))
    parts = program.record("parts.json")
    steps = parts["sampled"]
    assert len(steps) == 500 and steps[0] == 0 and steps[-1] == 9_999 and steps == sorted(set(steps))
    assert max(after - before for before, after in pairwise(steps)) < 60
    assert parts["keyed"] == list(range(0, 10_000, 100))
    assert parts["pair"] == list(range(0, 10_000, 14))
    assert parts["once"] == [[7777, True]]
    assert len(parts["some"]) == 50 and all(step % 7 == 0 for step in parts["some"])
    assert parts["paged"] == list(range(50, 5050))
    program.check_logs()
