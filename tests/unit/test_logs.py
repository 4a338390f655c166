"""The log file: JSON, private, rotating, and without secrets."""

from __future__ import annotations

import json
import logging
import logging.handlers
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtapd.logs import Logs, RedactedJson

KEY = "0123456789abcdef0123456789abcdef01234567"
log = logging.getLogger("runtapd.test")


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[Logs]:
    opened = Logs(tmp_path / "daemon.log", "info")
    yield opened
    opened.close()


def _lines(logs: Logs, path: Path) -> list[dict[str, Any]]:
    logs.close()
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line_is_json_with_its_extra_fields(logs: Logs, tmp_path: Path) -> None:
    log.info("call %s", "made", extra={"method": "GetRun", "ms": 1.5})
    (line,) = _lines(logs, tmp_path / "daemon.log")
    assert line.pop("time").endswith("Z")
    assert line == {
        "level": "info",
        "logger": "runtapd.test",
        "message": "call made",
        "method": "GetRun",
        "ms": 1.5,
    }


def test_the_file_is_private(logs: Logs, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "daemon.log").stat().st_mode) == 0o600


def test_rotated_files_are_private_too(logs: Logs, tmp_path: Path) -> None:
    for _ in range(3000):
        log.info("x " * 2000)
    logs.close()
    files = sorted(tmp_path.iterdir())
    assert [file.name for file in files] == ["daemon.log", "daemon.log.1"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


def test_the_level_is_ours_alone(logs: Logs, tmp_path: Path) -> None:
    log.debug("unseen")
    assert logs.set_level("debug") == "info"
    assert logs.level == "debug"
    log.debug("seen")
    logging.getLogger("urllib3").info("unseen")
    logging.getLogger("urllib3").warning("heard")
    assert [line["message"] for line in _lines(logs, tmp_path / "daemon.log")] == ["seen", "heard"]


def test_secrets_go_wherever_they_stand(logs: Logs, tmp_path: Path) -> None:
    logs.text.learn("a-learnt-secret")
    log.info("key %s", KEY, extra={"a-learnt-secret": KEY, "url": f"https://api:{KEY}@host/x"})
    try:
        raise RuntimeError(f"refused {KEY} and a-learnt-secret")
    except RuntimeError as error:
        log.error("failed", exc_info=error)
    _lines(logs, tmp_path / "daemon.log")
    text = (tmp_path / "daemon.log").read_text()
    assert KEY not in text
    assert "a-learnt-secret" not in text
    assert "RuntimeError" in text


@pytest.mark.parametrize(
    "secret",
    [
        KEY,
        KEY.upper(),
        f"local-{KEY}",
        "wandb_v1_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
        "f" * 64,
    ],
)
def test_what_looks_like_a_key_is_one(secret: str) -> None:
    text = RedactedJson().redact(f'before "{secret}" after, key={secret}')
    assert secret not in text
    assert text.startswith('before "')


@pytest.mark.parametrize(
    ("text", "secret"),
    [
        ("Authorization: Basic YXBpOnNlY3JldA==", "YXBpOnNlY3JldA=="),
        ("authorization: bearer abc.def.ghi-jkl", "abc.def.ghi-jkl"),
        ("https://s3/x?X-Amz-Signature=abcdef&b=1", "abcdef"),
        ("https://s3/x?Signature=a%2Fb%3D", "a%2Fb%3D"),
    ],
)
def test_headers_and_signed_urls_lose_their_secret(text: str, secret: str) -> None:
    assert secret not in RedactedJson().redact(text)


@pytest.mark.parametrize(
    "text", ["a basic run", "instance c7847d91b06cf45c", "run 3f2a9c1e", "signature of x"]
)
def test_ordinary_text_stays(text: str) -> None:
    assert RedactedJson().redact(text) == text


def test_a_short_word_is_not_learnt() -> None:
    redaction = RedactedJson()
    redaction.learn("run")
    assert redaction.redact("the run runs") == "the run runs"


def test_a_full_disk_stops_the_log_and_nothing_else(logs: Logs, capfd: pytest.CaptureFixture[str]) -> None:
    (handler,) = logs._writer.handlers
    assert isinstance(handler, logging.handlers.RotatingFileHandler)
    old = handler.setStream(open("/dev/full", "w"))  # noqa: SIM115  # the handler closes it
    if old is not None:
        old.close()
    for _ in range(10):
        log.info("goes nowhere")
    logs.close()
    assert capfd.readouterr().err == ""
