"""Histories: fetching rows, and turning them into columns."""

__all__: list[str] = []
