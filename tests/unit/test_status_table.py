"""The one table from faults to status codes, against the contract's own words."""

from __future__ import annotations

import base64
import re
from pathlib import Path
from urllib.parse import quote

import grpc
import pytest
from google.rpc import error_details_pb2  # type: ignore[import-untyped]

from runtap.v1 import errors_pb2
from runtapd import faults
from runtapd.faults import Fault
from runtapd.services.status import CODES, code_of, rich_status

PROTO = Path(__file__).parents[2] / "proto" / "runtap" / "v1" / "errors.proto"


def _documented() -> dict[str, str]:
    """Each reason with the code its comment begins with."""
    found, comment = {}, ""
    for line in PROTO.read_text().splitlines():
        text = line.strip()
        if text.startswith("//"):
            comment = comment or text.removeprefix("//").strip()
            continue
        if match := re.match(r"ERROR_REASON_(\w+) = \d+;", text):
            found[match[1]] = comment.partition(".")[0]
        comment = ""
    found.pop("UNSPECIFIED")
    return found


def _fault_classes() -> list[type[Fault]]:
    return [kind for kind in vars(faults).values() if isinstance(kind, type) and issubclass(kind, Fault)]


def test_every_reason_of_the_contract_has_the_code_its_comment_says() -> None:
    documented = _documented()
    assert len(documented) == len(errors_pb2.ErrorReason.keys()) - 1
    for reason, code in documented.items():
        assert CODES[reason].name == code, reason


@pytest.mark.parametrize("kind", _fault_classes())
def test_every_fault_has_a_status(kind: type[Fault]) -> None:
    fault = kind("what happened; what to do")
    assert code_of(fault) is CODES[kind.reason]
    assert rich_status(fault).message == fault.message


@pytest.mark.parametrize("reason", sorted(CODES))
def test_a_status_says_the_reason_and_what_goes_with_it(reason: str) -> None:
    fault = Fault("text", reason=reason, metadata={"server": "https://s"}, retry_after_s=1.5, field="filter")
    status = rich_status(fault)
    assert status.code == CODES[reason].value[0]
    info, retry, bad = (
        error_details_pb2.ErrorInfo(),
        error_details_pb2.RetryInfo(),
        error_details_pb2.BadRequest(),
    )
    assert [detail.Unpack(kind) for detail, kind in zip(status.details, (info, retry, bad), strict=True)] == [
        True
    ] * 3
    assert (info.reason, info.domain, dict(info.metadata)) == (reason, "runtap", {"server": "https://s"})
    assert retry.retry_delay.ToNanoseconds() == 1_500_000_000
    assert [violation.field for violation in bad.field_violations] == ["filter"]


def test_a_plain_fault_has_no_more_than_its_info() -> None:
    assert len(rich_status(Fault("text")).details) == 1


def test_a_status_fits_into_headers_whatever_the_server_said() -> None:
    metadata = {f"key{number}": "ß" * 10_000 for number in range(50)}
    fault = Fault("ü" * 100_000, metadata=metadata, field="f")
    status = rich_status(fault)
    headers = quote(status.message) + base64.b64encode(status.SerializeToString()).decode()
    assert len(headers) < 7.5 * 1024


def test_no_code_says_that_the_daemon_has_a_bug_but_the_one_for_bugs() -> None:
    vague = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.DATA_LOSS}
    assert [reason for reason, code in CODES.items() if code in vague] == ["INTERNAL_ERROR"]
