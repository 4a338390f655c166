"""Servers that speak the W&B protocol: who we are there, what to ask, and how to understand the answer."""

__all__: list[str] = []
