"""Resolvers of users, entities and the server itself."""

from collections.abc import Callable
from typing import Any

from ... import __version__
from ...auth import Viewer
from ...faults import Forbidden
from ...store import teams as team_store
from ...store.teams import Member
from ...times import to_wire
from .context import Info, RequestContext, connection, context_of, page

_FEATURES = {"MARK_RUN_FILES_UPLOADED": True}
_NEWEST_SDK = "9999.0.0"  # the SDK logs no media when it is newer than the server says it may be


def own_user(context: RequestContext) -> dict[str, Any]:
    """The viewer in full, as only they see themselves. Keys are never shown: only their hashes are kept."""
    viewer = context.viewer
    teams = [viewer.entity, *sorted(viewer.others)]
    return {
        **_public(viewer),
        "email": viewer.email,
        "admin": False,
        "flags": "{}",
        "entity": viewer.entity,
        "createdAt": to_wire(viewer.created_at),
        "apiKeys": {"edges": []},
        "teams": _entities(context, teams),
    }


def _public(user: Viewer | Member) -> dict[str, Any]:
    return {"id": str(user.pk), "name": user.name, "username": user.name}


def _fellow(context: RequestContext, member: Member, shared: list[str]) -> dict[str, Any]:
    """Another user, as those see them who share an entity: with what is shared, and nothing else."""
    return {
        **_public(member),
        "email": member.email,
        "admin": False,
        "entity": member.entity,
        "createdAt": to_wire(member.created_at),
        "teams": _entities(context, shared),
    }


def _entities(context: RequestContext, names: list[str]) -> Callable[..., dict[str, Any]]:
    def resolve(_info: Info, first: int | None = None, after: str | None = None) -> dict[str, Any]:
        return page([entity_node(context, name) for name in names], first, after)

    return resolve


def entity_node(context: RequestContext, name: str) -> dict[str, Any]:
    """An entity that the viewer may use."""

    def is_team(_info: Info) -> bool:
        return context.once(("team", name), lambda: team_store.is_team(context.connection, name))

    return {
        "id": name,
        "name": name,
        "available": False,
        "readOnly": False,
        "readOnlyAdmin": False,
        "isTeam": is_team,
        "entityType": lambda info: "team" if is_team(info) else "user",
        "privateOnly": False,
        "storageBytes": 0,
        "codeSavingEnabled": False,
        "defaultAccess": "PRIVATE",
        "isPaid": False,
        "members": lambda _info: [_member(one) for one in _members(context, name)],
    }


def _members(context: RequestContext, entity: str) -> list[Member]:
    return context.once(("members", entity), lambda: team_store.of(context.connection, entity))


def _member(member: Member) -> dict[str, Any]:
    return {
        **_public(member),
        "admin": member.owner,
        "pending": False,
        "email": member.email,
        "accountType": "MEMBER",
    }


def query_viewer(_root: Any, info: Info) -> dict[str, Any]:
    """The user whose key the request carries."""
    return own_user(context_of(info))


def query_users(_root: Any, info: Info, query: str | None = None) -> dict[str, Any]:
    """The viewer and those they share an entity with, by the beginning or end of a name or address; whoever is meant
    exactly comes first.
    """
    context = context_of(info)
    viewer = context.viewer
    people: dict[int, Member] = {}
    shared: dict[int, list[str]] = {}
    for entity in sorted(viewer.entities()):
        for member in _members(context, entity):
            people[member.pk] = member
            shared.setdefault(member.pk, []).append(entity)
    wanted = (query or "").lower()
    found = sorted((min(ranks), pk) for pk, member in people.items() if (ranks := _ranks(member, wanted)))
    nodes = [
        own_user(context) if pk == viewer.pk else _fellow(context, people[pk], shared[pk]) for _, pk in found
    ]
    return connection(nodes, 0, False)


def _ranks(member: Member, wanted: str) -> list[int]:
    """How well a user fits what was asked for; empty where not at all."""
    texts = (member.name.lower(), member.email.lower())
    return [int(text != wanted) for text in texts if text.startswith(wanted) or text.endswith(wanted)]


def query_entity(_root: Any, info: Info, name: str) -> dict[str, Any] | None:
    """An entity that the viewer may use; null for others, whether they exist or not."""
    context = context_of(info)
    return entity_node(context, name) if context.viewer.may_use(name) else None


def _by_command(command: str) -> Callable[..., None]:
    """Refuses what only whoever owns the data folder may do."""

    def refuse(_root: Any, _info: Info, input: dict[str, Any]) -> None:
        raise Forbidden(f"users, teams and keys are managed where the server runs: `runtap local {command}`")

    return refuse


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


RESOLVERS: dict[str, dict[str, Any]] = {
    "Query": {
        "viewer": query_viewer,
        "users": query_users,
        "entity": query_entity,
        "serverInfo": query_server_info,
    },
    "Mutation": {
        "createUser": _by_command("user add NAME"),
        "createTeam": _by_command("team add NAME"),
        "createInvite": _by_command("member add ENTITY USER"),
        "deleteInvite": _by_command("member remove ENTITY USER"),
        "createServiceAccount": _by_command("user add NAME"),
        "generateApiKey": _by_command("user add NAME"),
        "deleteApiKey": _by_command("user remove NAME"),
    },
}
