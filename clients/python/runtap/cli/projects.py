"""`runtap projects`: what an entity has, for people and for programs."""

from __future__ import annotations

import click

from runtap.cli.output import json_option, print_json, print_table
from runtap.cli.run_columns import moment


@click.command()
@click.argument("entity", default="")
@json_option
def projects(entity: str, as_json: bool) -> None:
    """List the projects of an entity.

    ENTITY is a user or a team; without it, the default one of programs started here. The server and the key are those
    that such programs use.
    """
    from runtap.api import Api

    api = Api()
    found = api.projects(entity or None)
    if as_json:
        print_json(
            [
                {
                    "id": project.id,
                    "entity": project.entity,
                    "name": project.name,
                    "url": project.url,
                    "description": project.description,
                    "created_at": project.created_at,
                    "is_benchmark": project.is_benchmark,
                }
                for project in found
            ]
        )
        return
    rows = [(project.name, moment(project.created_at), project.url) for project in found]
    if not rows:
        click.echo(f"{found.entity} has no projects that {api.viewer} sees at {api.client.base_url}")
        return
    print_table(f"projects of {found.entity}", ("project", "created", "page"), rows)
