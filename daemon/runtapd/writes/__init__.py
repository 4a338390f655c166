"""Writing: accept durably, send in order, settle."""

__all__: list[str] = []
