"""Sealed tokens."""

from __future__ import annotations

import base64
import stat
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtapd.faults import DiskFull, InvalidRequest
from runtapd.paging import Sealer

contents = st.dictionaries(st.text(), st.integers() | st.text() | st.floats(allow_nan=False), max_size=5)


def open_(sealer: Sealer, token: str, kind: str = "page") -> object:
    return sealer.open(kind, token, field="page_token", reason="INVALID_PAGE_TOKEN")


@given(contents)
def test_what_was_sealed_is_opened(content: dict[str, object]) -> None:
    sealer = Sealer(b"k" * 32)
    assert open_(sealer, sealer.seal("page", content)) == content


def test_the_key_survives_in_a_private_file(tmp_path: Path) -> None:
    token = Sealer.from_folder(tmp_path).seal("page", {"o": 1})
    assert open_(Sealer.from_folder(tmp_path), token) == {"o": 1}
    assert stat.S_IMODE((tmp_path / "token.key").stat().st_mode) == 0o600


def test_a_key_cut_short_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token.key").write_bytes(b"short")
    token = Sealer.from_folder(tmp_path).seal("page", {})
    assert open_(Sealer.from_folder(tmp_path), token) == {}


def test_a_folder_that_takes_no_key(tmp_path: Path) -> None:
    with pytest.raises(DiskFull, match=r"token\.key"):
        Sealer.from_folder(tmp_path / "missing")


def refused(sealer: Sealer, token: str, kind: str = "page") -> None:
    with pytest.raises(InvalidRequest) as caught:
        open_(sealer, token, kind)
    assert (caught.value.reason, caught.value.field) == ("INVALID_PAGE_TOKEN", "page_token")


def test_tokens_of_others_and_for_other_calls_are_refused() -> None:
    sealer = Sealer(b"k" * 32)
    token = sealer.seal("page", {"o": 1})
    refused(Sealer(b"o" * 32), token)
    refused(sealer, token, "resume")
    raw = bytearray(base64.urlsafe_b64decode(token + "=="))
    for position in (0, len(raw) - 1):
        changed = bytes(raw[:position]) + bytes([raw[position] ^ 1]) + bytes(raw[position + 1 :])
        refused(sealer, base64.urlsafe_b64encode(changed).decode())
    refused(sealer, token[:-2])


@given(st.text(max_size=60))
def test_made_up_tokens_are_refused(token: str) -> None:
    refused(Sealer(b"k" * 32), token)
