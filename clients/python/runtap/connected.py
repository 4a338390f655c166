"""`runtap.connect()`: the daemon for those who call the generated stubs themselves.

Adds token, client name and account to every call on the channel, and nothing else: deadlines, retries and errors are
gRPC's own. `runtap.channel` is what the friendly API uses instead. Not named `connect.py`, because importing a module
of that name would put it in the place of the function.
"""

from __future__ import annotations

from runtap import channel, discovery
from runtap.stubs import Stubs


class Connected(Stubs):
    """Every stub (`.runs`, `.history`, ...) on one authenticated channel; a context manager that closes it."""

    def __init__(self, connection: channel.Connection, account: str) -> None:
        from runtap.authentication import authenticated

        self.channel = authenticated(connection.channel, connection.metadata(account))
        super().__init__(self.channel)
        self.endpoint = connection.info.endpoint
        self.account = account
        """The account calls act as; empty: the daemon's default."""

    def __repr__(self) -> str:
        return f"<runtap connection to {self.endpoint}>"

    def __enter__(self) -> Connected:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel; open calls end as cancelled."""
        self.channel.close()


def connect(*, account: str = "") -> Connected:
    """Finds or starts the daemon and returns a channel of its own, with every stub.

    `account` is an account_id of `AccountService.Login`; without it the daemon's default account is used.
    """
    return Connected(channel.connect(discovery.folders()), account)
