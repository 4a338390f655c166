"""Merging a config into the one a run has, for those who set ``config_merge`` to ``deep``."""

from typing import Any


def merged_config(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Both wire configs in one: what ``new`` does not name stays, objects are merged, all else is replaced.

    Nothing is ever removed. An entry that is wrapped (``{"value": ..., "desc": ...}``) in one config and bare in the
    other is replaced as a whole, since a bare object may have a key ``value`` of its own.
    """
    return {**old, **{key: _entry(old[key], item) if key in old else item for key, item in new.items()}}


def _entry(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    if "value" in old or "value" in new:
        if "value" not in old or "value" not in new:
            return new
        return {**old, **new, "value": _merged(old["value"], new["value"])}
    return _merged(old, new)


def _merged(old: Any, new: Any) -> Any:
    if not (isinstance(old, dict) and isinstance(new, dict)):
        return new
    return {**old, **{key: _merged(old[key], item) if key in old else item for key, item in new.items()}}
