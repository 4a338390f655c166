"""Users and teams: who sees what, from when and until when, on the wire and in the real SDK."""

import json
import sqlite3
import uuid
from pathlib import Path
from typing import Any

import pytest

from runtap_local import ids
from runtap_local.program import manage
from runtap_local.program.home import Home
from tests.local.client import Client
from tests.local.test_files import CREATE, FILES
from tests.support.local_server import LocalServer, log_run, run_command

PROJECT = 'query P($e: String) { project(name: "p", entityName: $e) { entityName runs { edges { node { name } } } } }'


@pytest.fixture
def team(server: LocalServer, client: Client) -> str:
    """A team of which the client is a member."""
    name = "t" + uuid.uuid4().hex[:10]
    manage.add_team(Home(server.home), name)
    manage.add_member(Home(server.home), name, client.entity)
    return name


@pytest.fixture
def other(server: LocalServer) -> Client:
    """Another user, who shares nothing with the first."""
    name = "o" + uuid.uuid4().hex[:10]
    user, key = manage.add_user(Home(server.home), name, None)
    return Client(server.url, user.entity, key)


def in_team(client: Client, team: str) -> Client:
    """The same user at work in the team's entity."""
    return Client(client.url, team, client.api_key)


def entrances(client: Client, run_id: str, file_id: str, read: str) -> list[Any]:
    """What somebody gets who knows everything about a run with a file but its owner's key."""
    entity, wire = client.entity, f"/files/{client.entity}/p/r1"
    me = Client(client.url, client.entity, client.api_key)
    return [
        me.query(PROJECT, e=entity)["project"],
        me.query("query P($e: String) { models(entityName: $e) { edges { node { name } } } }", e=entity),
        me.query("query E($e: String!) { entity(name: $e) { name } }", e=entity)["entity"],
        me.post(FILES, project="p", entity=entity, name="r1").json()["data"]["project"],
        me.errors("mutation M($i: DeleteRunInput!) { deleteRun(input: $i) { success } }", i={"id": run_id}),
        me.errors("mutation M($i: StopRunInput!) { stopRun(input: $i) { success } }", i={"id": run_id}),
        me.errors(CREATE, entity=entity, project="p", run="r1", files=["x"]),
        me.query("mutation D($f: [ID!]!) { deleteFiles(input: {files: $f}) { success } }", f=[file_id]),
        me.errors(
            'mutation S($e: String!) { upsertSweep(input: {entityName: $e, projectName: "p", '
            'config: "{method: grid, parameters: {a: {values: [1]}}}"}) '
            "{ sweep { id } } }",
            e=entity,
        ),
        me.errors(
            'mutation A($e: String!) { createAgent(input: {host: "h", entityName: $e, projectName: "p", '
            'sweep: "s"}) { agent { id } } }',
            e=entity,
        ),
        me.stream("r1", check=False).status_code,
        me.request("GET", f"{wire}/a.txt").status_code,
        me.request("PUT", f"{wire}/b.txt", data=b"x").status_code,
        me.request("GET", read.partition("?")[0].removeprefix(client.url)).status_code,
    ]


def test_what_is_not_yours_is_as_if_it_were_not_there(client: Client, other: Client) -> None:
    client.upsert("r1")
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"secret")
    made = client.query(FILES, project="p", entity=client.entity, name="r1")["project"]["run"]
    file = made["files"]["edges"][0]["node"]
    run_id = client.run("r1", "id")["id"]
    there = entrances(Client(client.url, client.entity, other.api_key), run_id, file["id"], file["url"])
    # The same requests about an entity that never existed.
    nowhere = "n" + client.entity[1:]
    id_of_none = Client(client.url, nowhere, other.api_key)
    none = ids.run_id(nowhere, "p", "r1")
    absent = entrances(id_of_none, none, "RmlsZTp2MTo5OTk5OTk5", f"{client.url}/files/{nowhere}/p/r1/a.txt")
    said = json.dumps(there).replace(client.entity, "E").replace(run_id, "ID")
    assert said == json.dumps(absent).replace(nowhere, "E").replace(none, "ID")
    assert there[:4] == [None, {"models": {"edges": []}}, None, None]
    assert [status for status, _ in there[4:7]] == [404, 404, 403]
    assert [status for status, _ in there[8:10]] == [403, 404] and there[10:] == [403, 403, 403, 403]
    assert client.run("r1", "state fileCount") == {"state": "running", "fileCount": 1}
    assert client.request("GET", f"/files/{client.entity}/p/r1/a.txt").content == b"secret"


def test_members_of_a_team_share_what_is_in_it(
    client: Client, other: Client, team: str, server: LocalServer
) -> None:
    home = Home(server.home)
    ours, theirs = in_team(client, team), in_team(other, team)
    ours.upsert("r1", summaryMetrics={"loss": 1})
    assert theirs.query(PROJECT, e=team)["project"] is None
    manage.add_member(home, team, other.entity)
    theirs.log("r1", 0, [{"_step": 0, "loss": 2}])
    theirs.request("PUT", f"/files/{team}/p/r1/a.txt", data=b"x")
    shown = ours.run(
        "r1", "id historyLineCount fileCount project { entity { name isTeam entityType } } user { name }"
    )
    assert shown["historyLineCount"] == 1 and shown["fileCount"] == 1
    assert shown["project"]["entity"] == {"name": team, "isTeam": True, "entityType": "team"}
    assert shown["user"]["name"] == client.entity
    theirs.upsert("r2")
    assert ours.names() == ["r2", "r1"] or ours.names() == ["r1", "r2"]
    changed = theirs.query(
        "mutation M($i: UpsertBucketInput!) { upsertBucket(input: $i) { bucket { notes } } }",
        i={"id": shown["id"], "notes": "seen"},
    )
    assert changed["upsertBucket"]["bucket"]["notes"] == "seen"
    # Null is the viewer's own entity, never the team's.
    assert theirs.query(PROJECT, e=None)["project"] is None
    projects = theirs.query(
        "query P($e: String) { models(entityName: $e) { edges { node { name } } } }", e=team
    )
    assert projects["models"]["edges"] == [{"node": {"name": "p"}}]


def test_a_member_who_leaves_has_no_access_at_once(
    client: Client, other: Client, team: str, server: LocalServer
) -> None:
    home = Home(server.home)
    manage.add_member(home, team, other.entity)
    theirs = in_team(other, team)
    theirs.upsert("r1")
    manage.remove_member(home, team, other.entity)
    assert theirs.query(PROJECT, e=team)["project"] is None
    assert theirs.stream("r1", check=False).status_code == 403
    assert theirs.query("{ viewer { teams { edges { node { name } } } } }")["viewer"]["teams"]["edges"] == [
        {"node": {"name": other.entity}}
    ]
    assert in_team(client, team).run("r1", "user { name }") == {"user": {"name": other.entity}}


def test_a_user_who_is_removed_is_refused_at_once_and_may_come_back(
    client: Client, server: LocalServer
) -> None:
    client.upsert("r1")
    assert manage.remove_user(Home(server.home), client.entity) == 1
    assert client.post("{ viewer { id } }").status_code == 401
    assert client.stream("r1", check=False).status_code == 401
    _, client.api_key = manage.add_user(Home(server.home), client.entity, None)
    assert client.names() == ["r1"]


def test_an_entity_of_a_user_can_be_shared_too(client: Client, other: Client, server: LocalServer) -> None:
    client.upsert("r1")
    manage.add_member(Home(server.home), client.entity, other.entity)
    guest = in_team(other, client.entity)
    assert guest.names() == ["r1"]
    members = guest.query(
        "query E($e: String!) { entity(name: $e) { isTeam members { name admin } } }", e=client.entity
    )
    assert members["entity"] == {
        "isTeam": False,
        "members": [{"name": client.entity, "admin": True}, {"name": other.entity, "admin": False}],
    }


def test_users_see_those_they_share_something_with(
    client: Client, other: Client, team: str, server: LocalServer
) -> None:
    document = (
        "query U($q: String) { users(query: $q) { edges { node { name email entity apiKeys { edges { node { id } } } "
        "teams { edges { node { name } } } } } } }"
    )

    def found(who: Client, query: str | None) -> list[str]:
        return [edge["node"]["name"] for edge in who.query(document, q=query)["users"]["edges"]]

    assert found(client, None) == [client.entity] and found(client, other.entity) == []
    manage.add_member(Home(server.home), team, other.entity)
    assert found(client, None) == sorted([client.entity, other.entity], key=lambda name: name[0] == "o")
    assert found(client, other.entity.upper()) == [other.entity]
    assert found(client, f"{other.entity}@localhost") == [other.entity]
    assert found(client, other.entity[:6]) == [other.entity] and found(client, other.entity[2:6]) == []
    fellow = client.query(document, q=other.entity)["users"]["edges"][0]["node"]
    assert fellow["teams"]["edges"] == [{"node": {"name": team}}] and fellow["apiKeys"] is None


@pytest.mark.parametrize(
    ("mutation", "command"),
    [
        ('createUser(input: {email: "a@b"}) { user { id } }', "user add NAME"),
        ('createTeam(input: {teamName: "x"}) { entity { id limits } }', "team add NAME"),
        (
            'createInvite(input: {entityName: "x", username: "y"}) { invite { toUser { name } } }',
            "member add",
        ),
        ('deleteInvite(input: {id: "1", entityName: "x"}) { success }', "member remove"),
        ('createServiceAccount(input: {entityName: "x", description: "y"}) { user { id } }', "user add NAME"),
        ('generateApiKey(input: {description: "x"}) { apiKey { id name } }', "user add NAME"),
        ('deleteApiKey(input: {id: "1"}) { success }', "user remove NAME"),
    ],
)
def test_people_are_managed_on_the_command_line(client: Client, mutation: str, command: str) -> None:
    status, text = client.errors(f"mutation M {{ result: {mutation} }}")
    assert status == 403 and f"`runtap local {command}" in text


def test_teams_on_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"

    def told(*words: str) -> Any:
        return json.loads(run_command(home, *words, "--json").stdout)

    told("user", "add", "ann")
    told("user", "add", "bob")
    for _ in range(2):  # repeating it is harmless
        assert told("team", "add", "lab") == {"team": "lab", "entity": "lab"}
        assert told("member", "add", "lab", "ann") == {"entity": "lab", "user": "ann"}
    told("member", "add", "bob", "ann")
    assert told("member", "list", "bob") == [{"user": "bob", "owner": True}, {"user": "ann", "owner": False}]
    [lab] = told("team", "list")
    assert lab["team"] == "lab" and lab["members"] == 1
    assert told("user", "remove", "ann") == {"user": "ann", "keys_removed": 1}
    assert [(user["user"], user["keys"]) for user in told("user", "list")] == [("ann", 0), ("bob", 1)]
    assert told("member", "list", "lab") == []
    assert "lab\t" in run_command(home, "team", "list").stdout
    assert run_command(home, "member", "add", "lab", "bob").stdout == "User bob may use entity lab.\n"
    assert run_command(home, "team", "list").stdout.endswith("\t1 member\n")
    run_command(home, "member", "remove", "lab", "bob")
    assert "removed" in run_command(home, "user", "list").stdout
    assert run_command(home, "member", "list", "bob").stdout == "bob\towner\n"
    for words, expected in (
        (("user", "add", "lab"), "name of a team already"),
        (("team", "add", "bob"), "name of a user already"),
        (("team", "add", "a/b"), "invalid team name"),
        (("member", "add", "nowhere", "bob"), "no user or team 'nowhere'"),
        (("member", "add", "lab", "carl"), "no user 'carl'"),
        (("member", "add", "bob", "bob"), "the user's own"),
        (("member", "remove", "lab", "bob"), "not a member"),
        (("member", "list", "nowhere"), "no user or team"),
        (("user", "remove", "carl"), "no user 'carl'"),
    ):
        refused = run_command(home, *words, check=False)
        assert refused.returncode == 1 and expected in refused.stderr, (words, refused.stderr)
        assert len(refused.stderr.strip().splitlines()) == 1


SCRIPT = """
import json, os, sys
import wandb

told, team, other = {}, os.environ["TEAM"], os.environ["OTHER"]
settings = wandb.Settings(x_file_stream_transmit_interval=1.0, init_timeout=60)
with wandb.init(project="p", entity=team, id="shared", settings=settings) as run:
    run.log({"loss": 1})
api = wandb.Api()
told["viewer"] = [api.viewer.username, api.viewer.teams, api.viewer.api_keys, api.viewer.entity, api.default_entity]
told["user"] = api.user(other).username
told["users"] = sorted(user.name for user in api.users(other[:6]))
told["nobody"] = api.user("nobody at all")
found = api.team(team)
told["team"] = [found.name, found.entity_type, [[member.name, member.admin] for member in found.members]]
told["runs"] = [[run.id, run.entity, run.user.name, run.summary["loss"]] for run in api.runs(f"{team}/p")]
told["projects"] = [project.name for project in api.projects(team)]
told["refused"] = [found.invite("x"), found.members[0].delete(), api.viewer.generate_api_key("x")]
try:
    api.create_user("x@example.org")
except Exception as error:
    told["create_user"] = str(error)
try:
    api.run(f"{os.environ['FOREIGN']}/p/r1")
except Exception as error:
    told["foreign"] = str(error)
try:
    api.run(f"{os.environ['NOWHERE']}/p/r1")
except Exception as error:
    told["nowhere"] = str(error)
try:
    wandb.Api(api_key="local-" + "x" * 40)
except Exception as error:
    told["wrong"] = [type(error).__name__, str(error)]
print("TOLD" + json.dumps(told))
"""


def test_the_real_sdk_in_a_team(
    client: Client, other: Client, team: str, server: LocalServer, tmp_path: Path
) -> None:
    home = Home(server.home)
    manage.add_member(home, team, other.entity)
    stranger = "s" + uuid.uuid4().hex[:10]
    _, key = manage.add_user(home, stranger, None)
    Client(server.url, stranger, key).upsert("r1")
    env: dict[str, Any] = {
        "TEAM": team,
        "OTHER": other.entity,
        "FOREIGN": stranger,
        "NOWHERE": "never-was",
        "WANDB_API_KEY": client.api_key,
    }
    done = log_run(server, tmp_path, SCRIPT, **env)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout.partition("TOLD")[2])
    me = client.entity
    assert told["viewer"] == [me, [me, team], [], me, me]
    assert told["user"] == other.entity and told["users"] == [other.entity] and told["nobody"] is None
    assert told["team"] == [team, "team", [[me, False], [other.entity, False]]]
    assert told["runs"] == [["shared", team, me, 1]] and told["projects"] == ["p"]
    assert told["refused"] == [False, False, None] and "user add NAME" in told["create_user"]
    assert told["foreign"].replace(stranger, "never-was") == told["nowhere"]
    assert told["wrong"][0] == "AuthenticationError" and "API key" in told["wrong"][1]


def test_trouble_with_the_database_is_one_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    run_command(home, "user", "add", "ann")
    with sqlite3.connect(home / "local.db") as database:
        database.execute("DROP TABLE api_keys")
        database.execute("CREATE VIEW api_keys AS SELECT 1 AS pk")
    database.close()
    failed = run_command(home, "user", "list", check=False)
    assert failed.returncode == 1 and "cannot use the database" in failed.stderr
    assert len(failed.stderr.strip().splitlines()) == 1
