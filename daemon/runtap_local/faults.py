"""What the server refuses, told apart by what the client should do.

Fault
    BadRequest      400  mend the request
    Unauthorized    401  bring a valid key
    Forbidden       403  ask for access
    NotFound        404  it is not there
    TooLarge        413  send less
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


class TooLarge(Fault):
    """More bytes than the server takes at once."""

    status = 413
    code = "TOO_LARGE"


class Unsupported(Fault):
    """Something the protocol has and this server has not."""

    status = 200
    code = "UNSUPPORTED"
