"""Sweeps: their configurations, the points they search, and what their agents are told. Decisions only; the rows lie
in ``store.sweeps``, the wire in ``resolvers.sweeps``.
"""
