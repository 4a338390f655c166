"""Alerts that a program raises about its run: this server has nobody to send them to, so it writes them to its log."""

import logging
from typing import Any

from ...http.noticed import one_line
from .addressing import run_by_names
from .context import Info

_LOG = logging.getLogger(__name__)


def _notify(_root: Any, info: Info, input: dict[str, Any]) -> dict[str, Any]:
    run = run_by_names(info, input)
    severity = input.get("severity") or "INFO"
    path = f"{run.entity}/{run.project_name}/{run.name}"
    _LOG.warning(
        "alert of run %s: %s: %s: %s", path, severity, one_line(input["title"]), one_line(input["text"])
    )
    return {"success": True, "clientMutationId": input.get("clientMutationId")}


RESOLVERS: dict[str, dict[str, Any]] = {"Mutation": {"notifyScriptableRunAlert": _notify}}
