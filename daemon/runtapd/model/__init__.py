"""What the daemon thinks in: runs, records, paths, patches. Values only; no I/O, no clock."""

__all__: list[str] = []
