"""HTTP below the routes: bodies, threads, signed addresses, and files on their way in and out."""

__all__: list[str] = []
