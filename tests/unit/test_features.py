"""What servers can do: learnt with the viewer or by one refusal, shared, kept on disk, and learnt anew."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runtap_query import normalised, parse_filter, parse_order
from runtapd import faults
from runtapd.upstream import documents
from runtapd.upstream.api import RunChange
from runtapd.upstream.features import DAY_S, WEEK_S, ServerFeatures
from runtapd.upstream.graphql import GraphQLUpstream
from runtapd.upstream.pushdown import Servers, Trust
from tests.support.upstream import KEY, ScriptedUpstream
from tests.support.upstream_client import soon, use
from tests.support.upstream_faults import Delay, Html, Status, UpstreamFailure
from tests.support.upstream_schema import asked

OTHER_KEY = "canary0scripted0key0of0the0other0user0000"
FULL_FRAGMENT_OF_0_12 = (
    "id tags name displayName sweepName state config group jobType commit readOnly createdAt heartbeatAt description "
    "notes systemMetrics summaryMetrics historyLineCount user{name username} historyKeys"
)


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def server() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as server:
        server.add_run("team", "vision", "r1", config={"lr": {"value": 0.1}})
        server.add_user(OTHER_KEY, "bob", "bobs")
        yield server


async def viewer(upstream: GraphQLUpstream) -> str:
    return (await upstream.viewer(soon())).username


async def read(upstream: GraphQLUpstream) -> str:
    return (await upstream.run("team", "vision", "r1", soon())).run_id


def optional(server: ScriptedUpstream, operation: str = "Run") -> set[str]:
    """The optional fields that the last document asked for."""
    fields = {name for kind, name in asked(server.last(operation).document) if kind == "Run"}
    return fields & set(documents.OPTIONAL_FIELDS["Run"])


# Introspection


def test_fields_are_learnt_with_the_viewer_at_no_cost(server: ScriptedUpstream) -> None:
    server.lacks = {("Run", "projectId")}
    features = ServerFeatures()
    assert use(server, viewer, features=features) == "ada" and server.count() == 1
    assert use(server, read, features=features) == "r1"
    assert server.counts() == {"Viewer": 1, "Run": 1} and optional(server) == {"updatedAt"}
    # Another account of the same server knows them too, and asks no more.
    assert use(server, viewer, key=OTHER_KEY, features=features) == "bob"
    use(server, read, key=OTHER_KEY, features=features)
    assert server.counts() == {"Viewer": 2, "Run": 2} and "__type" not in server.last("Viewer").document


def test_what_introspection_told_survives_a_restart(server: ScriptedUpstream, tmp_path: Path) -> None:
    server.lacks = {("Run", "updatedAt"), ("Project", "description")}
    use(server, viewer, features=ServerFeatures(tmp_path))
    again = ServerFeatures(tmp_path)
    use(server, read, features=again)
    assert server.counts() == {"Viewer": 1, "Run": 1} and optional(server) == {"projectId"}
    assert not again.wants_introspection(server.url)
    assert again.optional(server.url, "Project") == ()
    assert again.optional(server.url, "Sweep") == documents.OPTIONAL_FIELDS["Sweep"]


REFUSALS: list[UpstreamFailure] = [
    Status(400), Status(403), Status(422), Status(500), Html(), Delay(30), Status(200, b'{"errors":["no"]}'),
]  # fmt: skip


@pytest.mark.parametrize("failure", REFUSALS, ids=lambda f: f"{type(f).__name__}{getattr(f, 'code', '')}")
def test_refused_introspection_costs_one_request_a_day(
    server: ScriptedUpstream,
    tmp_path: Path,
    clock: Clock,
    failure: UpstreamFailure,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("runtapd.upstream.graphql.INTROSPECTION_S", 0.5)
    server.fail("Viewer", failure)
    assert use(server, viewer, features=ServerFeatures(tmp_path, clock)) == "ada"
    assert ["__type" in request.document for request in server.requests] == [True, False]
    features = ServerFeatures(tmp_path, clock)
    use(server, viewer, features=features)
    assert server.count("Viewer") == 3 and "__type" not in server.last("Viewer").document
    use(server, read, features=features)
    assert optional(server) == {"updatedAt", "projectId"}, "nothing is known, so all are asked for"
    clock.now += DAY_S
    use(server, viewer, features=features)
    assert "__type" in server.last("Viewer").document


@pytest.mark.parametrize(
    "types",
    [
        {"Run": None, "Project": None, "Sweep": None},
        {},
        {"Run": {"fields": None}, "Project": {"fields": []}, "Sweep": {"fields": "none"}},
    ],
)
def test_an_answer_without_types_is_a_refusal_that_knows_the_viewer(
    server: ScriptedUpstream, types: dict[str, Any]
) -> None:
    features = ServerFeatures()
    answer = {"data": {"viewer": server.users[KEY], **types}, "errors": [{"message": "not allowed"}]}
    server.fail("Viewer", Status(200, json.dumps(answer).encode()))
    assert use(server, viewer, features=features) == "ada" and server.count() == 1
    assert not features.wants_introspection(server.url)


def test_an_unknown_key_is_told_at_once(server: ScriptedUpstream) -> None:
    features = ServerFeatures()
    with pytest.raises(faults.NeedsLogin):
        use(server, viewer, key="x" * 40, features=features)
    assert server.count() == 1 and features.wants_introspection(server.url)


def test_a_server_in_trouble_is_not_taken_for_one_that_refuses(server: ScriptedUpstream) -> None:
    features = ServerFeatures()
    server.fail("Viewer", Status(401), times=1)
    with pytest.raises(faults.NeedsLogin):
        use(server, viewer, features=features)
    server.fail("Viewer", Status(404), times=2)
    with pytest.raises(faults.UpstreamRefused):
        use(server, viewer, features=features)
    assert features.wants_introspection(server.url)


# Refused documents


def test_a_refusal_of_optional_fields_is_remembered_for_a_day(
    server: ScriptedUpstream, tmp_path: Path, clock: Clock
) -> None:
    server.lacks_updated_at = True
    use(server, read, features=ServerFeatures(tmp_path, clock))
    assert server.count("Run") == 2 and optional(server) == set()
    features = ServerFeatures(tmp_path, clock)
    use(server, read, features=features)
    assert server.count("Run") == 3 and optional(server) == set()
    clock.now += DAY_S
    server.lacks_updated_at = False
    use(server, read, features=features)
    assert server.count("Run") == 4 and optional(server) == {"updatedAt", "projectId"}


def test_a_field_that_was_told_and_is_refused_is_learnt_anew(
    server: ScriptedUpstream, tmp_path: Path, clock: Clock
) -> None:
    features = ServerFeatures(tmp_path, clock)
    use(server, viewer, features=features)
    server.lacks_updated_at = True  # an older release, after all
    use(server, read, features=features)
    assert server.count("Run") == 2 and optional(server) == set()
    use(server, viewer, features=features)
    assert "__type" in server.last("Viewer").document
    use(server, read, features=features)
    assert server.count("Run") == 3 and optional(server) == {"projectId"}


def test_a_server_that_tells_of_what_it_refuses_stays_in_the_base_shape(
    server: ScriptedUpstream, clock: Clock
) -> None:
    features = ServerFeatures(clock=clock)
    for _ in range(3):
        features.told(server.url, {"Run": ["id", "updatedAt"]})
        features.took_base_only(server.url, "Run")
    features.told(server.url, {"Run": ["id", "updatedAt"]})
    assert features.optional(server.url, "Run") == ()
    clock.now += DAY_S
    assert features.optional(server.url, "Run") == ("updatedAt",)


def test_what_was_told_is_believed_for_a_week(server: ScriptedUpstream, clock: Clock) -> None:
    features = ServerFeatures(clock=clock)
    server.lacks = {("Run", "updatedAt")}
    use(server, viewer, features=features)
    clock.now += WEEK_S - 1
    assert features.optional(server.url, "Run") == ("projectId",)
    clock.now += 1
    assert features.optional(server.url, "Run") == ("updatedAt", "projectId")
    assert features.wants_introspection(server.url)


def test_a_clock_that_was_wrong_is_not_believed_for_ever(server: ScriptedUpstream, clock: Clock) -> None:
    features = ServerFeatures(clock=clock)
    features.took_base_only(server.url, "Run")
    features.does_not_sort(server.url)
    clock.now -= 365 * DAY_S
    assert features.optional(server.url, "Run") and features.sorts(server.url)


def test_a_refusal_of_something_else_is_not_blamed_on_the_fields(server: ScriptedUpstream) -> None:
    features = ServerFeatures()
    server.fail("Run", Status(400), times=2)
    with pytest.raises(faults.UpstreamRefused):
        use(server, read, features=features)
    use(server, read, features=features)
    assert server.count("Run") == 3 and optional(server) == {"updatedAt", "projectId"}
    server.fail("Run", Status(400))
    with pytest.raises(faults.UpstreamRefused):
        use(server, read, features=features)
    assert server.count("Run") == 4, "it has answered these fields before"


def test_a_change_asks_only_for_what_is_known_and_is_sent_once(server: ScriptedUpstream) -> None:
    features = ServerFeatures()

    async def change(upstream: GraphQLUpstream) -> None:
        before = await upstream.run("team", "vision", "r1", soon())
        upstream.features = features
        await upstream.change_run("storage-r1", before, RunChange(notes="n"), soon())

    use(server, change)
    assert optional(server, "UpsertBucket") == set(), "nothing is known"
    features.took_all(server.url, "Run")
    use(server, change)
    assert optional(server, "UpsertBucket") == {"updatedAt", "projectId"}
    server.requests.clear()
    server.lacks_updated_at = True  # between the read and the change
    with pytest.raises(faults.UpstreamRefused):
        use(server, change)
    assert server.count("UpsertBucket") == 1


def test_the_base_shape_is_the_full_fragment_of_0_12() -> None:
    words = re.findall(r"\w+|[{}]", FULL_FRAGMENT_OF_0_12)
    base = re.findall(r"\w+|[{}]", documents.run_fields(()))
    assert sorted(base) == sorted(words)
    assert sorted(re.findall(r"\w+|[{}]", documents.run_fields(documents.OPTIONAL_FIELDS["Run"]))) == sorted(
        [*words, "updatedAt", "projectId"]
    )


# On disk


def test_the_file_is_private_and_holds_no_secret(server: ScriptedUpstream, tmp_path: Path) -> None:
    file = tmp_path / "servers.json"
    use(server, viewer, features=ServerFeatures(tmp_path))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert KEY not in file.read_text() and "ada" not in file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["servers.json"]
    file.chmod(0o644)  # as from a backup
    ServerFeatures(tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


GOOD = {
    "told": {"Run": {"names": ["id", "updatedAt"], "until": 1_800_000_100.0}},
    "silent_until": 0.0,
    "refused_until": {},
    "trust": 1,
    "trust_until": 1_800_000_100.0,
    "unsorted_until": 0.0,
}


def kept(**changes: Any) -> bytes:
    return json.dumps({"format": 1, "servers": {"http://s": GOOD | changes}}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"null", b"[]", b'{"format": 1}', b'{"format": 1, "servers": []}', b'{"format": 2, "servers": {}}',
        b"\xff\xfe", b"[" * 100_000, b'{"format": 1, "servers": {"http://s": 5}}', kept(told={"Run": ["id"]}),
        kept(told=None), kept(silent_until="soon"), kept(refused_until={"Run": None}), kept(trust=None),
        kept(trust=float("inf")),
    ],
    ids=range(16),
)  # fmt: skip
def test_a_damaged_file_is_begun_anew(
    server: ScriptedUpstream, tmp_path: Path, clock: Clock, content: bytes
) -> None:
    (tmp_path / "servers.json").write_bytes(content)
    features = ServerFeatures(tmp_path, clock)
    assert features.wants_introspection("http://s") and features.trust("http://s") is None
    use(server, viewer, features=features)
    assert not ServerFeatures(tmp_path, clock).wants_introspection(server.url)


def test_a_whole_file_is_read(tmp_path: Path, clock: Clock) -> None:
    (tmp_path / "servers.json").write_bytes(kept())
    features = ServerFeatures(tmp_path, clock)
    assert features.optional("http://s", "Run") == ("updatedAt",) and features.trust("http://s") == 1


def test_a_folder_that_cannot_be_written_costs_only_the_memory(
    server: ScriptedUpstream, tmp_path: Path
) -> None:
    features = ServerFeatures(tmp_path / "nowhere")
    assert use(server, viewer, features=features) == "ada"
    assert not features.wants_introspection(server.url)


def test_servers_of_which_nothing_holds_any_more_are_forgotten(
    server: ScriptedUpstream, tmp_path: Path, clock: Clock
) -> None:
    (tmp_path / "servers.json").write_bytes(kept())
    clock.now += WEEK_S
    use(server, viewer, features=ServerFeatures(tmp_path, clock))
    assert list(json.loads((tmp_path / "servers.json").read_text())["servers"]) == [server.url]


def test_what_a_server_took_of_a_query_survives_a_restart(
    server: ScriptedUpstream, tmp_path: Path, clock: Clock
) -> None:
    query = (normalised(parse_filter({"config.lr": 1})), parse_order("-created_at"))

    async def learn(upstream: GraphQLUpstream) -> None:
        servers = Servers(lambda server: False, upstream.features)
        servers.took_only(server.url, Trust.COLUMNS)
        servers.does_not_sort(server.url)

    use(server, learn, features=ServerFeatures(tmp_path, clock))
    servers = Servers(lambda server: False, ServerFeatures(tmp_path, clock))
    assert servers.split(server.url, *query).trust is Trust.COLUMNS and not servers.sorts(server.url)
    clock.now += DAY_S
    assert servers.split(server.url, *query).trust is Trust.KEYS and servers.sorts(server.url)
