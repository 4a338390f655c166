"""The settings of the local server: one frozen record, and the only place that reads the environment."""

import math
import os
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

_PREFIX: Final = "RUNTAP_LOCAL_"
ConfigMerge = Literal["replace", "deep"]


class SettingsError(ValueError):
    """A setting that cannot be used; the text names it and says what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Everything that can be set. Each field but ``home`` is read from ``RUNTAP_LOCAL_<FIELD IN CAPITALS>``."""

    home: Path
    crash_after_s: float = 300.0
    """A running run that is silent for this long is called crashed."""
    url_ttl_s: float = 3600.0
    """How long a signed address of a file stays valid."""
    max_body_bytes: int = 64 * 1024 * 1024
    """The largest JSON body taken; the SDK sends at most about 10 MiB."""
    max_file_bytes: int = 64 * 1024 * 1024 * 1024
    """The largest single file taken."""
    max_idle_s: float = 60.0
    """How long a client may stop in the middle of a body before it is no longer waited for."""
    max_document_bytes: int = 256 * 1024
    """The longest GraphQL document taken."""
    max_depth: int = 20
    """How deeply the selections of a GraphQL document may nest."""
    max_fields: int = 5000
    """How many fields a GraphQL document may select, fragments written out."""
    max_cost: int = 2_000_000
    """How much a GraphQL document may ask for: about as many values as its answer can hold. See ``costs``."""
    max_request_s: float = 30.0
    """How long a GraphQL request may take before it is refused; the SDK waits no longer."""
    config_merge: ConfigMerge = "replace"
    """What a new config does to the one a run has: takes its place, or is merged into it object by object."""
    parquet: bool = False
    """Whether finished runs offer their histories as Parquet files."""
    parquet_rows: int = 50_000
    """How many rows one of these files holds at most."""
    start_deadline_s: float = 15.0
    """How long ``start`` waits until the server answers."""
    stop_deadline_s: float = 5.0
    """How long ``stop`` waits before it ends the server the hard way."""
    drain_s: int = 1
    """How long requests under way may take to finish once the server was told to stop."""

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "config_merge":
                if value not in get_args(ConfigMerge):
                    choices = " or ".join(get_args(ConfigMerge))
                    raise SettingsError(f"config_merge must be {choices}, not {value!r}")
            elif field.type not in (Path, bool) and not 0 < value < math.inf:
                raise SettingsError(f"{field.name} must be more than 0, not {value}")


def load(home: Path | None = None, environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment; ``home`` given on the command line wins."""
    environ = os.environ if environ is None else environ
    values: dict[str, Any] = {"home": (home or default_home(environ)).absolute()}
    for field in fields(Settings):
        text = environ.get(_PREFIX + field.name.upper())
        if text is None or field.name == "home":
            continue
        if field.type is bool:
            values[field.name] = _switch(field.name, text)
            continue
        if field.type is ConfigMerge:
            values[field.name] = text.strip().lower()
            continue
        try:
            values[field.name] = int(text) if field.type is int else float(text)
        except ValueError:
            raise SettingsError(f"{_PREFIX}{field.name.upper()} must be a number, not {text!r}") from None
    return Settings(**values)


def _switch(name: str, text: str) -> bool:
    word = text.strip().lower()
    if word not in ("1", "true", "yes", "on", "0", "false", "no", "off", ""):
        raise SettingsError(f"{_PREFIX}{name.upper()} must be 1 or 0, not {text!r}")
    return word in ("1", "true", "yes", "on")


def default_home(environ: Mapping[str, str]) -> Path:
    """Where the data lies when nobody says otherwise."""
    if environ.get("RUNTAP_HOME"):
        return Path(environ["RUNTAP_HOME"]) / "local"
    if environ.get("XDG_STATE_HOME"):
        return Path(environ["XDG_STATE_HOME"]) / "runtap" / "local"
    return Path(environ.get("HOME") or Path.home()) / ".local" / "state" / "runtap" / "local"


def child_environment() -> dict[str, str]:
    """The environment of a detached server: it starts in ``/``, so that no path in it may be relative."""
    environ = dict(os.environ)
    paths = [str(Path(part).absolute()) for part in environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    here = str(Path(__file__).parent.parent)
    if here not in paths and here != sysconfig.get_path("purelib"):
        paths.insert(0, here)
    environ["PYTHONPATH"] = os.pathsep.join(paths)
    # Each thread would keep a heap of its own for good; large requests come seldom, and their memory can be shared.
    environ.setdefault("MALLOC_ARENA_MAX", "2")
    return environ
