"""What people see who follow an address that the SDK prints: there are no pages, but ways to what they look for."""

import re
from typing import Final

_ADDRESS: Final = re.compile(r"/([^/]+)/([^/]+)(?:/(runs|sweeps)/([^/]+)|/workspace)?/?")
_NO_PAGES: Final = "This is runtap's local server. It keeps runs and has no web pages.\n"
_KEYS: Final = (
    "\nAPI keys: `runtap local start` prints that of the first user; it stands in local.json of its data folder."
    "\n`runtap local user add NAME` makes a user with a key, or one more key for a user.\n"
)
_LONGEST: Final = 300


def page(path: str) -> str:
    """The text to show at an address, given as the path of its URL without percent signs."""
    if path.rstrip("/") in ("/authorize", "/login", "/settings"):
        return _NO_PAGES + _KEYS
    found = _ADDRESS.fullmatch(path) if len(path) <= _LONGEST and path.isprintable() else None
    entity, project, kind, name = found.groups() if found else ("<entity>", "<project>", None, None)
    look = [f'print(api.runs("{entity}/{project}"))']
    if kind == "runs":
        look = [f'run = api.run("{entity}/{project}/{name}")', "print(run.state, run.config, run.summary)"]
    elif kind == "sweeps":
        look = [f'sweep = api.sweep("{entity}/{project}/{name}")', "print(sweep.state, sweep.best_run())"]
    code = "".join(f"    {line}\n" for line in ["import wandb", "api = wandb.Api()", *look])
    return f"{_NO_PAGES}What it keeps is read with Python:\n\n{code}"
