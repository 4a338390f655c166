"""A small picture of a curve for a terminal, in braille dots: four dots high and two wide a character. Pure."""

from __future__ import annotations

from collections.abc import Sequence

# Bits of a braille character by (column, row) of its dots, as Unicode numbers them.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))


def curve(values: Sequence[float], *, width: int = 56, height: int = 8) -> list[str]:
    """Returns the lines of a picture of these values from left to right, the axis at the left, straight in between."""
    low, high = min(values), max(values)
    span = (high - low) or 1.0
    across, down = width * 2, height * 4
    cells = [[0] * width for _ in range(height)]
    last_y: int | None = None
    for x in range(across):
        value = _between(values, x * (len(values) - 1) / (across - 1))
        y = down - 1 - round((value - low) / span * (down - 1))
        # Join to the neighbour, so that steep parts stay a line.
        for dot in range(min(y, y if last_y is None else last_y), max(y, last_y or y) + 1):
            cells[dot // 4][x // 2] |= _DOTS[x % 2][dot % 4]
        last_y = y
    lines = ["".join(chr(0x2800 + cell) for cell in row) for row in cells]
    labels = [f"{high:8.3f} ┤", *["         │"] * (height - 2), f"{low:8.3f} ┤"]
    return [label + line for label, line in zip(labels, lines, strict=True)]


def _between(values: Sequence[float], position: float) -> float:
    """Returns the value at a fractional position."""
    left = min(int(position), len(values) - 1)
    right = min(left + 1, len(values) - 1)
    return values[left] + (values[right] - values[left]) * (position - left)
