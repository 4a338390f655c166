"""Parts of a list that still have to be read: how they are cut."""

from __future__ import annotations

import pytest

from runtapd.reads.stretches import Row, Stretch


def stretch(wanted: str, rows: str = "abcdefgh") -> Stretch:
    made = {name: Row(name, name, "", name, "") for name in rows}
    return Stretch(list(made.values()), [made[name] for name in wanted])


def told(pieces: list[Stretch]) -> list[tuple[str, str]]:
    return [
        ("".join(row.run_id for row in piece.rows), "".join(row.run_id for row in piece.wanted))
        for piece in pieces
    ]


def test_pieces_hold_all_rows_in_order_and_halves_want_as_much() -> None:
    assert told(stretch("bdfh").cut(1)) == [("abc", "b"), ("defgh", "dfh")]
    assert told(stretch("bdfh").halves()) == [("abcde", "bd"), ("fgh", "fh")]
    assert told(stretch("b").halves()) == [("abcdefgh", "b")]


@pytest.mark.parametrize(
    ("wanted", "suspects", "expected"),
    [
        ("abcdefgh", "", ["abcdefgh"]),
        ("abcdefgh", "a", ["a", "bcdefgh"]),
        ("abcdefgh", "h", ["abcdefg", "h"]),
        ("abcdefgh", "de", ["abc", "d", "e", "fgh"]),
        ("bdf", "abdf", ["b", "d", "f"]),
        ("d", "d", ["d"]),
    ],
)
def test_who_is_suspected_stands_alone(wanted: str, suspects: str, expected: list[str]) -> None:
    pieces = told(stretch(wanted).around(set(suspects)))
    assert [piece for _, piece in pieces] == expected
    assert "".join(rows for rows, _ in pieces) == "abcdefgh"
