"""The JSON documents of one run: decoded at first touch, fetched when they were left out, compared when edited.

A run arrives as one message that carries its documents as text. `base` decodes a text anew, which is what makes the
untouched original cheap to keep; `live` is the one dict that people hold and change. What is too large for a message is
left out by the daemon and read by ReadDocument here, invisibly.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from runtap import edits
from runtap.cautions import caution
from runtap.errors import CommError
from runtap.v1 import runs_pb2
from runtap.values import parsed

if TYPE_CHECKING:
    from runtap.session import Session

INTERNAL_KEYS = ("_wandb", "wandb_version")
"""Keys of a config that belong to the logger, not to the user."""

_FIELDS = {name: f"{name}_json" for name in ("config", "summary", "system_metrics", "history_keys")}
"""Where the text of a document lies in the message of a run."""

_NUMBERS = {"config": 1, "summary": 2, "system_metrics": 3, "history_keys": 4, "notes": 5}
"""`Document` of runs.proto by name; written out so that this module needs no stub."""


class Documents:
    """The documents of one run. Any number of threads may read; picklable."""

    __slots__ = ("_fetched", "_live", "_session", "message")

    def __init__(self, session: Session, message: runs_pb2.Run) -> None:
        self._session = session
        self.message = message
        # Made when needed: a long list is slowed down by every object that the garbage collector has to look at.
        self._fetched: dict[str, str] | None = None
        self._live: dict[str, dict[str, Any]] = {}

    def live(self, name: str) -> dict[str, Any]:
        """The one dict of this document that is handed out; changes in it are edits."""
        held = self._live.get(name)
        if held is None:
            # setdefault is atomic: of two threads that decode at once, both get the same dict.
            held = self._live.setdefault(name, self.base(name))
        return held

    def base(self, name: str) -> dict[str, Any]:
        """The document as the server holds it, a new dict each time."""
        return decode(self._own_text(name), name, self.message, _READERS[name])

    def json(self, name: str) -> dict[str, Any]:
        """The document decoded as it is, internal keys and all; {} when the run has none."""
        return decode(self._own_text(name), name, self.message, _an_object)

    def notes(self) -> str | None:
        """The notes, also when they are too long for a message; None when never set."""
        if self.message.HasField("notes"):
            return self.message.notes
        return self._own_text("notes") or None

    def changes(self, name: str) -> list[edits.Edit]:
        """What was changed in this document since the run was read."""
        held = self._live.get(name)
        return _changes(self.base(name), held, name) if held is not None else []

    def adopt(self, message: runs_pb2.Run, sent: Mapping[str, Sequence[edits.Edit]]) -> None:
        """Takes the server's newer state of the run; edits that were not sent survive on top of it."""
        fetched: dict[str, str] = {}
        fresh: dict[str, dict[str, Any]] = {}
        for name, held in self._live.items():
            known = self.base(name)
            edits.apply(sent.get(name, ()), known)
            kept = _changes(known, held, name)
            text = _carried(message, name) or self._left_out(message, fetched, name)
            fresh[name] = decode(text, name, message, _READERS[name])
            edits.apply(kept, fresh[name])
        # Everything that can fail has been done; from here on the run is the new one.
        self.message, self._fetched = message, fetched
        for name, document in fresh.items():
            edits.replace(self._live[name], document)

    def _own_text(self, name: str) -> str:
        text = _carried(self.message, name)
        if text:
            return text
        if self._fetched is None:
            self._fetched = {}
        return self._left_out(self.message, self._fetched, name)

    def _left_out(self, message: runs_pb2.Run, fetched: dict[str, str], name: str) -> str:
        if name in fetched:
            return fetched[name]
        if any(omitted.document == _NUMBERS[name] for omitted in message.omitted):
            fetched[name] = _read_document(self._session, message.path, _NUMBERS[name])
            return fetched[name]
        return ""


def _carried(message: runs_pb2.Run, name: str) -> str:
    """The text of a document that came with its run; empty when it did not, as no JSON is."""
    if name == "notes":
        return ""
    text: str = getattr(message, _FIELDS[name])
    return text


def _changes(base: dict[str, Any], held: dict[str, Any], name: str) -> list[edits.Edit]:
    """The edits in a document, without the logger's own keys: what it recorded is not the user's to change."""
    if name == "config" and (internal := [key for key in INTERNAL_KEYS if key in held]):
        caution(f"{' and '.join(internal)} in run.config belong to the logger and were dropped, not sent")
        for key in internal:
            del held[key]
    return edits.changes(base, held, name)


def _read_document(session: Session, path: str, document: int) -> str:
    request = runs_pb2.ReadDocumentRequest(
        path=path, document=runs_pb2.Document.ValueType(document), options=session.options()
    )
    parts = [answer.data for answer in session.stream("runs.ReadDocument", request)]
    return b"".join(parts).decode()


def decode(text: str, name: str, run: runs_pb2.Run, read: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    """What `read` makes of a document, with NaN and infinities as floats; {} for no text."""
    try:
        value: dict[str, Any] = parsed(text, read) if text else {}
    except ValueError as error:
        raise CommError(f"the {name} of {run.path} is not JSON: {error}", error) from error
    return value


def unwrapped(value: Any) -> Any:
    """The value of a config entry, which is wrapped as {"value": ...} except by some old writers.

    Whatever else the wrapper holds, as in the wandb SDK and in the daemon's `model/patch.py`.
    """
    return value["value"] if isinstance(value, dict) and "value" in value else value


def _user_config(value: Any) -> dict[str, Any]:
    document = _an_object(value)
    try:  # nearly always they are all wrapped; this is done for each key of each run of a list
        config = {key: entry["value"] for key, entry in document.items()}
    except (KeyError, TypeError):
        config = {key: unwrapped(entry) for key, entry in document.items()}
    for key in INTERNAL_KEYS:
        config.pop(key, None)
    return config


def _an_object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


_READERS: Mapping[str, Callable[[Any], dict[str, Any]]] = {
    "config": _user_config,
    "summary": _an_object,
    "system_metrics": _an_object,
    "history_keys": _an_object,
}
