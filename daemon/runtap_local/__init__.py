"""The local server: a home for runs that speaks the Weights & Biases protocol, without account or network.

A program of its own with its own process, lock and info file; the daemon is just one of its clients.
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
