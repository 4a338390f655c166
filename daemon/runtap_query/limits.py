"""How large a filter may be: less serves every program we have seen, more is a mistake or an attack."""

from __future__ import annotations

from typing import Final

MAX_TEXT: Final = 1_000_000
"""Characters of a filter's JSON."""
MAX_DEPTH: Final = 50
"""Levels of nesting, of operators and of the values they compare with."""
MAX_CLAUSES: Final = 1_000
"""Comparisons in one filter; each costs time for each run. So does each item of $all and each object in an $in."""
MAX_VALUES: Final = 10_000
"""Values in all lists ($in, $nin, $all) of one filter."""
MAX_PATTERNS: Final = 50
"""Patterns in one filter; each costs memory as long as it is in use."""
MAX_COLUMN: Final = 1_000
"""Characters of a column's name."""
MAX_DOTS: Final = 30
"""Dots in a column's name: each may part two keys or belong to one, and all readings are tried."""
MAX_PATTERN: Final = 4_000
"""Characters of a pattern."""
MAX_PATTERN_MEMORY: Final = 2 * 1024 * 1024
"""Bytes a pattern may take, compiled and while it searches."""
MAX_PATTERN_STEPS: Final = 5_000
"""Instructions of a compiled pattern: searching a text takes at most its length times this."""
