"""The server as a program: its command line, its data folder, and its life as a process."""

__all__: list[str] = []
