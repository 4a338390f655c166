"""Tokens that clients carry: sealed with a key of the state folder, so they survive a restart and cannot be made up.

A token gives no rights: it only says where an answer goes on, and is checked against the request it comes with.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import secrets
from pathlib import Path
from typing import Any

from runtapd.faults import DiskFull, InvalidRequest

_MAC_BYTES = 16


class Sealer:
    """Seals and opens tokens."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    @classmethod
    def from_folder(cls, folder: Path) -> Sealer:
        """Reads the key of a state folder, or makes one."""
        path = folder / "token.key"
        with contextlib.suppress(FileNotFoundError):
            key = path.read_bytes()
            if len(key) == 32:
                return cls(key)
            path.unlink()
        key = secrets.token_bytes(32)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(key)
        except OSError as error:
            raise DiskFull(f"cannot write {path}: {error.strerror}") from error
        return cls(key)

    def seal(self, kind: str, content: dict[str, Any]) -> str:
        """Returns a token of this kind."""
        body = json.dumps([kind, content], separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(body) + body).decode().rstrip("=")

    def open(self, kind: str, token: str, *, field: str, reason: str) -> dict[str, Any]:
        """Returns what was sealed; raises InvalidRequest naming the field when this daemon did not make the token."""
        try:
            raw = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4))
            mac, body = raw[:_MAC_BYTES], raw[_MAC_BYTES:]
            if hmac.compare_digest(mac, self._mac(body)):
                sealed_kind, content = json.loads(body)
                if sealed_kind == kind and isinstance(content, dict):
                    return content
        except ValueError:
            pass
        raise InvalidRequest(
            f"{field} was not made by this daemon for this kind of call; begin again without it",
            reason=reason,
            field=field,
        )

    def _mac(self, body: bytes) -> bytes:
        return hmac.digest(self._key, body, hashlib.sha256)[:_MAC_BYTES]
