"""The runtap daemon: one long-lived gRPC process per user.

Owns authentication, request caching, pagination and write-back towards servers that speak the Weights &
Biases protocol. `daemon/README.md` walks through its rooms.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
