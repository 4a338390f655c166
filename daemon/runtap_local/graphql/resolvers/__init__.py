"""How each field of the schema finds its value: one module per area, each with its part of the table."""

__all__: list[str] = []
