"""What all tests share: property tests that find the same however busy the machine is, and a Ctrl-C that works."""

from __future__ import annotations

import signal

from hypothesis import HealthCheck, settings

settings.register_profile(
    "runtap",
    deadline=None,  # no test asserts a time
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("runtap")

# Started in the background by a shell, this process ignores SIGINT, and so would every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
