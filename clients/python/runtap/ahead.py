"""Answers fetched before they are wanted, out of the daemon's cache, while the caller works on the ones before.

The server is never asked for them. A thread of our own waits, because those of gRPC live on, and a fork beside one
crashes the child; a fork waits for ours, which take milliseconds.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Any

from runtap import channel
from runtap.errors import CommError

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from runtap.session import Session

LONGEST_S = 1.0
"""How long a daemon may take for what it has at hand."""
YOUNG_S = 1.0
"""An answer that was fetched longer ago is not used: whoever takes so long for a page can wait for the next one."""


class Ahead:
    """One answer on its way. Thread-safe."""

    def __init__(self, session: Session, method: str, request: Message) -> None:
        self._daemon = channel.daemon()
        self._calls = self._daemon.calls
        self._began = time.monotonic()
        self._answer: Any = None
        self._thread = threading.Thread(
            target=self._ask, args=(method, request, session.account), name="runtap-ahead"
        )
        _running.add(self._thread)
        try:
            self._thread.start()
        except RuntimeError:  # no more threads, or the interpreter is on its way out
            _running.discard(self._thread)

    def answer(self) -> Any:
        """The answer, as if it had been asked for now; None when that cannot be had."""
        if self._thread.ident is not None:
            self._thread.join(YOUNG_S)  # what takes longer is too old
        young = time.monotonic() - self._began < YOUNG_S
        # Whatever else this program has called for meanwhile may have been a write, which this does not show.
        return self._answer if young and self._daemon.calls == self._calls else None

    def _ask(self, method: str, request: Message, account: str) -> None:
        try:
            # What goes wrong goes wrong again, in the caller's view, when it is asked for in earnest.
            with contextlib.suppress(CommError):
                self._answer = self._daemon.call(
                    method, request, account=account, timeout=LONGEST_S, in_earnest=False
                )
        finally:
            _running.discard(self._thread)


_running: set[threading.Thread] = set()


def _let_end() -> None:
    """Runs before a fork: a child whose parent was in the middle of a call could not call."""
    for thread in list(_running):
        if thread.ident is not None:
            thread.join(LONGEST_S)


os.register_at_fork(before=_let_end, after_in_child=_running.clear)
