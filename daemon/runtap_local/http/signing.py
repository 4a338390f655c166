"""Addresses of files that carry their own permission: signed, for one file, one direction, a limited time.

They must, because the SDK's uploader sends no credentials with its PUTs.
"""

import hashlib
import hmac
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote, urlencode

Direction = Literal["read", "write"]


@dataclass(frozen=True, slots=True)
class FilePath:
    """The full name of a file of a run."""

    entity: str
    project: str
    run: str
    name: str

    def address(self) -> str:
        """The path below the server's address."""
        parts = (self.entity, self.project, self.run)
        return "/files/" + "/".join(quote(part, safe="") for part in parts) + "/" + quote(self.name)


@dataclass(frozen=True, slots=True, repr=False)
class Signer:
    """Signs and checks; ``secret`` is the data folder's own."""

    secret: bytes
    ttl_s: float

    def url(self, base_url: str, path: FilePath, direction: Direction, now_s: float) -> str:
        """An absolute address: the uploader cannot complete a relative one, and fails without a word."""
        expires = int(now_s + self.ttl_s) + 1
        query = {"expires": expires, "signature": self._signature(path, direction, expires)}
        if direction == "write":
            query["upload"] = "true"
        return f"{base_url}{path.address()}?{urlencode(query)}"

    def allows(self, path: FilePath, direction: Direction, query: Mapping[str, str], now_s: float) -> bool:
        """Whether the query carries a signature for this file and direction that has not run out."""
        expires = query.get("expires", "")
        if not expires.isdecimal() or len(expires) > 15 or int(expires) < now_s:
            return False
        wanted = self._signature(path, direction, int(expires))
        return hmac.compare_digest(wanted.encode(), query.get("signature", "").encode("utf-8", "replace"))

    def _signature(self, path: FilePath, direction: Direction, expires: int) -> str:
        # The quoted address: no two files, whatever is in their names, have the same.
        text = f"{direction} {path.address()} {expires}"
        return hmac.new(self.secret, text.encode(), hashlib.sha256).hexdigest()
