"""The commands about people: users and their keys, teams, and who may use which entity. All work beside a server."""

import click

from .options import Setup, home_option, json_option, name_argument, one_line_errors, print_json


@click.group()
def user() -> None:
    """Add, remove and list users; each has an entity of its own name."""


@user.command("add")
@name_argument("name")
@click.option("--api-key", help="The key to give them [default: a new one].")
@json_option
@home_option
@click.pass_obj
def user_add(setup: Setup, name: str, api_key: str | None, as_json: bool) -> None:
    """Add a user, or a key to one, and print the key.

    It works while the server runs. Keys that the user has go on working.
    """
    from .manage import add_user

    with one_line_errors():
        added, key = add_user(setup.home(), name, api_key)
    if as_json:
        print_json({"user": added.name, "entity": added.entity, "api_key": key})
    else:
        click.echo(f"User {added.name} logs to entity {added.entity} with the key {key}")


@user.command("remove")
@name_argument("name")
@json_option
@home_option
@click.pass_obj
def user_remove(setup: Setup, name: str, as_json: bool) -> None:
    """Take all keys from a user; their runs stay.

    Memberships go too. It works at once, and `user add` lets them in again.
    """
    from .manage import remove_user

    with one_line_errors():
        keys = remove_user(setup.home(), name)
    if as_json:
        print_json({"user": name, "keys_removed": keys})
    else:
        click.echo(f"User {name} has no access any more; their runs stay in entity {name}.")


@user.command("list")
@json_option
@home_option
@click.pass_obj
def user_list(setup: Setup, as_json: bool) -> None:
    """List all users."""
    from ..times import to_wire
    from .manage import list_users

    with one_line_errors():
        found = list_users(setup.home())
    shown = [
        {"user": one.name, "entity": one.entity, "created_at": to_wire(one.created_at), "keys": keys}
        for one, keys in found
    ]
    if as_json:
        print_json(shown)
        return
    for line in shown:
        removed = "" if line["keys"] else "\tremoved"
        click.echo(f"{line['user']}\t{line['entity']}\t{line['created_at']}{removed}")


@click.group()
def team() -> None:
    """Add and list teams: entities that several users share."""


@team.command("add")
@name_argument("name")
@json_option
@home_option
@click.pass_obj
def team_add(setup: Setup, name: str, as_json: bool) -> None:
    """Add a team; `member add` lets users use it."""
    from .manage import add_team

    with one_line_errors():
        add_team(setup.home(), name)
    if as_json:
        print_json({"team": name, "entity": name})
    else:
        click.echo(f"There is a team {name}; its members log to entity {name}.")


@team.command("list")
@json_option
@home_option
@click.pass_obj
def team_list(setup: Setup, as_json: bool) -> None:
    """List all teams."""
    from ..times import to_wire
    from .manage import list_teams

    with one_line_errors():
        found = list_teams(setup.home())
    if as_json:
        print_json(
            [{"team": o.name, "created_at": to_wire(o.created_at), "members": o.members} for o in found]
        )
        return
    for one in found:
        click.echo(
            f"{one.name}\t{to_wire(one.created_at)}\t{one.members} {'member' if one.members == 1 else 'members'}"
        )


@click.group()
def member() -> None:
    """Say who else may use an entity, a team's or a user's own."""


@member.command("add")
@name_argument("entity")
@name_argument("user")
@json_option
@home_option
@click.pass_obj
def member_add(setup: Setup, entity: str, user: str, as_json: bool) -> None:
    """Let a user read an entity and write to it."""
    from .manage import add_member

    with one_line_errors():
        add_member(setup.home(), entity, user)
    if as_json:
        print_json({"entity": entity, "user": user})
    else:
        click.echo(f"User {user} may use entity {entity}.")


@member.command("remove")
@name_argument("entity")
@name_argument("user")
@json_option
@home_option
@click.pass_obj
def member_remove(setup: Setup, entity: str, user: str, as_json: bool) -> None:
    """Take that away again, at once; what the user logged stays."""
    from .manage import remove_member

    with one_line_errors():
        remove_member(setup.home(), entity, user)
    if as_json:
        print_json({"entity": entity, "user": user})
    else:
        click.echo(f"User {user} may no longer use entity {entity}.")


@member.command("list")
@name_argument("entity")
@json_option
@home_option
@click.pass_obj
def member_list(setup: Setup, entity: str, as_json: bool) -> None:
    """List everybody who may use an entity."""
    from .manage import list_members

    with one_line_errors():
        found = list_members(setup.home(), entity)
    if as_json:
        print_json([{"user": one.name, "owner": one.owner} for one in found])
        return
    for one in found:
        click.echo(f"{one.name}\towner" if one.owner else one.name)
