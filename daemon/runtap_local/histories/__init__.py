"""What a running program streams and how it is offered again: rows, samples, exports."""

__all__: list[str] = []
