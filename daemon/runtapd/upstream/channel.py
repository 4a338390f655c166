"""One account's way to its server: GraphQL requests with a true deadline, retried by status, faults told apart.

Waiting (for a turn, backoff, Retry-After) happens on the loop, never in a thread: `turns.py` says when a request may be
sent, `transport.py` does the one blocking request.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from runtapd import faults
from runtapd.model import jsontext
from runtapd.upstream import retry
from runtapd.upstream.api import UNBOUNDED, Bounds, Urgency, Wait
from runtapd.upstream.threads import on_loop, outcome
from runtapd.upstream.transport import LARGEST_BODY, Answer, Exchange, Failed, Session, TooLarge
from runtapd.upstream.turns import Turns

MOST_INVALID_ANSWERS = 3
"""A sign-in page does not become JSON by asking all day; a truncated answer is cured by the second try."""
LONGEST_UNREACHED_S = 15.0
"""How long a server that refuses connections is tried; one that answers, however badly, is tried to the deadline."""
FLOWING = 256 * 1024
"""Bytes that an answer must bring in a second to be let go on: what drips does not."""
_AGAIN = (faults.UpstreamUnavailable, faults.UpstreamTimeout, faults.RateLimited, faults.InvalidAnswer)

Salvage = Callable[[dict[str, Any]], dict[str, Any] | None]
"""Returns what is of use in an answer that has errors beside its data; None when nothing is."""


@dataclass(slots=True)
class _Time:
    """When a request must have ended: at its wait's deadline, which may move on, or when its bounds are used up."""

    wait: Wait
    within_s: float | None
    began: float
    lets_flow: bool = False
    waited_s: float = 0.0
    """For turns, in pauses the server asked for, and for a body that flows."""
    seen: int = 0
    """How many bytes of the answer under way had come when its time was last up."""

    @property
    def deadline(self) -> float:
        """In the loop's time, like that of the wait."""
        if self.within_s is None:
            return self.wait.deadline
        return min(self.wait.deadline, self.began + self.within_s + self.waited_s)

    def left(self, received: int, now: float) -> float:
        """How long an answer of which so much has come is waited for; while it flows it gets another moment."""
        flows = self.lets_flow and now < self.wait.deadline and received - self.seen >= FLOWING
        if now >= self.deadline and flows:
            self.seen = received
            self.waited_s += 1.0
            return max(0.01, self.deadline - now)
        return self.deadline - now


@dataclass
class Channel:
    """Sends requests to one server as one account."""

    base_url: str
    api_key: str = field(repr=False)
    user_agent: str
    threads: ThreadPoolExecutor = field(repr=False)
    """Shared by all accounts; turns keep one account from taking them all."""
    turns: Turns = field(repr=False)
    """Those of the account; they outlive this channel when it logs in with another key."""
    key_name: str = "the API key of this account"
    """How people know the key: whose it is and where it was found."""
    if_unreachable: str = ""
    """What people can do when this server cannot be reached, as the end of a sentence."""
    draw: random.Random = field(default_factory=random.Random, repr=False)
    requests_sent: int = 0
    refused: bool = False
    """True once the server answered 401 to this key: nothing more is sent with it."""
    logged_out: bool = False
    """True once the account was logged out: nothing more is sent with its key."""
    _sessions: dict[Urgency, Session] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._sessions = {
            urgency: Session(self.base_url, self.api_key, self.user_agent, connections)
            for urgency, connections in self.turns.connections.items()
        }

    def close(self) -> None:
        """Closes idle connections."""
        for session in self._sessions.values():
            session.close()

    def log_out(self) -> None:
        """Ends the use of the key, also by those who wait with a request; what has been sent may be answered."""
        self.logged_out = True
        self.turns.dismiss(self._gone())
        self.close()

    async def graphql(
        self,
        operation: str,
        query: str,
        variables: dict[str, Any],
        wait: Wait,
        *,
        once: bool = False,
        bounds: Bounds = UNBOUNDED,
        salvage: Salvage = lambda answer: None,
    ) -> dict[str, Any]:
        """Executes a document and returns its `data`. With `once` nothing is sent a second time.

        Raises NeedsLogin (401), UpstreamForbidden (403), UpstreamRefused (other final statuses and GraphQL errors),
        RateLimited, UpstreamUnavailable, UpstreamTimeout, InvalidAnswer or AnswerTooLarge.
        """
        payload = {"query": query, "variables": variables, "operationName": operation}
        body = jsontext.dumps(payload).encode("utf-8", "surrogatepass")
        loop = asyncio.get_running_loop()
        errors = invalid = failed = 0
        fault: faults.Fault = self._late(operation)
        unreached_until = loop.time() + LONGEST_UNREACHED_S
        time_left = _Time(wait, bounds.within_s, loop.time(), bounds.lets_flow)
        while time_left.deadline > loop.time():
            found = await self._attempt(operation, body, time_left, bounds, salvage)
            if isinstance(found, dict):
                return found
            # A time that ran out says less than what the tries before it met.
            fault = fault if errors and isinstance(found, faults.UpstreamTimeout) else found
            invalid += isinstance(found, faults.InvalidAnswer)
            errors += found.retry_after_s is None
            # Being sent back by a limit is no failure of this request, and neither is a pause.
            held = found.retry_after_s is not None or isinstance(found, faults.RateLimited)
            failed += not held
            used_up = invalid == MOST_INVALID_ANSWERS or failed == bounds.tries
            if once or wait.once or used_up or not _may_pass(found):
                raise fault
            again = retry.decide(
                errors=errors,
                retry_after_s=found.retry_after_s,
                remaining_s=(wait if held else time_left).deadline - loop.time(),
                draw=self.draw,
            )
            if not _unreached(found):
                unreached_until = loop.time() + LONGEST_UNREACHED_S
            if again is None or loop.time() + again.after_s > unreached_until:
                raise fault
            await asyncio.sleep(again.after_s)
            time_left.waited_s += again.after_s * held
        raise fault

    async def _attempt(
        self, operation: str, body: bytes, time_left: _Time, bounds: Bounds, salvage: Salvage
    ) -> dict[str, Any] | faults.Fault:
        most_bytes = LARGEST_BODY if bounds.most_bytes is None else bounds.most_bytes
        try:
            answer = await self._post(body, time_left, most_bytes)
        except TimeoutError:
            return self._late(operation)
        except TooLarge:
            return faults.AnswerTooLarge(
                f"{self.base_url} answered {operation} with more than the {_size(most_bytes)} wanted in one answer",
                metadata=self._where() | {"http_status": "200", "most_bytes": str(most_bytes)},
            )
        except Failed as error:
            return faults.UpstreamUnavailable(
                f"{self.base_url} cannot be reached: {error}{self.if_unreachable}", metadata=self._where()
            )
        except faults.Fault as fault:
            return fault
        if not answer.good:
            return self._refusal(operation, answer)
        # Parsing a page of runs takes milliseconds; the loop must not wait for it, nor it for slow servers' threads.
        return await asyncio.to_thread(self._data, operation, answer, salvage)

    def _data(self, operation: str, answer: Answer, salvage: Salvage) -> dict[str, Any] | faults.Fault:
        try:
            parsed = jsontext.loads_envelope(answer.body)
        except ValueError:
            kind = answer.headers.get("content-type", "no content type")
            return faults.InvalidAnswer(
                f"{self.base_url} answered {operation} with something that is not JSON ({kind})",
                metadata=self._where() | {"http_status": "200"},
            )
        if not isinstance(parsed, dict) or ("data" not in parsed and not parsed.get("errors")):
            return faults.InvalidAnswer(
                f"{self.base_url} answered {operation} without data", metadata=self._where()
            )
        if parsed.get("errors"):
            if (usable := salvage(parsed)) is not None:
                return usable
            words = self._without_key(error_words(parsed)) or "a GraphQL error without a message"
            return faults.UpstreamRefused(
                f"{self.base_url} refused {operation}: {words}",
                metadata=self._where() | {"http_status": "200", "body": words[:4000]},
            )
        data = parsed["data"]
        return data if isinstance(data, dict) else {}

    def _refusal(self, operation: str, answer: Answer) -> faults.Fault:
        status = answer.status
        words = ""
        with contextlib.suppress(ValueError):
            words = error_words(jsontext.loads(answer.body))
        said = self._without_key(words or answer.body[:300].decode("utf-8", "replace").strip()) or "no text"
        metadata = self._where() | {"http_status": str(status), "body": said[:4000]}
        text = f"{self.base_url} answered {operation} with HTTP {status}: {said[:500]}"
        pause = retry.retry_after(answer.headers.get("retry-after"), time.time())
        if status == 401:
            self.refused = True
            return self._key_refused(metadata)
        if status == 403:
            return faults.UpstreamForbidden(text, metadata=metadata)
        if status == 429:
            return faults.RateLimited(text, metadata=metadata, retry_after_s=pause)
        if retry.may_retry(status):
            return faults.UpstreamUnavailable(text, metadata=metadata, retry_after_s=pause)
        if retry.is_odd(status):
            return faults.InvalidAnswer(text, metadata=metadata, retry_after_s=pause)
        return faults.UpstreamRefused(text, metadata=metadata)

    def _key_refused(self, metadata: dict[str, str]) -> faults.NeedsLogin:
        return faults.NeedsLogin(
            f"{self.base_url} refused {self.key_name}, and nothing more is sent with it: replace it where it comes "
            "from, or log in with another one (`runtap login`)",
            reason="API_KEY_REJECTED",
            metadata=metadata,
        )

    def _gone(self) -> faults.NeedsLogin:
        return faults.NeedsLogin(
            f"this account of {self.base_url} was logged out; call Login",
            reason="ACCOUNT_UNKNOWN",
            metadata=self._where(),
        )

    def _check_key(self) -> None:
        """Raises NeedsLogin when the key is not to be used any more."""
        if self.logged_out:
            raise self._gone()
        if self.refused:
            raise self._key_refused(self._where() | {"http_status": "401"})

    def _late(self, operation: str) -> faults.UpstreamTimeout:
        return faults.UpstreamTimeout(
            f"{self.base_url} did not answer {operation} in time", metadata=self._where()
        )

    def _where(self) -> dict[str, str]:
        return {"server": self.base_url}

    def _without_key(self, text: str) -> str:
        """Takes the key out of a server's words: some repeat what they were sent."""
        coded = base64.b64encode(f"api:{self.api_key}".encode()).decode()
        return jsontext.encodable(text.replace(self.api_key, "***").replace(coded, "***"))

    async def _post(self, body: bytes, time_left: _Time, most_bytes: int) -> Answer:
        """Sends once, when it is its turn, and waits to the deadline, which may move on while others join the wait."""
        self._check_key()
        loop = asyncio.get_running_loop()
        asked_at = loop.time()
        turn = await self.turns.take(time_left.wait)
        time_left.waited_s += loop.time() - asked_at
        time_left.seen = 0
        exchange = Exchange(time_left.deadline - loop.time(), on_loop(loop, turn.heard), most_bytes)
        try:
            self._check_key()  # others may have met a refusal meanwhile
            job = self.threads.submit(
                self._sessions[turn.urgency].post, exchange, f"{self.base_url}/graphql", body
            )
        except (RuntimeError, faults.NeedsLogin):
            turn.end()
            raise
        self.requests_sent += 1
        # Not when nobody waits any more, but when the thread is free: it may hang where nothing wakes it.
        job.add_done_callback(lambda _: on_loop(loop, turn.end)())
        return await outcome(job, exchange, lambda: time_left.left(exchange.received, loop.time()))


def error_words(parsed: Any) -> str:
    """Returns the messages of a GraphQL or HTTP error body, joined; empty when there are none."""
    if not isinstance(parsed, dict):
        return ""
    errors = parsed.get("errors") or ([parsed["error"]] if parsed.get("error") else [])
    if not isinstance(errors, list):
        errors = [errors]
    words = [str(e.get("message", "")) if isinstance(e, dict) else str(e) for e in errors]
    return "; ".join(word for word in words if word)


def _may_pass(fault: faults.Fault) -> bool:
    """Whether sending the same once more may help."""
    return isinstance(fault, _AGAIN) and not isinstance(fault, faults.AnswerTooLarge)


def _size(count: int) -> str:
    return f"{count / 2**20:.4g} MiB" if count >= 2**20 else f"{count} bytes"


def _unreached(fault: faults.Fault) -> bool:
    """Whether not even the beginning of an HTTP answer came."""
    return isinstance(fault, faults.UpstreamUnavailable) and "http_status" not in fault.metadata
