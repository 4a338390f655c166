"""How a scripted upstream speaks GraphQL over HTTP: requests taken apart, and answered as it is scripted."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.support.http_host import Handler
from tests.support.upstream_faults import Delay, Refuse, Status, UpstreamFailure

if TYPE_CHECKING:
    from tests.support.upstream import ScriptedUpstream

_OPERATION = re.compile(r"\b(?:query|mutation)\s+(\w+)")


@dataclass
class Request:
    """One request that arrived."""

    operation: str
    variables: dict[str, Any]
    key: str
    document: str


class GraphQLHandler(Handler):
    """Answers the requests of one connection."""

    owner: ScriptedUpstream

    def do_POST(self) -> None:
        raw = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        name = _OPERATION.search(raw["query"])
        request = Request(name[1] if name else "", raw.get("variables") or {}, self._key(), raw["query"])
        failure = self.owner.take(request)
        self.owner.on_request(request)
        if not self._waited(request.operation, failure):
            return
        if request.key not in self.owner.users:
            failure = Status(401, b'{"errors":[{"message":"unauthorized"}]}')
        if isinstance(failure, Refuse):
            self._send(json.dumps({"data": None, "errors": [{"message": failure.message}]}).encode())
        elif not self._failed(failure):
            self._send_answer(request, failure)

    def _send_answer(self, request: Request, failure: UpstreamFailure | None) -> None:
        answer = self.owner.answer(request)
        poison = self.owner.poisoned(request, answer)
        if isinstance(poison, Delay):
            self._waited(request.operation, poison)
            return
        if self._failed(poison):
            return
        pieces = self.owner.spelled(answer)
        if failure is not None or self.owner.compress:
            self._send_spoilt(b"".join(pieces), failure)
            return
        self._send_head(200, {}, sum(map(len, pieces)))
        for piece in pieces:
            self.wfile.write(piece)

    def _key(self) -> str:
        scheme, _, rest = self.headers.get("Authorization", "").partition(" ")
        return base64.b64decode(rest).decode().partition(":")[2] if scheme == "Basic" else ""
