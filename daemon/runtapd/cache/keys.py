"""Names for answers: the operation and its canonical arguments, digested. Pure."""

from __future__ import annotations

import hashlib
import json

KEY_VERSION = 1
"""Goes up when the same arguments come to mean something else, so that old answers are not found."""


def answer_key(operation: str, **arguments: str) -> str:
    """Returns the key of an answer; arguments that mean the same must be written the same."""
    recipe = json.dumps([KEY_VERSION, operation, sorted(arguments.items())], ensure_ascii=False)
    return hashlib.blake2b(recipe.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
