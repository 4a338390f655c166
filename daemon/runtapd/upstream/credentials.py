"""Which server and which key a caller means, looked for where the SDK looks, in the SDK's order.

Everything is read from the *caller's* surroundings, sent with Login; the daemon's own environment never counts.
The order and the key's form are those of the real client: argument, environment, netrc, settings file. Last comes what
the daemon keeps itself.
"""

from __future__ import annotations

import configparser
import json
import netrc
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

from runtapd import faults

DEFAULT_BASE_URL = "https://api.wandb.ai"
# One deployment under two names: a netrc entry for either serves both.
CLOUD_HOSTS = frozenset({"api.wandb.ai", "api.forge.coreweave.com"})
LOCAL = "local"
"""What callers say instead of a URL when they mean the local server of this machine."""

STORE_PLACE = "the daemon's own store"
_KEY_URL = "server of api_key"
_KEY_FILE = "file of api_key"
_SHORTEST_KEY = 40
_PLAIN_KEY = re.compile(r"[A-Za-z0-9_-]+")
_JWT = re.compile(r"[A-Za-z0-9_=-]+\.[A-Za-z0-9_=-]+\.[A-Za-z0-9_=+/-]*")


class KeySource(IntEnum):
    """Where a key was found; the numbers are those of `runtap.v1.KeySource`."""

    ARGUMENT = 1
    ENVIRONMENT = 2
    NETRC = 3
    SETTINGS = 4
    STORE = 5
    LOCAL_SERVER = 6


@dataclass(frozen=True, slots=True)
class Credentials:
    """A server, a key for it, and the defaults that came along. The key never shows in a repr."""

    base_url: str
    app_url: str
    api_key: str = field(repr=False)
    source: KeySource
    place: str
    """For people: the variable or file the key came from."""
    entity: str = ""
    project: str = ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The caller's environment variables that matter, and where it runs."""

    variables: Mapping[str, str]
    working_directory: str = ""

    def get(self, name: str) -> str:
        """Returns a variable, stripped; empty when not set."""
        return self.variables.get(name, "").strip()

    @property
    def home(self) -> Path | None:
        """The caller's home folder, if it said."""
        return Path(self.get("HOME")) if self.get("HOME") else None

    def path(self, text: str) -> Path:
        """Reads a path as the caller means it: `~` is its home, and a relative path begins where it works."""
        if self.home is not None and (text == "~" or text.startswith("~/")):
            return self.home / text[2:]
        return Path(self.working_directory or "/") / text


def check_key(key: str, place: str = "the call") -> str:
    """Returns the key stripped; raises NeedsLogin (API_KEY_MALFORMED) saying where it is from and what is wrong."""
    key = key.strip()
    if _JWT.fullmatch(key):
        return key
    # On-premise keys carry a prefix up to the first dash, such as `local-`.
    body = key.partition("-")[2] if "-" in key else key
    if len(body) < _SHORTEST_KEY:
        behind = " behind its first dash" if "-" in key else ""
        problem = f"has {len(body)} characters{behind}; an API key has {_SHORTEST_KEY} or more"
    elif not _PLAIN_KEY.fullmatch(body):
        problem = "has other characters than letters, digits, dashes and underscores"
    else:
        return key
    raise faults.NeedsLogin(
        f"the API key from {place} {problem}",
        reason="API_KEY_MALFORMED",
        metadata={"key_source": place},
        field="api_key",
    )


def check_base_url(url: str) -> str:
    """Returns the URL without a trailing slash, scheme and host in lower case; raises InvalidRequest when it is not an
    http(s) address."""
    url = url.strip().rstrip("/")
    if "@" in url:
        raise faults.InvalidRequest(
            "the address of a server holds no name or password; the key travels apart from it",
            field="base_url",
        )
    try:
        parts = urlsplit(url)
        fine = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or True)
    except ValueError:
        fine = False
    if not fine or parts.query or parts.fragment:
        raise faults.InvalidRequest(
            f"{url!r} is not the address of a server; one looks like {DEFAULT_BASE_URL}", field="base_url"
        )
    host = parts.hostname or ""
    if host == "wandb.ai":
        raise faults.InvalidRequest(f"the API lies at {DEFAULT_BASE_URL}, not {url}", field="base_url")
    if host.endswith(".wandb.ai") and parts.scheme == "http":
        raise faults.InvalidRequest(f"{url} must be https", field="base_url")
    return urlunsplit((parts.scheme, parts.netloc.lower(), parts.path, "", ""))


def app_url(base_url: str, explicit: str = "") -> str:
    """Returns where people look at runs of this server."""
    if explicit:
        return explicit.rstrip("/")
    return base_url.replace("://api.wandb.", "://wandb.").replace("://api.", "://app.")


def resolve(
    base_url: str,
    api_key: str,
    around: Surroundings,
    local_home: Path,
    stored_key: Callable[[str], str] = lambda url: "",
    local_chosen: bool = False,
) -> Credentials:
    """Returns the server and key a caller means; raises NeedsLogin naming every place that was searched.

    `stored_key` gives the key that the daemon itself keeps for a server, or nothing; it is asked last. With
    `local_chosen` (`runtap local use`) callers who name neither a server nor a key mean the local server.
    """
    settings = read_settings(around)
    url = base_url or around.get("WANDB_BASE_URL") or settings.get("base_url", "")
    if not url:
        named_key = api_key or around.get("WANDB_API_KEY")
        url = LOCAL if local_chosen and not named_key else DEFAULT_BASE_URL
    if url == LOCAL:
        return _local_server(api_key, around, settings, local_home)
    url = check_base_url(url)
    searched: list[str] = []
    found = _find_key(url, api_key, around, settings, searched)
    if found is None and (kept := stored_key(url)):
        found = kept, KeySource.STORE, STORE_PLACE
    if found is None:
        searched.append("keys kept by `runtap login`")
        raise faults.NeedsLogin(
            f"No API key for {url}. Searched: {', '.join(searched)}. Set WANDB_API_KEY, or run `runtap login`, "
            "or use a server on this machine with `runtap local use`.",
            metadata={"server": url, "searched": ", ".join(searched)},
        )
    key, source, place = found
    return Credentials(
        base_url=url,
        app_url=app_url(url, around.get("WANDB_APP_URL")),
        api_key=check_key(key, place),
        source=source,
        place=place,
        entity=around.get("WANDB_ENTITY") or settings.get("entity", ""),
        project=around.get("WANDB_PROJECT") or settings.get("project", ""),
    )


def _find_key(
    url: str, argument: str, around: Surroundings, settings: Mapping[str, str], searched: list[str]
) -> tuple[str, KeySource, str] | None:
    if argument:
        return argument, KeySource.ARGUMENT, "the call"
    searched.append("environment variable WANDB_API_KEY")
    if around.get("WANDB_API_KEY"):
        return around.get("WANDB_API_KEY"), KeySource.ENVIRONMENT, "WANDB_API_KEY"
    path = netrc_path(around)
    if path is not None:
        key, trouble = _netrc_key(path, url)
        if key:
            return key, KeySource.NETRC, str(path)
        searched.append(f"{path} ({trouble})" if trouble else str(path))
    searched.append("wandb settings files")
    if settings.get("api_key") and settings[_KEY_URL].rstrip("/") == url:
        return settings["api_key"], KeySource.SETTINGS, settings[_KEY_FILE]
    return None


def netrc_path(around: Surroundings) -> Path | None:
    """Returns the caller's netrc file as the SDK chooses it; None when the caller has no home."""
    if around.get("NETRC"):
        return around.path(around.get("NETRC"))
    if around.home is None:
        return None
    dotted, underscored = around.home / ".netrc", around.home / "_netrc"
    return underscored if underscored.exists() and not dotted.exists() else dotted


def netrc_key(path: Path, url: str) -> str:
    """Returns the key a netrc file holds for a server; empty when none, or when the file cannot be read."""
    return _netrc_key(path, url)[0]


def _netrc_key(path: Path, url: str) -> tuple[str, str]:
    """Returns the key, and what is wrong with the file, for people."""
    try:
        entries = netrc.netrc(str(path))
    except FileNotFoundError:
        return "", ""
    except OSError as error:
        return "", f"cannot be read: {error.strerror}"
    except (netrc.NetrcParseError, ValueError):
        return "", "is not a netrc file"  # the parser's own words may quote a password
    parts = urlsplit(url)
    hosts = [parts.netloc]
    if parts.netloc in CLOUD_HOSTS:
        hosts += sorted(CLOUD_HOSTS - {parts.netloc})
    for host in hosts:
        # `default` entries are for other programs; only this very machine counts.
        if host in entries.hosts and (key := entries.hosts[host][2]):
            return key, ""
    return "", ""


def read_settings(around: Surroundings) -> dict[str, str]:
    """Returns the caller's wandb settings: the global file, overridden by the one of its working folder."""
    files = []
    if around.get("WANDB_CONFIG_DIR"):
        files.append(around.path(around.get("WANDB_CONFIG_DIR")) / "settings")
    elif around.home is not None:
        files.append(around.home / ".config" / "wandb" / "settings")
    if around.working_directory:
        files.append(Path(around.working_directory) / "wandb" / "settings")
    merged: dict[str, str] = {}
    for file in files:
        found = _settings_of(file)
        merged.update(found)
        if "api_key" in found:
            # A key is for the server its own file means, not for one that a later file names.
            merged[_KEY_URL] = merged.get("base_url", DEFAULT_BASE_URL)
            merged[_KEY_FILE] = str(file)
    return merged


def settings_key(path: Path, url: str) -> str:
    """Returns the key a settings file holds for a server that it names itself; empty when none."""
    found = _settings_of(path)
    return found.get("api_key", "") if found.get("base_url", DEFAULT_BASE_URL).rstrip("/") == url else ""


def _settings_of(file: Path) -> dict[str, str]:
    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read_string(file.read_text("utf-8"))
    except (OSError, configparser.Error, ValueError):  # no text, or a path that no file can have
        return {}
    return dict(parser["default"]) if parser.has_section("default") else {}


def local_server(local_home: Path) -> tuple[str, str] | None:
    """Returns URL and key of this machine's local server, from its info file; None when it was never started."""
    try:
        info = json.loads((local_home / "local.json").read_text("utf-8"))
        return str(info["url"]).rstrip("/"), str(info["api_key"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _local_server(
    api_key: str, around: Surroundings, settings: Mapping[str, str], local_home: Path
) -> Credentials:
    found = local_server(local_home)
    if found is None:
        raise faults.NeedsLogin(
            "There is no local server on this machine yet; `runtap local start` makes one",
            metadata={"server": LOCAL},
        )
    url, key = found
    return Credentials(
        base_url=url,
        app_url=url,
        api_key=check_key(api_key or key),
        source=KeySource.ARGUMENT if api_key else KeySource.LOCAL_SERVER,
        place="the call" if api_key else str(local_home / "local.json"),
        entity=around.get("WANDB_ENTITY") or settings.get("entity", ""),
        project=around.get("WANDB_PROJECT") or settings.get("project", ""),
    )
