"""Projects in the client and on the command line, with a real daemon and the real local server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Place, new_place

MAKE = """
import base64, json, urllib.request
def make(name):
    document = 'mutation M($name: String) { upsertModel(input: {name: $name}) { inserted } }'
    body = json.dumps({"query": document, "variables": {"name": name}}).encode()
    key = base64.b64encode(b"api:" + KEY.encode()).decode()
    headers = {"Content-Type": "application/json", "Authorization": "Basic " + key}
    urllib.request.urlopen(urllib.request.Request(URL + "/graphql", body, headers)).read()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    with new_place(tmp_path_factory.mktemp("projects")) as made:
        reach = made.runtap("local", "start", "--json").json()
        script = f"URL, KEY = {reach['url']!r}, {reach['api_key']!r}\n{MAKE}"
        made.python(script + "for number in range(5): make(f'p{number}')")
        made.runtap("local", "use")
        yield made


def out(place: Place, script: str) -> str:
    return place.python("import runtap, pickle, itertools\napi = runtap.Api(base_url='local')\n" + script).out


NAMES = ["p4", "p3", "p2", "p1", "p0"]


def test_projects_act_like_a_list_without_a_length(place: Place) -> None:
    said = out(
        place,
        """
projects = api.projects(per_page=2)
print([project.name for project in projects], projects.more)
print(projects[1].name, projects[-1].name, [p.name for p in projects[1:3]], [p.name for p in projects[::-2]])
print([len(list(projects)), bool(projects), projects.freshness.source])
for look in (lambda: len(projects), lambda: projects[5], lambda: projects[-6]):
    try:
        look()
    except Exception as error:
        print(type(error).__name__, error if isinstance(error, IndexError) else "")
first = api.projects(per_page=2)
print(first[0].name, len(first.objects), first.more, first)
print(next(first).name, next(first).name, pickle.loads(pickle.dumps(first))[3].name)
""",
    )
    assert said.splitlines() == [
        f"{NAMES} False",
        "p3 p0 ['p3', 'p2'] ['p0', 'p2', 'p4']",
        "[5, True, 'upstream']",
        "TypeError ",
        "IndexError there are 5 projects, and no number 5",
        "IndexError there are 5 projects, and no number -6",
        "p4 2 True <Projects local>",
        "p4 p3 p1",
    ]


def test_a_project_and_its_attributes(place: Place) -> None:
    said = out(
        place,
        """
project = api.project("p1")
print(project.name, project.entity, list(project.path), str(project.path), project.isBenchmark, project)
print(project.url == f"{api.client.base_url}/local/p1/workspace", project.createdAt == project.created_at != "")
print(project == api.project("local/p1") == api.project("p1", "local") == pickle.loads(pickle.dumps(project)))
print(list(api.runs(project.path)), len({project, api.projects()[3]}))
try:
    project.nonsense
except AttributeError as error:
    print(error)
""",
    )
    assert said.splitlines() == [
        "p1 local ['local', 'p1'] local/p1 False <Project local/p1>",
        "True True",
        "True",
        "[] 1",
        "a project has no attribute 'nonsense'",
    ]


def test_what_goes_wrong_is_a_comm_error(place: Place) -> None:
    said = out(
        place,
        """
for call in (lambda: api.project("nope"), lambda: api.project("a/b/c"), lambda: api.projects(per_page=0)):
    try:
        call()
    except runtap.CommError as error:
        print(type(error).__name__, isinstance(error, ValueError), error)
""",
    )
    missing, wrong, zero = said.splitlines()
    assert missing.startswith("NotFoundError True Could not find project local/nope at http")
    assert missing.endswith("as user local")
    assert wrong.startswith("InvalidRequestError True 'a/b/c' is not the path of a project")
    assert zero.startswith("InvalidRequestError True per_page")


def test_the_command(place: Place, tmp_path: Path) -> None:
    listed = place.runtap("projects", "--json").json()
    assert [project["name"] for project in listed] == NAMES
    assert set(listed[0]) == {
        "id", "entity", "name", "url", "description", "created_at", "is_benchmark",
    }  # fmt: skip
    shown = place.runtap("projects", "local").out
    assert "projects of local" in shown and all(name in shown for name in NAMES)
    none = place.runtap("projects", "nobody")
    assert (none.code, none.out.count("\n")) == (0, 1)
    assert none.out.startswith("nobody has no projects that local sees at http")
