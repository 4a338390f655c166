"""The only reader of the client's process environment: folders, switches, and what is passed on to the daemon.

Two things are passed on, by two ways. A daemon that is started inherits only what it needs to run (`for_daemon`). Keys
and defaults of the caller travel inside Login (`caller_environment`), so that one daemon serves callers with different
ones.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TypedDict

CALLER_VARIABLES = (
    "WANDB_API_KEY",
    "WANDB_BASE_URL",
    "WANDB_ENTITY",
    "WANDB_PROJECT",
    "WANDB_APP_URL",
    "WANDB_CONFIG_DIR",
    "NETRC",
    "HOME",
)
"""The variables `CallerEnvironment` in accounts.proto names; nothing else leaves this process."""

_INHERITED = frozenset(
    (
        *("PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR", "PYTHONPATH", "VIRTUAL_ENV"),
        *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE"),
        *("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"),
    )
)
_INHERITED_PREFIXES = ("LC_", "XDG_", "RUNTAP_")


class CallerEnvironment(TypedDict):
    """The fields of the proto message of the same name."""

    variables: dict[str, str]
    working_directory: str


@dataclass(frozen=True)
class Surroundings:
    """What the client itself wants to know of its environment."""

    runtap_home: str
    """Absolute; empty when not set."""
    runtime_home: str
    """`$XDG_RUNTIME_DIR`; empty when not set."""
    state_home: str
    """`$XDG_STATE_HOME` or its default."""
    autostart: bool
    """False when RUNTAP_AUTOSTART=0: never start a daemon unasked."""


def surroundings() -> Surroundings:
    """Reads the environment anew; cheap."""
    home = os.environ.get("RUNTAP_HOME", "")
    return Surroundings(
        runtap_home=os.path.abspath(home) if home else "",
        runtime_home=_absolute("XDG_RUNTIME_DIR"),
        state_home=_absolute("XDG_STATE_HOME") or os.path.expanduser("~/.local/state"),
        autostart=os.environ.get("RUNTAP_AUTOSTART", "1") != "0",
    )


def http_timeout() -> str:
    """`$WANDB_HTTP_TIMEOUT` as it is written; empty when not set."""
    return os.environ.get("WANDB_HTTP_TIMEOUT", "")


def for_daemon() -> dict[str, str]:
    """The environment a daemon is started with; never a WANDB_ variable."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)
    }
    if home := surroundings().runtap_home:
        inherited["RUNTAP_HOME"] = (
            home  # the daemon runs in another folder, where a relative path means another place
        )
    return inherited


def for_local_server() -> dict[str, str]:
    """The environment the local server's commands run with: all of ours."""
    return dict(os.environ)


def caller_environment() -> CallerEnvironment:
    """What Login needs to find server, key and defaults of this caller."""
    try:
        folder = os.getcwd()
    except OSError:  # the folder was deleted under us; then there are no settings in it either
        folder = ""
    variables = {name: os.environ[name] for name in CALLER_VARIABLES if name in os.environ}
    return {"variables": variables, "working_directory": folder}


def _absolute(name: str) -> str:
    # The XDG specification says that relative paths are to be ignored.
    value = os.environ.get(name, "")
    return value if os.path.isabs(value) else ""
