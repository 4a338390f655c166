"""Moments in the database that only ever move forward, whatever the clock does."""

from sqlalchemy import ColumnElement, case


def later(known: ColumnElement[int], now: int) -> ColumnElement[int]:
    """Now, or the smallest moment after the known one when the clock has not passed that yet."""
    return case((known >= now, known + 1), else_=now)
