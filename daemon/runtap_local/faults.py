"""What the server refuses, told apart by what the client should do.

Fault
    BadRequest      400  mend the request
    Unauthorized    401  bring a valid key
    Forbidden       403  ask for access
    NotFound        404  it is not there
    TooSlow         408  send it again, in one go
    TooLarge        413  send less
    Busy            503  try again in a moment
    NoRoom          507  try again when there is room on the disk
    Unsupported     200  use something else: in GraphQL an answer like any other, which no client sends again
"""


class Fault(Exception):
    """A request that is answered with an error; ``message`` goes to the client as it stands."""

    status = 400
    code = "BAD_REQUEST"

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequest(Fault):
    """The request makes no sense as it is."""


class Unauthorized(Fault):
    """No key, or one that nobody here has."""

    status = 401
    code = "UNAUTHENTICATED"


class Forbidden(Fault):
    """A valid key that may not do this."""

    status = 403
    code = "FORBIDDEN"


class NotFound(Fault):
    """Something addressed by name or id that does not exist, or not for this user."""

    status = 404
    code = "NOT_FOUND"


class TooSlow(Fault):
    """A body that stopped coming."""

    status = 408
    code = "TOO_SLOW"


class TooLarge(Fault):
    """More bytes than the server takes at once."""

    status = 413
    code = "TOO_LARGE"


class Unsupported(Fault):
    """Something the protocol has and this server has not."""

    status = 200
    code = "UNSUPPORTED"


class Busy(Fault):
    """Somebody else has the database for longer than anybody should."""

    status = 503
    code = "BUSY"


class NoRoom(Fault):
    """The disk is full. Clients send such requests again, for days if need be, so that nothing is lost."""

    status = 507
    code = "NO_ROOM"
