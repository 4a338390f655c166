"""GraphQL: documents made ready, bounded and executed against the schema files by the resolvers."""

__all__: list[str] = []
