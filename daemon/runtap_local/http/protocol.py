"""HTTP where the libraries see things otherwise: names of files in addresses, what is no HTTP, and the end of it."""

import asyncio
import contextlib
from typing import Final

import h11
from starlette.convertors import Convertor, register_url_convertor
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from .. import jsontext


class FileName(Convertor[str]):
    """The name of a file, which may hold slashes and, unlike Starlette's ``path``, line ends."""

    regex = "(?s:.*)"

    def convert(self, value: str) -> str:
        """The name as it stands in the address."""
        return value

    def to_string(self, value: str) -> str:
        """The way back, which nobody takes."""
        return value


register_url_convertor("filename", FileName())
FILE_ADDRESS: Final = "/files/{entity}/{project}/{run}/{name:filename}"


class Http(H11Protocol):
    """Uvicorn's protocol with our form of refusal."""

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, unless an answer is already under way: then the connection just ends."""
        body = jsontext.encode({"errors": [{"message": msg, "extensions": {"code": "BAD_REQUEST"}}]})
        headers = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"connection", b"close"),
        ]
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            for event in (
                h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ):
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()


def ended_quietly(app: ASGIApp) -> ASGIApp:
    """An app whose requests may be cut off when the server stops, which is nothing to be reported."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(asyncio.CancelledError):
            await app(scope, receive, send)

    return run
