"""What is no HTTP at all, answered in the form that clients understand."""

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from . import jsontext


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
