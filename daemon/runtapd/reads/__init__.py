"""Reading: look up, decide, fetch once, keep."""

__all__: list[str] = []
