"""The netrc file: one entry changed, everything else as it was."""

from __future__ import annotations

import netrc
import os
from pathlib import Path

import pytest

from runtap.cli.netrc import store, with_entry
from runtap.errors import CommError

MINE = "machine api.wandb.ai\n  login user\n  password KEY\n"


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", MINE),
        ("machine api.wandb.ai\n  login user\n  password OLD\n", MINE),
        ("machine api.wandb.ai login user password OLD\n", MINE),
        ("machine other login a password b\n", "machine other login a password b\n" + MINE),
        (
            "machine a login x password y\nmachine api.wandb.ai\n login u\n password P\nmachine b login x password y\n",
            "machine a login x password y\nmachine b login x password y\n" + MINE,
        ),
        (
            "machine api.wandb.ai.evil login a password b\n",
            "machine api.wandb.ai.evil login a password b\n" + MINE,
        ),
        ("default login a password b\n", MINE + "default login a password b\n"),
        (
            "machine a login x password y\ndefault login a password b\n",
            "machine a login x password y\n" + MINE + "default login a password b\n",
        ),
        (
            "# a comment\n\nmachine a login x password y",
            "# a comment\n\nmachine a login x password y\n" + MINE,
        ),
    ],
)
def test_one_entry_changes(before: str, after: str, tmp_path: Path) -> None:
    assert with_entry(before, "api.wandb.ai", "KEY") == after
    assert with_entry(after, "api.wandb.ai", "KEY").count("api.wandb.ai\n") == 1
    path = tmp_path / "netrc"
    path.write_text(after)
    path.chmod(0o600)
    assert netrc.netrc(str(path)).authenticators("api.wandb.ai") == ("user", "", "KEY")


def test_the_file_is_private_and_a_link_stays_a_link(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles"
    real.write_text("machine a login x password y\n")
    (tmp_path / "link").symlink_to(real)
    written = store("http://127.0.0.1:8080", "KEY", str(tmp_path / "link"))
    assert written == str(real)
    assert (tmp_path / "link").is_symlink()
    assert os.stat(real).st_mode & 0o777 == 0o600
    assert netrc.netrc(str(real)).authenticators("127.0.0.1:8080") == ("user", "", "KEY")


def test_a_file_that_cannot_be_written_is_told_with_another_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommError, match="use `runtap login` without --netrc"):
        store("https://api.wandb.ai", "KEY", str(tmp_path / "file" / "netrc"))
