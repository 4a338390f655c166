"""UpdateRun and WriteService through a real daemon, against the real local server behind a meddling proxy."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from runtap.v1 import runs_pb2 as pb
from runtap.v1 import writes_pb2 as wpb
from tests.rpc.conftest import StartDaemon
from tests.support.daemon import eventually
from tests.support.local_server import LocalServer, local_server
from tests.support.meddling_proxy import Exchange, lose_answer, pass_on, refuse, rewrite
from tests.support.scripted_world import all_pages
from tests.support.status import failure_of
from tests.support.writer import CALL_S, MUTATION, Writer, lr_of, new_writer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalServer]:
    with local_server(tmp_path_factory.mktemp("local") / "home") as running:
        yield running


@pytest.fixture
def writer(server: LocalServer, start: StartDaemon) -> Iterator[Writer]:
    with new_writer(server, start()) as made:
        made.login(store=False)
        made.daemon.secrets.append(made.server.api_key)
        yield made


def failure(writer: Writer, request: pb.UpdateRunRequest) -> Any:
    with pytest.raises(grpc.RpcError) as caught:
        writer.update(request)
    return failure_of(caught.value)


def get(writer: Writer, **which: str) -> wpb.Write:
    write: wpb.Write = writer.writes.GetWrite(wpb.GetWriteRequest(**which), timeout=CALL_S).write
    return write


# What becomes of a write


def test_an_applied_update_is_at_the_server_and_in_the_answer(writer: Writer) -> None:
    writer.read()
    before = dict(writer.proxy.counts)

    answer = writer.update(
        writer.request(0.2, summary=[pb.JsonEdit(path=["best", "acc"], set_json="0.9")], tags_add=["new"])
    )

    assert answer.write.state == wpb.WRITE_STATE_APPLIED and answer.write.attempts == 1
    assert list(answer.write.fields) == ["config.lr", "summary.best.acc", "tags"]
    assert lr_of(answer.run.config_json) == 0.2 and answer.run.pending_writes == 0
    at_server = writer.server.run(writer.run, "config summaryMetrics tags")
    assert json.loads(at_server["summaryMetrics"]) == {"acc": 0.5, "best": {"acc": 0.9}}
    assert lr_of(at_server["config"]) == 0.2 and sorted(at_server["tags"]) == ["base", "new"]
    assert sum(writer.proxy.counts.values()) - sum(before.values()) == 2, "one look and one mutation"
    assert get(writer, request_id=answer.write.request_id) == answer.write


def test_an_update_that_changes_nothing_is_not_sent(writer: Writer) -> None:
    assert writer.update(writer.request(0.1)).write.state == wpb.WRITE_STATE_APPLIED
    assert writer.mutations == 0


def test_others_keys_stay_and_changed_values_are_reported(writer: Writer) -> None:
    writer.read()
    writer.server.upsert(writer.run, config={"lr": {"value": 0.7}, "theirs": {"value": 1}})

    request = writer.request(0.2)
    request.config[0].base_json = "0.1"
    write = writer.update(request).write

    assert [(c.field, c.theirs_json, c.mine_json, c.base_json) for c in write.conflicts] == [
        ("config.lr", "0.7", "0.2", "0.1")
    ]
    config = json.loads(writer.server.run(writer.run, "config")["config"])
    assert config["theirs"]["value"] == 1 and config["lr"]["value"] == 0.2


def test_a_broken_expectation_sends_nothing(writer: Writer) -> None:
    told = failure(
        writer,
        writer.request(expect=[pb.Expectation(field="config", path=["lr"], value_json="0.5")]),
    )

    assert told.code == grpc.StatusCode.ABORTED and told.reason == "WRITE_CONFLICT"
    assert "config.lr is 0.1, expected was 0.5" in told.message and writer.path in told.message
    write = get(writer, write_id=told.metadata["write_id"])
    assert write.state == wpb.WRITE_STATE_CONFLICT and writer.mutations == 0


def test_an_etag_guards_the_whole_run(writer: Writer) -> None:
    etag = writer.read().etag

    applied = writer.update(writer.request(0.2, etag=etag))
    assert applied.run.etag and applied.run.etag != etag
    assert failure(writer, writer.request(0.3, etag=etag)).reason == "WRITE_CONFLICT"
    assert writer.update(writer.request(0.3, etag=applied.run.etag)).write.state == wpb.WRITE_STATE_APPLIED


def test_a_server_that_keeps_something_else(writer: Writer) -> None:
    def keep_old(data: Any) -> None:
        data["upsertBucket"]["bucket"]["config"] = '{"lr": {"value": 0.1}}'

    writer.proxy.once(MUTATION, rewrite(keep_old))

    told = failure(writer, writer.request(0.2))

    assert told.code == grpc.StatusCode.FAILED_PRECONDITION and told.reason == "WRITE_NOT_HONOURED"
    assert "config.lr is 0.1 instead of 0.2" in told.message
    (kept,) = get(writer, write_id=told.metadata["write_id"]).not_honoured
    assert (kept.field, kept.theirs_json, kept.mine_json) == ("config.lr", "0.1", "0.2")


@pytest.mark.parametrize("status", [200, 400, 403])
def test_a_refusal_is_told_in_the_servers_words(writer: Writer, status: int) -> None:
    writer.proxy.always(MUTATION, refuse(status, "the run is locked"))

    told = failure(writer, writer.request(0.2))

    assert told.reason == "WRITE_REFUSED" and "the run is locked" in told.message
    assert get(writer, write_id=told.metadata["write_id"]).state == wpb.WRITE_STATE_FAILED


def test_a_run_that_is_not_there(writer: Writer) -> None:
    request = writer.request()
    request.path = f"{writer.server.entity}/{writer.server.project}/nowhere"

    told = failure(writer, request)

    assert told.reason == "WRITE_REFUSED" and "nowhere" in told.message


@pytest.mark.parametrize("status", [429, 500, 503])
def test_passing_trouble_ends_applied(writer: Writer, status: int) -> None:
    writer.proxy.once(MUTATION, refuse(status, "later"), refuse(status, "later"))

    assert writer.update(writer.request(0.2)).write.state == wpb.WRITE_STATE_APPLIED
    assert writer.lr_at_server() == 0.2 and writer.mutations == 3


def test_a_lost_answer_is_read_and_not_sent_again(writer: Writer) -> None:
    writer.proxy.once(MUTATION, lose_answer)

    write = writer.update(writer.request(0.2)).write

    assert write.state == wpb.WRITE_STATE_APPLIED and write.attempts == 1
    assert writer.lr_at_server() == 0.2 and writer.mutations == 1


# Requests


def test_a_bad_request_names_the_field(writer: Writer) -> None:
    told = failure(writer, writer.request(tags_add=[""]))

    assert told.code == grpc.StatusCode.INVALID_ARGUMENT and told.fields == ["tags_add"]
    assert not writer.writes.ListWrites(wpb.ListWritesRequest(), timeout=CALL_S).writes


def test_a_repeated_request_is_one_write(writer: Writer) -> None:
    first = writer.update(writer.request(0.2, "once"))
    again = writer.update(writer.request(0.2, "once", wait_for=pb.WAIT_FOR_ACCEPTED))

    assert first.write == again.write and writer.mutations == 1
    told = failure(writer, writer.request(0.3, "once"))
    assert told.code == grpc.StatusCode.INVALID_ARGUMENT and told.reason == "REQUEST_ID_REUSED"
    assert told.metadata["write_id"] == first.write.write_id


# Waiting


def test_reads_show_a_write_before_the_server_has_it(writer: Writer) -> None:
    writer.read()
    let_go = threading.Event()

    def hold(exchange: Exchange) -> None:
        let_go.wait(CALL_S)
        pass_on(exchange)

    writer.proxy.once(MUTATION, hold)
    try:
        accepted = writer.update(writer.request(0.2, wait_for=pb.WAIT_FOR_ACCEPTED))

        assert accepted.write.state in (wpb.WRITE_STATE_ACCEPTED, wpb.WRITE_STATE_SENDING)
        assert lr_of(accepted.run.config_json) == 0.2 and accepted.run.pending_writes == 1
        shown = writer.read()
        assert lr_of(shown.config_json) == 0.2 and shown.pending_writes == 1
        assert writer.lr_at_server() == 0.1
    finally:
        let_go.set()
    assert writer.wait_all() == wpb.WaitWritesResponse()
    settled = writer.read()
    assert lr_of(settled.config_json) == 0.2 and settled.pending_writes == 0


def test_what_cannot_be_sent_in_time_is_pending_and_says_why(writer: Writer) -> None:
    writer.proxy.always(MUTATION, refuse(503, "closed for lunch"))

    pending = writer.update(writer.request(0.2, wait_s=1.5))

    assert pending.write.state == wpb.WRITE_STATE_SENDING and pending.write.message
    eventually(
        lambda: "closed for lunch" in get(writer, write_id=pending.write.write_id).message,
        "the cause is told",
    )
    assert writer.status().pending_writes == 1
    assert writer.writes.WaitWrites(wpb.WaitWritesRequest(), timeout=1.0).pending == 1
    writer.proxy.always(MUTATION, None)
    assert writer.wait_all().pending == 0
    assert writer.lr_at_server() == 0.2


def test_waiting_tells_what_was_not_applied(writer: Writer) -> None:
    def hold(exchange: Exchange) -> None:
        eventually(lambda: writer.daemon.open_calls() == 1, "somebody waits")
        refuse(403, "no")(exchange)

    answers: list[wpb.WaitWritesResponse] = []
    waiting = threading.Thread(target=lambda: answers.append(writer.wait_all()))
    writer.proxy.once(MUTATION, hold)
    writer.update(writer.request(0.2, wait_for=pb.WAIT_FOR_ACCEPTED))
    waiting.start()
    waiting.join(CALL_S)

    assert answers[0].pending == 0
    assert [write.state for write in answers[0].not_applied] == [wpb.WRITE_STATE_FAILED]


# Looking into the journal


def test_listing_by_pages_runs_and_states(writer: Writer) -> None:
    ids = [writer.update(writer.request(1.0 + n)).write.write_id for n in range(5)]
    failure(writer, writer.request(9.0, etag='"no"'))

    def pages(**query: Any) -> list[list[str]]:
        def ask(token: str) -> wpb.ListWritesResponse:
            request = wpb.ListWritesRequest(page_size=2, page_token=token, **query)
            page: wpb.ListWritesResponse = writer.writes.ListWrites(request, timeout=CALL_S)
            return page

        return [[write.write_id for write in page.writes] for page in all_pages(ask)]

    newest_first = ids[::-1]
    applied = [wpb.WRITE_STATE_APPLIED]
    assert pages(states=applied) == [newest_first[:2], newest_first[2:4], newest_first[4:]]
    assert sum(len(page) for page in pages(run_path=writer.path)) == 6
    assert pages(run_path="other/project/run") == [[]]

    first = writer.writes.ListWrites(wpb.ListWritesRequest(page_size=2), timeout=CALL_S)
    for token, states in ((first.next_page_token, applied), ("made-up", [])):
        with pytest.raises(grpc.RpcError) as caught:
            writer.writes.ListWrites(wpb.ListWritesRequest(page_token=token, states=states), timeout=CALL_S)
        assert failure_of(caught.value).reason == "INVALID_PAGE_TOKEN"


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (wpb.GetWriteRequest(write_id="none"), "WRITE_NOT_FOUND"),
        (wpb.GetWriteRequest(request_id="none"), "WRITE_NOT_FOUND"),
        (wpb.GetWriteRequest(), "INVALID_FIELD"),
    ],
)
def test_writes_that_cannot_be_found(writer: Writer, request_: wpb.GetWriteRequest, reason: str) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        writer.writes.GetWrite(request_, timeout=CALL_S)
    assert failure_of(caught.value).reason == reason


def test_other_accounts_do_not_see_a_write(server: LocalServer, writer: Writer) -> None:
    write_id = writer.update(writer.request(0.2, "mine")).write.write_id

    with new_writer(server, writer.daemon) as other:
        other.login()
        for request in (wpb.GetWriteRequest(write_id=write_id), wpb.GetWriteRequest(request_id="mine")):
            with pytest.raises(grpc.RpcError) as caught:
                other.writes.GetWrite(request, timeout=CALL_S)
            assert failure_of(caught.value).reason == "WRITE_NOT_FOUND"


# Keys


@pytest.mark.parametrize("stored", [True, False])
def test_after_a_restart_only_keys_on_disk_send_unattended(
    server: LocalServer, start: StartDaemon, stored: bool
) -> None:
    daemon = start()
    with new_writer(server, daemon) as writer:
        writer.login(store=stored)
        writer.proxy.always(MUTATION, refuse(503, "closed"))
        write = writer.update(writer.request(0.2, wait_s=0.2)).write
        daemon.stop()
        writer.proxy.always(MUTATION, None)

        writer.restart(start(daemon.home))

        if not stored:
            eventually(lambda: writer.status().blocked_writes == 1, "the write waits for its key")
            writer.login(store=False)
        assert writer.until_state(write.write_id, wpb.WRITE_STATE_APPLIED).message == ""
        assert writer.lr_at_server() == 0.2 and writer.status().pending_writes == 0
