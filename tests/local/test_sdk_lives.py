"""Runs that have several lives: resumed in all modes, begun anew, and what cannot be done refused in words."""

from tests.local.sdk import Program, check_run

# Half of this module asks for what is refused: the SDK notes each refusal.
REFUSALS = ("failed to init run", '"status":403', '"status":400')


def test_resuming_in_every_mode(program: Program) -> None:
    program.run("lives.py")
    logged, read = program.record("logged.json"), program.record("read.json")
    for name in logged:
        check_run(logged[name], read[name])
        assert read[name]["state"] == "finished"
    first, second, third = logged["again"]["told"]
    assert (first["resumed"], first["starting_step"], first["config"]) == (False, 0, {"x": 1, "y": 1})
    assert (second["resumed"], second["starting_step"], second["config"]) == (True, 5, {"x": 1, "y": 2})
    assert (third["resumed"], third["starting_step"], third["config"]) == (True, 8, {"x": 1, "y": 2})
    assert logged["anew"]["told"]["resumed"] is False
    never, must = logged["again"]["refused"]
    assert "already exists" in never and "does not exist" in must
    refused = program.record("refused.json")
    assert "cannot fork" in refused["fork"] and "cannot rewind" in refused["rewind"]
    assert "somebody-else" in refused["entity"] and "1 to 128 characters" in refused["id"]
    assert "a/b" in refused["project"] and "shared" in refused["shared"]
    assert program.record("runs.json") == ["again", "anew", "fresh"]
    program.check_logs(allowed=REFUSALS)
