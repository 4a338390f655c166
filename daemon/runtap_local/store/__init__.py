"""Everything that is kept: the database, one module per kind of thing in it, and the blobs."""

__all__: list[str] = []
