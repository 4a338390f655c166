"""Alerts that a program raises about its run: this server has nobody to send them to, so it writes them to its log."""

import logging
import re
from typing import Any, Final

from .addressing import run_by_names
from .context import Info

_LOG = logging.getLogger(__name__)
_LONGEST: Final = 1000
_BREAKS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]+")


def _notify(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    run = run_by_names(info, input)
    severity = input.get("severity") or "INFO"
    path = f"{run.entity}/{run.project_name}/{run.name}"
    _LOG.warning("alert of run %s: %s: %s: %s", path, severity, _line(input["title"]), _line(input["text"]))
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


def _line(text: str) -> str:
    """Text of others as part of one line of the log."""
    return _BREAKS.sub(" ", text[:_LONGEST])


RESOLVERS: dict[str, dict[str, Any]] = {"Mutation": {"notifyScriptableRunAlert": _notify}}
