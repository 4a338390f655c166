"""`run.summary`: the last values of a run, as a dict that can be edited and sent.

Named so because `runtap.summary` is a name of the wandb SDK, which runtap passes on.
"""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, Mapping, MutableMapping, ValuesView
from typing import TYPE_CHECKING, Any

from runtap.values import plain, unspelled

if TYPE_CHECKING:
    from runtap.run_object import Run
    from runtap.writes import Write


class SubDict(dict[str, Any]):
    """A nested dict of a summary: a real dict whose keys are attributes too."""

    def __getitem__(self, key: str) -> Any:
        return _reach(self, key)

    def __setitem__(self, key: str, value: Any) -> None:
        super().__setitem__(key, _stored(value, key))

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def get(self, key: str, default: Any = None) -> Any:
        return _reach(self, key) if key in self else default

    def values(self) -> ValuesView[Any]:  # type: ignore[override]
        return ValuesView(self)

    def items(self) -> ItemsView[str, Any]:  # type: ignore[override]
        return ItemsView(self)

    def update(self, values: Any = (), /, **more: Any) -> None:
        for key, value in dict(values, **more).items():
            self[key] = value

    def setdefault(self, key: str, default: Any = None) -> Any:
        if key not in self:
            self[key] = default
        return self[key]


class Summary(MutableMapping[str, Any]):
    """The summary of a run.

    Reading asks nobody, except that a summary too large for a list is fetched when first touched. `summary["acc"]`,
    `summary.acc` and nested `summary["val"]["acc"]`, `summary.val.acc` all work. Setting and deleting change this
    object only; `update()` sends the changed keys, and only those. Strings that are exactly NaN, Infinity or -Infinity
    are floats here, nested ones too.
    """

    __slots__ = ("__weakref__", "_run")
    _run: Run

    def __init__(self, run: Run) -> None:
        object.__setattr__(self, "_run", run)

    @property
    def _json_dict(self) -> dict[str, Any]:
        """The plain dict behind this object."""
        return self._run.summary_metrics

    def __getitem__(self, key: str) -> Any:
        return _reach(self._json_dict, key)

    def __setitem__(self, key: str, value: Any) -> None:
        self._json_dict[key] = _stored(value, key)

    def __delitem__(self, key: str) -> None:
        del self._json_dict[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._json_dict)

    def __len__(self) -> int:
        return len(self._json_dict)

    def __contains__(self, key: object) -> bool:
        return key in self._json_dict

    def __getattr__(self, name: str) -> Any:
        return _attribute(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self[name] = value

    def __delattr__(self, name: str) -> None:
        del self[name]

    def __getstate__(self) -> Run:
        return self._run

    def __setstate__(self, state: Run) -> None:
        object.__setattr__(self, "_run", state)

    def __repr__(self) -> str:
        return repr(self._json_dict)

    def update(  # type: ignore[override]
        self, values: Mapping[str, Any] | None = None, overwrite: bool = True, *, wait: bool = True
    ) -> Write | None:
        """Merges `values` into the summary and sends what changed of the summary.

        Arguments:
            values: keys to set before sending; a nested dict replaces what is there.
            overwrite: False keeps the values of keys that are there already.
            wait: False returns as soon as the change is safe on this machine.

        Returns:
            What became of the change; None when nothing had changed.

        Raises:
            As `Run.update`.
        """
        for key, value in (values or {}).items():
            if overwrite or key not in self:
                self[key] = value
        return self._run._send(("summary",), wait=wait)


def _reach(holder: dict[str, Any], key: str) -> Any:
    """A value of a dict; a nested dict becomes a SubDict, which stays in its place."""
    value = dict.__getitem__(holder, key)
    if type(value) is dict:
        value = SubDict(value)
        dict.__setitem__(holder, key, value)
    return value


def _stored(value: Any, key: str) -> Any:
    """What is kept of an assigned value: JSON's own types, NaN as a float."""
    return unspelled(plain(value, f"summary.{key}"))


def _attribute(holder: Mapping[str, Any], name: str) -> Any:
    if name.startswith("__"):  # copy, pickle and notebooks ask for these; a summary has no such keys
        raise AttributeError(name)
    try:
        return holder[name]
    except KeyError:
        raise AttributeError(f"the summary has no key {name!r}") from None
