"""Names and values made to hurt, through every entrance: stored as they are or refused, and nothing else happens."""

from __future__ import annotations

import json
import os
import unicodedata
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from click.testing import CliRunner, Result

from runtap_local.program.cli import cli
from tests.local.client import UPSERT, Client
from tests.local.hostile import head, raw, refusal
from tests.local.test_files import CREATE, FILES
from tests.support.local_server import LocalServer

TEXTS = {
    "quotes": "'\"`;--\\",
    "SQL": "'); DROP TABLE runs; --",
    "script": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "template": "{{7*7}}${7*7}%(x)s%s%n{0}",
    "shell": "$(touch /tmp/x) `touch /tmp/x` | rm -rf / &",
    "NUL": "a\x00b",
    "controls": "\x01\x02\x1b[31m\x7f\x85\r\n\t",
    "bidi": "a\u202eb\u2066c\ufeff\u200b",
    "emoji": "👩‍👩‍👧‍👦" + "e\u0301" * 50,
    "beyond": "\U0010ffff\uffff\ufffe",
    "JSON": '{"a": [1, NaN], "_type": "x"}',
    "path": "../../../etc/passwd",
    "long": "x" * 1_000_000,
    "NaN": "NaN",
    "null": "null",
    "spaces": "  a  ",
}
FIELDS = ("displayName", "notes", "description", "groupName", "jobType", "host", "commit", "jobProgram")
READ = "displayName notes description group jobType host commit jobProgram tags config summaryMetrics"


@pytest.mark.parametrize("kind", TEXTS)
def test_texts_come_back_as_they_went_in(client: Client, kind: str) -> None:
    text = TEXTS[kind]
    document = {"k": {"value": text}, text: {"value": [text, {text: None}]}}
    client.upsert(
        "r", **dict.fromkeys(FIELDS, text), tags=[text, "x"], config=document, summaryMetrics={text: text}
    )
    found = client.run("r", READ)
    names = {"groupName": "group"}
    assert all(found[names.get(field, field)] == text for field in FIELDS) and found["tags"] == [text, "x"]
    assert json.loads(found["config"]) == document and json.loads(found["summaryMetrics"]) == {text: text}
    row = {"_step": 0, text: text, "nested": {text: 1}}
    client.log("r", 0, [row])
    client.stream("r", files={"output.log": {"offset": 0, "content": [text]}})
    client.stream("r", files={"wandb-events.jsonl": {"offset": 0, "content": [json.dumps({text: text})]}})
    found = client.run(
        "r", "history events historyKeys systemMetrics logLines(first: 5) { edges { node { line } } }"
    )
    assert [json.loads(line) for line in found["history"]] == [row]
    assert json.loads(found["events"][0]) == {text: text}
    assert (text in found["historyKeys"]["keys"]) == (len(text) < 5000)
    if kind == "long":
        return  # longer than a filter may be
    assert client.names({"displayName": text}) == ["r"] and client.names({"displayName": text + "x"}) == []
    assert client.names({"tags": {"$in": [text]}}) == ["r"]


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a/b", "a\\b", "a\x00b", "a\nb", "%2e%2e", "a?b", "a#b", "x" * 129, " a"]
)
def test_names_that_could_not_stand_in_an_address_are_refused(client: Client, name: str) -> None:
    for fields in ({"name": name, "modelName": "p"}, {"name": "r", "modelName": name}):
        if name == "" and "r" in fields.values():
            continue  # no project named is the project for what has none
        text = refusal(client.post(UPSERT, input=fields))
        assert "name" in text
    assert client.query("{ projects { edges { node { name } } } }")["projects"]["edges"] in (
        [],
        client_projects(client),
    )


def client_projects(client: Client) -> list[Any]:
    """The projects that were made while only the run's name was wrong: none, since nothing of it is kept."""
    return []


@pytest.mark.parametrize(
    "name", ["CON", "nul.txt", "a.", "...", "-rf", "~root", "e\u0301", "<script>", "'", "日本", "a b"]
)
def test_names_that_are_only_odd_are_kept(client: Client, name: str) -> None:
    client.project = name
    client.upsert(name)
    assert client.run(name, "name") == {"name": name}
    client.log(name, 0, [{"_step": 0}])  # the same name in an address, where it is quoted
    other = unicodedata.normalize("NFC", name)
    assert (client.run(other, "name") is not None) == (other == name)


FILE_NAMES = [
    "CON",
    "a.",
    "a..b/c...",
    "-rf",
    "~/x",
    "C:x",
    "e\u0301/\u00e9",
    "<script>.html",
    "a\nb",
    "a%2f..%2fb",
    "%00",
    ".hidden/.x",
    "x" * 1024,
    "日本/\U0001f600.txt",
    "a b?c=d&e#f;g",
    "file_stream",
    " ",
]


def test_file_names_that_are_only_odd_are_kept_and_lie_nowhere(client: Client, server: LocalServer) -> None:
    client.upsert("r1")
    made = client.query(CREATE, entity=client.entity, project="p", run="r1", files=FILE_NAMES)[
        "createRunFiles"
    ]
    for name, file in zip(FILE_NAMES, made["files"], strict=True):
        body = b"of " + name.encode()
        assert client.request("PUT", file["uploadUrl"], auth=None, data=body).status_code == 200, name
    found = client.query(FILES, project="p", entity=client.entity, name="r1", fileLimit=100)["project"]["run"]
    for edge in found["files"]["edges"]:
        content = client.request("GET", edge["node"]["url"], auth=None).content
        assert content == b"of " + edge["node"]["name"].encode()
    assert {edge["node"]["name"] for edge in found["files"]["edges"]} == set(FILE_NAMES)
    assert all(len(path.name) == 32 for path in (server.home / "files").glob("*/*"))


@pytest.mark.parametrize(
    "path",
    [
        "../x",
        "%2e%2e/x",
        "..%2fx",
        "a/../../x",
        "/etc/passwd",
        "%2fetc%2fpasswd",
        "a%5c..%5cx",
        "a%00b",
        "a//b",
        "",
        "%c0%ae%c0%ae/../x",
        "....//../x",
        "x" * 1025,
        "a/" * 600,
    ],
)
def test_paths_that_lead_elsewhere_are_refused(client: Client, path: str) -> None:
    client.upsert("r1")
    for method in ("PUT", "GET", "HEAD"):
        start = f"{method} /files/{client.entity}/p/r1/{path} HTTP/1.1"
        answer = raw(client, head(client, start, "Content-Length: 1") + (b"x" if method == "PUT" else b""))
        assert answer.status in (400, 404), (method, answer)
    assert client.run("r1", "fileCount") == {"fileCount": 0}


def test_addresses_of_others_do_not_open_by_tricks(client: Client, server: LocalServer) -> None:
    client.upsert("r1")
    client.request("PUT", f"/files/{client.entity}/p/r1/a.txt", data=b"secret")
    other = Client(client.url, "local", server.api_key)
    other.upsert("r1")
    mine, theirs = "/files/local/p/r1", f"/files/{client.entity}/p/r1/a.txt"
    for path in (
        theirs,
        f"{mine}/../../../..{theirs}",
        f"{mine}/..%2f..%2f..{quote(theirs, safe='')}",
        theirs.upper(),
    ):
        answer = raw(other, head(other, f"GET {path} HTTP/1.1"))
        assert answer.status in (400, 403, 404) and b"secret" not in answer.body


def test_nothing_is_stored_outside_the_data_folder(client: Client, server: LocalServer) -> None:
    outside = {path: sorted(os.listdir(path)) for path in (server.home.parent, Path("/"), Path.home())}
    client.upsert("r1")
    for name in ("../escape", "/escape", "a/../../escape"):
        client.post(CREATE, entity=client.entity, project="p", run="r1", files=[name])
        raw(
            client,
            head(client, f"PUT /files/{client.entity}/p/r1/{name} HTTP/1.1", "Content-Length: 1") + b"x",
        )
        client.request("PUT", f"/files/{client.entity}/p/r1/{quote(name, safe='')}", data=b"x")
    assert outside == {path: sorted(os.listdir(path)) for path in outside}


@pytest.mark.parametrize(
    "body",
    [
        {"files": "x"},
        {"files": [1]},
        {"files": {"wandb-history.jsonl": None}},
        {"files": {"wandb-history.jsonl": {"offset": -1, "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": 1.5, "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": True, "content": []}}},
        {"files": {"wandb-history.jsonl": {"offset": 2**31, "content": ["{}"]}}},
        {"files": {"wandb-history.jsonl": {"offset": "0", "content": ["{}"]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": [1]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": [{}]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ["[" * 100_000]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"a":' * 300 + "1" + "}" * 300]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ["9" * 5000]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ['{"a": ' + "9" * 5000 + "}"]}}},
        {"files": {"wandb-history.jsonl": {"offset": 0, "content": ["{}", "{"]}}},
        {"files": {"wandb-events.jsonl": {"offset": 0, "content": ["[]"]}}},
        {"files": {"wandb-summary.json": {"offset": 0, "content": ["1"]}}},
        {"files": {"wandb-summary.json": {"offset": 0, "content": ["{" * 100_000]}}},
        {"files": {"output.log": {"offset": 0, "content": [None]}}},
        {"complete": "no"},
        {"complete": 1},
        {"preempting": {}},
    ],
)
def test_streams_that_make_no_sense_are_refused_by_name(client: Client, body: dict[str, Any]) -> None:
    client.upsert("r1")
    text = refusal(client.stream("r1", check=False, **body))
    name = next(iter(body["files"])) if isinstance(body.get("files"), dict) else [*body][-1]
    assert name in text
    shown = client.run("r1", "state historyLineCount eventsLineCount logLineCount summaryMetrics")
    assert list(shown.values()) == ["running", 0, 0, 0, "{}"]


def test_rows_that_are_only_odd_are_kept(client: Client) -> None:
    client.upsert("r1")
    rows = [
        '{"_step": 0, "a": NaN, "b": -Infinity, "c": 1e400}',
        '{"_step": 1, "a": ' + "9" * 400 + "}",
        '{"_step": 2, "a": "\\ud800", "\\udfff": 1}',
        '{"_step": 3, "a": 1, "a": 2}',
        '{"_step": 4, "a": ' + "[" * 190 + "]" * 190 + "}",
        '{"_step": 1e300, "a": 1}',
        '{"_step": "6", "a": null}',
        '{"_step": true}',
        '{"_step": -5}',
        "{}",
        '{"": {"": {"": 1}}, "a.b": 1, "a": {"b": 2}}',
        "{" + ",".join(f'"k{n}": 1' for n in range(20_000)) + "}",
        '{"' + "deep" * 50 + '": ' + '{"x":' * 150 + "1" + "}" * 150 + "}",
    ]
    client.log("r1", 0, rows)
    found = client.run("r1", "history(samples: 100) historyKeys historyTail")
    assert sorted(found["history"]) == sorted(rows)
    document = (
        'query S($s: [JSONString!]!) { project(name: "p") { run(name: "r1") { sampledHistory(specs: $s) } } }'
    )
    for keys in (["a"], ["_step", "a"], [""], ["k1"]):
        spec = json.dumps({"keys": keys, "samples": 100})
        assert client.query(document, s=[spec])["project"]["run"]["sampledHistory"][0]
    client.log("r1", 0, rows[::-1])  # overwritten by others
    assert client.run("r1", "historyLineCount") == {"historyLineCount": len(rows)}


@pytest.mark.parametrize("code", ["0", 1.5, True, 10**30, [], {}])
def test_an_odd_exit_code_is_still_the_end(client: Client, code: Any) -> None:
    client.upsert("r1")
    client.stream("r1", complete=True, exitcode=code)
    assert client.run("r1", "state")["state"] in ("failed", "finished")


def command(home: Path, *arguments: bytes) -> Result:
    """A command with arguments as the shell may pass them: bytes of any kind but NUL."""
    result = CliRunner().invoke(cli, ["--home", str(home), *map(os.fsdecode, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


@pytest.mark.parametrize(
    "name", [b"\xff\xfe", b"", b"a/b", b"..", b"a\nb", b"x" * 10_000, b" ", b"\x1b[31m", b"%s", b"\x7f"]
)
def test_names_on_the_command_line_are_checked(tmp_path: Path, name: bytes) -> None:
    done = command(tmp_path / "home", b"user", b"add", b"--", name)
    assert done.exit_code == 1 and ("invalid user name" in done.stderr or "not valid UTF-8" in done.stderr)
    assert len(done.stderr.strip().splitlines()) == 1


def test_odd_arguments_on_the_command_line(tmp_path: Path) -> None:
    home = tmp_path / "home"
    for arguments, expected in (
        ((b"team", b"add", b"--", b"\xff"), "not valid UTF-8"),
        ((b"user", b"add", b"ann", b"--api-key", b"\xff" * 50), "at least 40"),
        ((b"user", b"add", b"ann", b"--api-key", b"x" * 39 + b"\n"), "at least 40"),
        ((b"member", b"add", b"\xff", b"\xff"), "not valid UTF-8"),
        ((b"member", b"list", b"\xff"), "not valid UTF-8"),
        ((b"user", b"remove", b"\xff"), "not valid UTF-8"),
        ((b"start", b"--port", b"99999"), "--port"),
    ):
        done = command(home, *arguments)
        assert done.exit_code in (1, 2) and expected in done.stderr, (arguments, done.stderr)
    kept = command(home, b"user", b"add", "日本'\";<b>".encode(), b"--json")
    assert kept.exit_code == 0 and json.loads(kept.stdout)["user"] == "日本'\";<b>"
