"""What all objects of one `Api` share: the login, defaults for paths, how old answers may be, calls in its name.

A daemon that restarted does not know an account whose key came with a call. It answers ACCOUNT_UNKNOWN; the session
logs in again and repeats the call, once, and nobody notices. It does the same when the server has refused the key that
the account last logged in with: that may have been another program's, or this one's may have been replaced on disk.
Keys given as an argument stay in this object: they are neither pickled nor shown, so a copy in another process lives
as long as the daemon knows the account.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from runtap import channel
from runtap.cautions import caution
from runtap.environment import CallerEnvironment, caller_environment, http_timeout
from runtap.errors import AuthenticationError, CommError, InvalidRequestError, StaleWarning
from runtap.freshness import Freshness, from_message
from runtap.v1 import accounts_pb2, common_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

DEFAULT_TIMEOUT_S = 60.0
LONGEST_S = 1e9
"""What a timeout is that is meant to be none; neither gRPC nor a Duration has infinity."""
FLOOR_S = 10.0
"""A new `Api` accepts what was fetched at most this long before it was made."""


_LOG_IN_AGAIN = ("ACCOUNT_UNKNOWN", "API_KEY_REJECTED")
"""What another login may cure."""


class Session:
    """One login and how to read under it. Thread-safe and picklable."""

    def __init__(
        self,
        *,
        base_url: str = "",
        api_key: str = "",
        timeout: float | None = None,
        max_age: float | None = None,
        offline: bool = False,
        stale_ok: bool = False,
    ) -> None:
        self._request_timeout = (
            _seconds_of_environment() if timeout is None else min(float(timeout), LONGEST_S)
        )
        self.timeout = DEFAULT_TIMEOUT_S if self._request_timeout is None else self._request_timeout
        self.entity = ""
        self.project = ""
        self._max_age = max_age
        self._offline = offline
        self._stale_ok = stale_ok
        # Someone who names an age, or wants no questions asked, would not want the floor to overrule it.
        self._not_before = time.time() - FLOOR_S if max_age is None and not offline else None
        self._wanted_url = base_url
        self._api_key = api_key
        self._environment: CallerEnvironment | None = caller_environment()
        self.account = ""
        self.base_url = ""
        answer = self._login()
        self.account = answer.account.account_id
        self.base_url = answer.account.base_url
        self.viewer = answer.account.viewer
        self.default_entity = answer.defaults.entity
        self.default_project = answer.defaults.project

    def __repr__(self) -> str:
        return f"<Session {self.viewer.username} at {self.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_api_key": "", "_environment": None}

    def flush(self) -> None:
        """From now on, nothing fetched before this moment is used without asking the server."""
        self._not_before = time.time()

    def defaults(self) -> common_pb2.PathDefaults:
        """What completes paths."""
        return common_pb2.PathDefaults(
            entity=self.entity or self.default_entity, project=self.project or self.default_project
        )

    def options(self, *, force: bool = False, no_cache: bool = False) -> common_pb2.ReadOptions:
        """How old an answer may be; `force` asks the server in any case, unless this session is offline."""
        options = common_pb2.ReadOptions(allow_stale_on_error=self._stale_ok)
        if self._offline:
            options.cache_only = True
            return options
        if self._request_timeout:
            # Streams have no deadline of their own, so that only this limits what they wait for.
            options.request_timeout.FromNanoseconds(round(self._request_timeout * 1e9))
        options.no_cache = no_cache
        age = 0.0 if force else self._max_age
        if age is not None:
            options.max_age.FromNanoseconds(round(age * 1e9))
        if self._not_before is not None:
            options.not_before.FromNanoseconds(round(self._not_before * 1e9))
        return options

    def call(self, method: str, request: Message, timeout: float | None = None) -> Any:
        """One answer; `method` is named as in `runs.GetRun`."""
        seconds = self.timeout if timeout is None else timeout
        try:
            return channel.daemon().call(method, request, account=self.account, timeout=seconds)
        except CommError as error:
            if error.reason not in _LOG_IN_AGAIN:
                raise
        self._login_again()
        return channel.daemon().call(method, request, account=self.account, timeout=seconds)

    def stream(
        self, method: str, request: Message, meanwhile: Callable[[], None] | None = None
    ) -> Iterator[Any]:
        """Many answers. No deadline: the daemon watches over the server, and gRPC over the daemon.

        `meanwhile` is done while the daemon works on the first one: an import, say.
        """
        messages = channel.daemon().stream(
            method, request, account=self.account, timeout=None, meanwhile=meanwhile
        )
        try:
            first = next(messages, None)
        except CommError as error:
            if error.reason not in _LOG_IN_AGAIN:
                raise
            self._login_again()
            messages = channel.daemon().stream(method, request, account=self.account, timeout=None)
            first = next(messages, None)
        with contextlib.closing(messages):
            if first is not None:
                yield first
                yield from messages

    def fresh(self, message: common_pb2.Freshness, what: str) -> Freshness:
        """Reads how fresh an answer is, and warns when it is stale."""
        freshness = from_message(message)
        self.warn_of_age(freshness, what)
        return freshness

    def warn_of_age(self, freshness: Freshness, what: str) -> None:
        """Warns when an answer is stale."""
        if freshness.stale:
            age = f"{freshness.age_s:.0f} s old" if freshness.age_s is not None else "of unknown age"
            caution(f"{what} is {age}: {self.base_url} could not be asked", StaleWarning, about="stale")

    def _login(self) -> accounts_pb2.LoginResponse:
        surroundings = self._environment or caller_environment()
        request = accounts_pb2.LoginRequest(
            base_url=self._wanted_url or self.base_url,  # "local" finds a key that its URL does not
            api_key=self._api_key,
            environment=accounts_pb2.CallerEnvironment(**surroundings),
        )
        answer: accounts_pb2.LoginResponse = channel.daemon().call(
            "accounts.Login", request, account="", timeout=self.timeout
        )
        return answer

    def _login_again(self) -> None:
        account = self._login().account
        if account.account_id != self.account:
            raise AuthenticationError(
                f"this program's key for {self.base_url} is now that of {account.viewer.username}, not of "
                f"{self.viewer.username}: make a new runtap.Api()",
                reason="ACCOUNT_UNKNOWN",
            )


def _seconds_of_environment() -> float | None:
    """The timeout that the wandb SDK would take from the environment; None when there is none."""
    text = http_timeout()
    if not text:
        return None
    if not (text.isascii() and text.isdecimal() and int(text)):
        message = f"WANDB_HTTP_TIMEOUT is a whole number of seconds above 0, not {text!r}"
        raise InvalidRequestError(message, ValueError(message), reason="INVALID_FIELD")
    return min(float(text), LONGEST_S)
