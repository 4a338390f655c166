"""SQL's LIKE, by which lists of files are narrowed: ``%`` is anything, ``_`` one character, a backslash takes the next
character as it is. Letters of different case differ, as they do in file names.

Not a regular expression, since those can take hours over a pattern of many wildcards; this takes at most the length of
the pattern times that of the name.
"""

from dataclasses import dataclass
from typing import Final

_ANY: Final = "any"
_ONE: Final = "one"


@dataclass(frozen=True, slots=True)
class Like:
    """A pattern, understood. Tokens are single letters, or one of the two words for wildcards."""

    tokens: tuple[str, ...]

    @property
    def prefix(self) -> str:
        """What every matching name begins with."""
        letters = []
        for token in self.tokens:
            if len(token) > 1:
                break
            letters.append(token)
        return "".join(letters)

    def matches(self, name: str) -> bool:
        """Whether the whole name fits the pattern."""
        tokens, place, token = self.tokens, 0, 0
        resume: tuple[int, int] | None = None  # where the last ``%`` could take one letter more
        while place < len(name):
            current = tokens[token] if token < len(tokens) else None
            if current == _ANY:
                token += 1
                resume = (place, token)
            elif current == _ONE or current == name[place]:
                place, token = place + 1, token + 1
            elif resume is None:
                return False
            else:
                place, token = resume[0] + 1, resume[1]
                resume = (place, token)
        return all(rest == _ANY for rest in tokens[token:])


def parse_like(pattern: str) -> Like:
    """Read a pattern. A backslash at its end stands for itself."""
    tokens: list[str] = []
    letters = iter(pattern)
    for letter in letters:
        if letter == "\\":
            tokens.append(next(letters, "\\"))
        elif letter == "%":
            if tokens[-1:] != [_ANY]:
                tokens.append(_ANY)
        else:
            tokens.append(_ONE if letter == "_" else letter)
    return Like(tuple(tokens))
