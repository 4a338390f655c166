"""Resolvers of users, entities and the server itself."""

from typing import Any

from .. import __version__
from ..auth import Viewer
from ..times import to_wire
from .context import Info, connection, context_of

_FEATURES = {"MARK_RUN_FILES_UPLOADED": True}
_NEWEST_SDK = "9999.0.0"  # the SDK logs no media when it is newer than the server says it may be


def user(viewer: Viewer) -> dict[str, Any]:
    """A user in full, as only they see themselves. Keys are never shown: only their hashes are kept."""
    return {
        "id": str(viewer.pk),
        "name": viewer.name,
        "username": viewer.name,
        "email": viewer.email,
        "admin": False,
        "flags": "{}",
        "entity": viewer.entity,
        "createdAt": to_wire(viewer.created_at),
        "apiKeys": {"edges": []},
        "teams": connection([entity(viewer)], 0, False),
    }


def entity(viewer: Viewer) -> dict[str, Any]:
    """The entity of a user: a personal one, whose only member they are."""
    member = {
        "id": str(viewer.pk),
        "admin": True,
        "pending": False,
        "email": viewer.email,
        "username": viewer.name,
        "name": viewer.name,
        "accountType": "MEMBER",
    }
    return {
        "id": viewer.entity,
        "name": viewer.entity,
        "available": False,
        "readOnly": False,
        "readOnlyAdmin": False,
        "isTeam": False,
        "entityType": "user",
        "privateOnly": False,
        "storageBytes": 0,
        "codeSavingEnabled": False,
        "defaultAccess": "PRIVATE",
        "isPaid": False,
        "members": [member],
    }


def query_viewer(_root: Any, info: Info) -> dict[str, Any]:
    """The user whose key the request carries."""
    return user(context_of(info).viewer)


def query_users(_root: Any, info: Info, query: str | None = None) -> dict[str, Any]:
    """Users by name or address. People here see themselves only."""
    viewer = context_of(info).viewer
    found = query is None or query.lower() in (viewer.name.lower(), viewer.email.lower())
    return connection([user(viewer)] if found else [], 0, False)


def query_entity(_root: Any, info: Info, name: str) -> dict[str, Any] | None:
    """An entity of the viewer; null for others, whether they exist or not."""
    viewer = context_of(info).viewer
    return entity(viewer) if name == viewer.entity else None


def query_server_info(_root: Any, _info: Info) -> dict[str, Any]:
    """What this server can do beyond the common ground."""
    return {
        "features": [{"name": name, "isEnabled": enabled} for name, enabled in _FEATURES.items()],
        "cliVersionInfo": {"min_cli_version": "0.8.0", "max_cli_version": _NEWEST_SDK},
        "latestLocalVersionInfo": {
            "outOfDate": False,
            "latestVersionString": __version__,
            "versionOnThisInstanceString": __version__,
        },
    }


RESOLVERS = {
    "Query": {
        "viewer": query_viewer,
        "users": query_users,
        "entity": query_entity,
        "serverInfo": query_server_info,
    }
}
