"""WriteService: looking into the journal, and waiting for what is in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from grpc.aio import ServicerContext

from runtap.v1 import writes_pb2 as pb
from runtapd.faults import InvalidRequest
from runtapd.journal import Entry, Journal, WriteState
from runtapd.model.paths import RunPath, run_path
from runtapd.paging import Sealer
from runtapd.services.calls import Call
from runtapd.services.convert import seconds
from runtapd.services.updates import ANSWER_TIME_S, DEFAULT_WAIT_S, write_message
from runtapd.writes import Writes

_PAGE = 100
_LARGEST_PAGE = 1000
_LARGEST_MESSAGE = 3 * 2**19


class WriteService:
    """Tells what became of writes."""

    capabilities = ("writes.get", "writes.list", "writes.wait")

    def __init__(
        self, writes: Writes, journal: Journal, sealer: Sealer, *, account_of: Callable[[str], str]
    ) -> None:
        """`account_of` turns the account a call names (empty: the default) into its id, or raises NeedsLogin."""
        self._writes = writes
        self._journal = journal
        self._account_of = account_of
        self._sealer = sealer

    async def GetWrite(
        self, request: pb.GetWriteRequest, context: ServicerContext[Any, Any]
    ) -> pb.GetWriteResponse:
        account_id = self._account_id(context)
        if request.write_id:
            entry = await self._writes.get(account_id, request.write_id)
        elif request.request_id:
            entry = await self._writes.get_by_request(account_id, request.request_id)
        else:
            raise InvalidRequest("say which write: write_id, or request_id", field="write_id")
        return pb.GetWriteResponse(write=write_message(entry))

    async def ListWrites(
        self, request: pb.ListWritesRequest, context: ServicerContext[Any, Any]
    ) -> pb.ListWritesResponse:
        account_id = self._account_id(context)
        path, states, size = _run_path(request.run_path), _states(request), _page_size(request)
        query: list[object] = [account_id, str(path or ""), sorted(states)]
        found = await self._journal.newest(
            account_id,
            path=(path.entity, path.project, path.run_id) if path else None,
            states=states,
            before_seq=self._before(request.page_token, query),
            limit=size + 1,
        )
        writes = _fitting(found[:size])
        token = ""
        if len(found) > len(writes):
            token = self._sealer.seal("writes", {"query": query, "before": found[len(writes) - 1].seq})
        return pb.ListWritesResponse(writes=writes, next_page_token=token)

    async def WaitWrites(
        self, request: pb.WaitWritesRequest, context: ServicerContext[Any, Any]
    ) -> pb.WaitWritesResponse:
        call = Call.of(context)
        path = _run_path(request.run_path)
        wait_s = seconds("timeout", request.timeout) if request.HasField("timeout") else DEFAULT_WAIT_S
        if call.deadline_s is not None:
            wait_s = min(wait_s, max(0.0, call.deadline_s - ANSWER_TIME_S))
        pending, ended = await self._writes.wait_all(
            self._account_id(context), str(path) if path else None, wait_s
        )
        return pb.WaitWritesResponse(
            pending=pending,
            not_applied=_fitting([entry for entry in ended if entry.state is not WriteState.APPLIED]),
        )

    def _account_id(self, context: ServicerContext[Any, Any]) -> str:
        return self._account_of(Call.of(context).account_id)

    def _before(self, token: str, query: list[object]) -> int | None:
        if not token:
            return None
        content = self._sealer.open("writes", token, field="page_token", reason="INVALID_PAGE_TOKEN")
        if content["query"] != query:
            raise InvalidRequest(
                "page_token belongs to another list; repeat run_path and states as they were",
                reason="INVALID_PAGE_TOKEN",
                field="page_token",
            )
        before: int = content["before"]
        return before


def _fitting(entries: Sequence[Entry]) -> list[pb.Write]:
    """The writes that fit one message."""
    messages: list[pb.Write] = []
    size = 0
    for entry in entries:
        message = write_message(entry)
        size += message.ByteSize() + 8
        if messages and size > _LARGEST_MESSAGE:
            break
        messages.append(message)
    return messages


def _run_path(text: str) -> RunPath | None:
    return run_path(text, "", "") if text else None


def _states(request: pb.ListWritesRequest) -> list[WriteState]:
    try:
        return [WriteState(state) for state in request.states]
    except ValueError as error:
        raise InvalidRequest("states has one that this daemon does not know", field="states") from error


def _page_size(request: pb.ListWritesRequest) -> int:
    if request.page_size < 0:
        raise InvalidRequest(f"page_size is {request.page_size}; it cannot be negative", field="page_size")
    return min(request.page_size or _PAGE, _LARGEST_PAGE)
