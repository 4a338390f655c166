"""What a scripted upstream can do wrong with one answer; `ScriptedUpstream.fail` says when it does.

Each fault is a value. The server interprets it; nothing here does I/O.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


class UpstreamFailure:
    """Base of everything that can be injected."""


@dataclass(frozen=True)
class Delay(UpstreamFailure):
    """Answers rightly, but so much later; gives up when the client leaves."""

    seconds: float


@dataclass(frozen=True)
class Status(UpstreamFailure):
    """Answers with this status instead, body and headers as given."""

    code: int
    body: bytes = b'{"errors":[{"message":"scripted"}]}'
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class ResetBefore(UpstreamFailure):
    """Resets the connection before a byte of the answer."""


@dataclass(frozen=True)
class ResetInside(UpstreamFailure):
    """Sends the head and half the body, then resets the connection."""


@dataclass(frozen=True)
class CutShort(UpstreamFailure):
    """Sends half the JSON as if that were all: the length fits, the text does not parse."""


@dataclass(frozen=True)
class ShortBody(UpstreamFailure):
    """Promises the whole length and closes in good order after half of it."""


@dataclass(frozen=True)
class Html(UpstreamFailure):
    """Status 200 with a page for people."""


@dataclass(frozen=True)
class Empty(UpstreamFailure):
    """Status 200 without a byte."""


@dataclass(frozen=True)
class Drip(UpstreamFailure):
    """Sends the right body a byte at a time with a pause between; ends when the client leaves."""

    pause_s: float = 0.02


@dataclass(frozen=True)
class Slow(UpstreamFailure):
    """Sends the right body over a slow line."""

    bytes_per_s: float


@dataclass(frozen=True)
class Refuse(UpstreamFailure):
    """Status 200 with a GraphQL error."""

    message: str = "scripted refusal"
