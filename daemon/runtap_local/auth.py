"""API keys: how they are minted, checked and hashed, and how a request brings one."""

import base64
import binascii
import hashlib
import re
import secrets
import string
from dataclasses import dataclass
from typing import Final

from .faults import BadRequest, Unauthorized

_PREFIX: Final = "local-"
_ALPHABET: Final = string.ascii_lowercase + string.digits
_MIN_LENGTH: Final = 40  # the SDK refuses shorter ones before it sends anything
CURE: Final = (
    "look up the key in local.json of the server's data folder, or make one with `runtap local user add`"
)


@dataclass(frozen=True, slots=True)
class Viewer:
    """Whose key a request carries, the entity that is theirs, and those of others they were added to."""

    pk: int
    name: str
    entity: str
    email: str
    created_at: int
    others: frozenset[str] = frozenset()

    def may_use(self, entity: str) -> bool:
        """Whether they see the entity and write to it."""
        return entity == self.entity or entity in self.others

    def entities(self) -> frozenset[str]:
        """All entities they may use."""
        return self.others | {self.entity}

    def meant(self, entity: str | None) -> str | None:
        """The entity that a request means, which is their own where it names none; null where they may not use it."""
        meant = entity or self.entity
        return meant if self.may_use(meant) else None


def mint_key() -> str:
    """A new key, in the form the SDK accepts: a prefix and 40 characters."""
    return _PREFIX + "".join(secrets.choice(_ALPHABET) for _ in range(_MIN_LENGTH))


def checked_key(key: str) -> str:
    """Refuse keys that the SDK would refuse later and less clearly."""
    bare = key.partition("-")[2] if "-" in key else key
    if not re.fullmatch(r"[A-Za-z0-9_-]+", bare) or len(bare) < _MIN_LENGTH:
        raise BadRequest(
            f"the API key must have at least {_MIN_LENGTH} letters, digits, '_' or '-' after an optional prefix, "
            f"or the SDK refuses it; leave --api-key out to get one made"
        )
    return key


def digest(key: str) -> str:
    """What is kept of a key. Keys are random and long, so that a plain hash is enough."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def key_from_header(header: str | None) -> str:
    """The key of an ``Authorization`` header: Basic with the user ``api``, or Bearer."""
    if not header:
        raise Unauthorized(f"this server needs an API key; {CURE}")
    scheme, _, rest = header.partition(" ")
    if scheme.lower() == "bearer" and rest.strip():
        return rest.strip()
    if scheme.lower() == "basic":
        try:
            user, _, key = base64.b64decode(rest.strip(), validate=True).decode().partition(":")
        except (binascii.Error, ValueError):
            user, key = "", ""
        if user == "api" and key:
            return key
    raise Unauthorized("credentials must be HTTP Basic with the user 'api' and the API key as the password")
