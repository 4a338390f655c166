"""Values of every kind that the real SDK logs are read back by the real ``wandb.Api()`` as they were logged."""

from tests.local.sdk import Program, check_run


def test_values_of_every_kind(program: Program) -> None:
    program.run("values.py")
    logged, read = program.record("logged.json"), program.record("read.json")
    assert set(logged) == {"config", "history", "steps"}
    for name in logged:
        check_run(logged[name], read[name])
        assert read[name]["state"] == "finished"
    assert "allow_val_change" in logged["config"]["refused"]
    assert "nonsense" in logged["steps"]["refused"][0]
    program.check_logs(allowed=["ignoring partial history record"])
