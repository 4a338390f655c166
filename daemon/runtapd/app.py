"""The wiring of the daemon: who is built, in which order it starts, and in which order it ends.

The one place that knows everybody. `run` is the story of a daemon's life; `build_parts` is where the parts that answer
calls are made. Owns no decision: when to end is for `life.py`, what a failing start means for `starting.py`.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import runtapd
from runtapd.endpoint import API_REVISION, Endpoint, environment_is_gone
from runtapd.failpoints import arm, failpoint
from runtapd.faults import DiskFull
from runtapd.interceptors import Admission, Answers, TokenCheck
from runtapd.life import Ending, Life
from runtapd.limits import Ledger
from runtapd.logs import Logs
from runtapd.parts import Parts, build_parts
from runtapd.server import Server
from runtapd.services.daemon import DaemonService, Identity
from runtapd.settings import Settings
from runtapd.starting import Readiness, StartFailure, disk_failure
from runtapd.watching import LagMeter, end_when_idle, end_when_replaced, warm_up_when_quiet

DAEMON_SERVICE = "runtap.v1.DaemonService"
# Long enough for a call that was already on its way to be told DAEMON_DRAINING rather than find a closed socket.
LAME_DUCK_S = 0.2
_TELLING_S, _CUT_OFF_S = 0.25, 0.5
_WATCHDOG_AFTER_GRACE_S = 1.0
_WATCHDOG_OF_CLOSING_S = 4.0
Build = Callable[[Settings, Callable[[str], None]], Awaitable[Parts]]
log = logging.getLogger(__name__)


async def run(settings: Settings, ready: Readiness, build: Build = build_parts) -> int:
    """Lives one daemon's life; returns its exit code. StartFailure, raised before it serves, says why it cannot."""
    arm(settings.failpoint)
    endpoint = Endpoint.acquire(settings)
    failpoint("life-locked")
    ended = "crash"
    try:
        with _open_logs(settings, endpoint) as logs:
            parts = await _built(build, settings, logs)
            life = _build_life(settings, endpoint, parts)
            lag = LagMeter()
            server = _build_server(settings, endpoint, parts, life, logs, lag)
            await server.start()
            failpoint("life-bound")
            _handle_signals(endpoint, life)
            endpoint.publish()
            failpoint("life-published")
            ready.started(endpoint.instance_id, endpoint.address)
            _calm_collector()
            log.info("serving", extra={"version": runtapd.__version__, "pid": os.getpid()})
            async with _watched(settings, endpoint, life, lag, parts.warm_up):
                await life.draining.wait()
            ending = life.ending or Ending(ended, 0.0)
            with _watchdog(endpoint, ending, ending.grace_s + _WATCHDOG_AFTER_GRACE_S):
                await _drain(server, life, ending)
            with _watchdog(endpoint, ending, _WATCHDOG_OF_CLOSING_S):
                await parts.close()
                failpoint("life-closed")
            ended = ending.reason
            log.info("ended", extra={"reason": ended})
    finally:
        endpoint.release(ended)
    return 0


def _calm_collector() -> None:
    """Lets the garbage collector look through everything rarely: nothing runs while it does.

    With ten thousand runs in memory that takes a tenth of a second, and by default it is done for every few lists.
    Hardly anything here is kept by circles alone.
    """
    gc.freeze()
    gc.set_threshold(5000, 10, 100)


@contextmanager
def _open_logs(settings: Settings, endpoint: Endpoint) -> Iterator[Logs]:
    try:
        logs = Logs(settings.log_path, settings.log_level)
    except OSError as error:
        raise disk_failure(error, settings.log_path) from error
    logs.text.learn(endpoint.token)
    try:
        yield logs
    except Exception as error:
        log.error("the daemon fails", exc_info=error)
        raise
    finally:
        logs.close()


async def _built(build: Build, settings: Settings, logs: Logs) -> Parts:
    try:
        return await build(settings, logs.text.learn)
    except OSError as error:
        raise disk_failure(error, settings.state_dir) from error
    except DiskFull as fault:
        raise StartFailure("disk", fault.message) from fault


def _build_life(settings: Settings, endpoint: Endpoint, parts: Parts) -> Life:
    ledger = Ledger(
        max_open_calls_per_client=settings.max_open_calls_per_client,
        max_streams_per_client=settings.max_streams_per_client,
    )
    return Life(
        ledger,
        idle_exit_s=settings.idle_exit_s,
        sendable_writes=parts.vitals.sendable_writes,
        withdraw=endpoint.withdraw,
    )


def _build_server(
    settings: Settings, endpoint: Endpoint, parts: Parts, life: Life, logs: Logs, lag: LagMeter
) -> Server:
    identity = Identity(
        instance_id=endpoint.instance_id,
        endpoint=endpoint.address,
        api_revision=API_REVISION,
        started_at=time.time(),
        last_exit_reason=endpoint.last_exit_reason,
        capabilities=sorted({*DaemonService.capabilities, *parts.capabilities}),
    )
    daemon = DaemonService(settings, identity, life, parts.vitals, logs, lag)
    return Server(
        endpoint.socket_path,
        interceptors=(Answers(), TokenCheck(endpoint.token), Admission(life)),
        services=((DAEMON_SERVICE, daemon), *parts.services),
    )


@asynccontextmanager
async def _watched(
    settings: Settings, endpoint: Endpoint, life: Life, lag: LagMeter, warm_up: Callable[[], object]
) -> AsyncIterator[None]:
    """What may end the daemon from inside, or make it slow, is looked after while the block runs."""
    watches: list[Coroutine[Any, Any, None]] = [
        lag.run(),
        end_when_replaced(life, endpoint.is_ours, environment_is_gone),
        warm_up_when_quiet(life.ledger, warm_up),
    ]
    if settings.idle_exit_s:
        watches.append(end_when_idle(life))
    tasks = [asyncio.create_task(watch) for watch in watches]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _handle_signals(endpoint: Endpoint, life: Life) -> None:
    def on_signal() -> None:
        if not life.drain("signal"):
            _exit_now(endpoint, life.ending)  # the second one, or one during a drain: somebody is in a hurry

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(number, on_signal)


@contextmanager
def _watchdog(endpoint: Endpoint, ending: Ending, after_s: float) -> Iterator[None]:
    """Ends the process if the block takes longer; a thread, since the loop may be what hangs."""
    timer = threading.Timer(after_s, _exit_now, (endpoint, ending))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _exit_now(endpoint: Endpoint, ending: Ending | None) -> None:
    endpoint.release(ending.reason if ending else "signal")
    os._exit(1)


async def _drain(server: Server, life: Life, ending: Ending) -> None:
    """Lets open calls end, refuses new ones by name, and cuts off what is left when the grace is over.

    The info file is gone already, so nobody new finds the way here.
    """
    failpoint("life-draining")
    over_at = time.monotonic() + ending.grace_s
    await server.say_not_serving()
    await asyncio.sleep(LAME_DUCK_S)
    if open_tasks := life.tasks_in_use():
        await asyncio.wait(open_tasks, timeout=max(0.0, over_at - time.monotonic()))
    if cut_off := life.cut_off_open_calls():
        log.warning("calls cut off", extra={"calls": len(cut_off)})
        await asyncio.wait(
            cut_off, timeout=_CUT_OFF_S
        )  # the server's own end would overtake what they are told
    await server.stop(_CUT_OFF_S)
