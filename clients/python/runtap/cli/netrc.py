"""Puts a key into a netrc file, where `wandb` and `runtap` both look. The only file of the user's that runtap edits."""

from __future__ import annotations

import os
import re
import tempfile
from urllib.parse import urlsplit

from runtap.errors import CommError


def store(base_url: str, key: str, path: str = "") -> str:
    """Writes the key for a server and returns the file's path; everything else in the file stays as it is."""
    path = os.path.realpath(path or _default_path())  # a link into a folder of dotfiles stays a link
    try:
        text = _read(path)
        _replace(path, with_entry(text, urlsplit(base_url).netloc, key))
    except (OSError, UnicodeDecodeError) as error:
        raise CommError(
            f"the key is good, but {path} cannot be changed: {error}; use `runtap login` without --netrc"
        ) from error
    return path


def with_entry(text: str, machine: str, key: str) -> str:
    """The text of a netrc file with one machine's entry replaced, or added at the end."""
    entry = (
        rf"(?ms)^[ \t]*machine[ \t]+{re.escape(machine)}(?=\s).*?(?=^[ \t]*(?:machine|default|macdef)\b|\Z)"
    )
    rest = re.sub(entry, "", text).rstrip("\n")
    mine = f"machine {machine}\n  login user\n  password {key}\n"
    # `default` fits every machine and ends the search, so whatever follows it is never found.
    before, default, after = rest.partition("\ndefault") if not rest.startswith("default") else ("", rest, "")
    return (
        (f"{before}\n" if before else "")
        + mine
        + f"{default}{after}".lstrip("\n")
        + ("\n" if default else "")
    )


def _default_path() -> str:
    home = os.path.expanduser("~")
    windows_style = os.path.join(home, "_netrc")
    usual = os.path.join(home, ".netrc")
    return windows_style if os.path.exists(windows_style) and not os.path.exists(usual) else usual


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return ""


def _replace(path: str, text: str) -> None:
    handle, name = tempfile.mkstemp(dir=os.path.dirname(path), prefix=".netrc.")  # mkstemp makes it 0600
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
