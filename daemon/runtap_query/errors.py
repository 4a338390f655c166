"""The one error of this package: a filter or an order that cannot be understood."""


class QueryError(ValueError):
    """A filter or order names something that does not exist; the text says what is wrong and what is nearest."""
