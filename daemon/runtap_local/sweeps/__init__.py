"""Sweeps: their configurations, the points they search, and what their agents are told. All of it is pure but
``running``, which carries decisions out on the rows of ``store.sweeps`` and ``store.trials``.
"""
