"""The Python client of the runtap daemon."""

__all__: list[str] = []
