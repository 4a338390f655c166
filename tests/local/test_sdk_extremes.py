"""Much at once: the SDK's own limits are reached before the server's."""

import pytest

from tests.local.sdk import Program, check_run, finish


@pytest.mark.slow
@pytest.mark.timeout(150)
def test_much_at_once(program: Program) -> None:
    finish(program.start("extremes.py"), timeout=120)
    check_run(program.record("logged.json"), program.record("read.json"))
    program.check_logs()
