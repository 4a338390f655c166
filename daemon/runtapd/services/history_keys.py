"""GetHistoryKeys of HistoryService: pages of the keys of a history.

A page goes on behind a name, not at a number, so that keys which come up between two pages shift nothing.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Sequence

from runtap.v1 import history_pb2 as pb
from runtapd.cache import keys
from runtapd.faults import InvalidRequest
from runtapd.model.history_keys import HistoryKey
from runtapd.paging import Sealer
from runtapd.reads.history_keys import HistoryKeyReads, RunKeys
from runtapd.reads.partitions import Partitions
from runtapd.services import convert, spots
from runtapd.services.calls import Call

LARGEST_PAGE = 2**31 - 1
"""Bytes limit a page long before."""
_KIND = "history_keys_token"
_FIELD = "page_token"
_REASON = "INVALID_PAGE_TOKEN"


class HistoryKeyPages:
    """Answers for the keys of histories."""

    def __init__(self, partitions: Partitions, reads: HistoryKeyReads, sealer: Sealer) -> None:
        self._partitions = partitions
        self._reads = reads
        self._sealer = sealer

    async def page(self, request: pb.GetHistoryKeysRequest, call: Call) -> pb.GetHistoryKeysResponse:
        """Returns the page that is asked for."""
        part = self._partitions.get(call.account_id)
        path = convert.path_of_run(request.path, request.defaults, part.account)
        purpose = keys.answer_key("history_keys", account=part.account.account_id, path=str(path))
        size = convert.page_size(request.page_size, LARGEST_PAGE, LARGEST_PAGE)
        behind = self._opened(request.page_token, purpose)
        wishes, wait = convert.wishes(request.options), convert.wait(call, request.options)
        found = await self._reads.keys(part, path, wishes, wait)
        messages, rest = await asyncio.to_thread(_page, found.keys, behind, size)
        token = self._sealer.seal(_KIND, {"for": purpose, "behind": messages[-1].key}) if rest else ""
        return _answer(found, messages, token)

    def _opened(self, token: str, purpose: str) -> str | None:
        """Returns the last key of the page before; None for the first page."""
        if not token:
            return None
        content = self._sealer.open(_KIND, token, field=_FIELD, reason=_REASON)
        if content["for"] != purpose:
            raise InvalidRequest(
                f"{_FIELD} belongs to the keys of another run; begin these without it",
                reason=_REASON,
                field=_FIELD,
            )
        return str(content["behind"])


def _page(found: Sequence[HistoryKey], behind: str | None, size: int) -> tuple[list[pb.HistoryKey], bool]:
    """Returns the keys of one page, and whether there are more."""
    start = 0 if behind is None else bisect_right(found, behind, key=lambda one: one.key)
    messages = [
        pb.HistoryKey(key=one.key, type_counts=one.type_counts) for one in found[start : start + size]
    ]
    fitting = spots.fitting(messages)
    return messages[:fitting], start + fitting < len(found)


def _answer(found: RunKeys, messages: list[pb.HistoryKey], token: str) -> pb.GetHistoryKeysResponse:
    return pb.GetHistoryKeysResponse(
        keys=messages,
        last_step=found.last_step,
        freshness=convert.freshness(found.freshness),
        next_page_token=token,
        total_size=len(found.keys),
        history_line_count=found.line_count,
    )
