"""One table from faults to status codes, one back in the client, and the contract says the same as both."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import grpc
import pytest

from runtap import errors
from runtap.v1 import errors_pb2
from runtapd import faults
from runtapd.services.status import CODES, code_of

ROOT = Path(__file__).parents[2]
PREFIX = "ERROR_REASON_"
REASONS = sorted(set(errors_pb2.ErrorReason.keys()) - {f"{PREFIX}UNSPECIFIED"})


def test_the_table_has_every_reason_of_the_contract_and_no_other() -> None:
    assert sorted(PREFIX + reason for reason in CODES) == REASONS


def test_the_contract_names_the_code_of_every_reason() -> None:
    text = (ROOT / "proto/runtap/v1/errors.proto").read_text()
    told = {
        reason: code
        for code, reason in re.findall(
            r"// ([A-Z_]+)\. (?:[^\n]*\n\s*// )*?[^\n]*\n\s*ERROR_REASON_([A-Z_0-9]+) =", text
        )
    }
    assert told == {reason: code.name for reason, code in CODES.items()}


@pytest.mark.parametrize("name", REASONS)
def test_the_client_knows_every_reason(name: str) -> None:
    reason = name.removeprefix(PREFIX)
    assert issubclass(errors.BY_REASON[reason], errors.CommError)


def test_every_fault_has_a_row() -> None:
    kinds = [
        kind
        for _, kind in inspect.getmembers(faults, inspect.isclass)
        if issubclass(kind, faults.Fault) and kind.__module__ == faults.__name__
    ]
    assert len(kinds) > 10
    for kind in kinds:
        assert isinstance(code_of(kind("words")), grpc.StatusCode)


def test_every_reason_in_the_code_is_in_the_table() -> None:
    used = set()
    for path in (ROOT / "daemon/runtapd").rglob("*.py"):
        used |= set(re.findall(r'reason\s*=\s*"([A-Z_]+)"', path.read_text()))
    assert used - set(CODES) == set()


def test_the_hierarchy_in_the_docstring_is_the_real_one() -> None:
    drawn = set(re.findall(r"^\s*[│├└─ ]*\s*([A-Z]\w+)\s{2,}", faults.__doc__ or "", re.M))
    real = {
        name for name, kind in inspect.getmembers(faults, inspect.isclass) if issubclass(kind, faults.Fault)
    }
    assert drawn == real
