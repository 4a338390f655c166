"""What was read before: records (runs) and answers (lists of runs), in memory over SQLite, apart per account."""

__all__: list[str] = []
