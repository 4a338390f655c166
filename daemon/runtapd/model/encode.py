"""Between our values and the messages of the contract, for records: the only place below the services that knows
generated code, because records stay serialised from here to the wire."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote

from runtap.v1 import runs_pb2 as pb
from runtapd.model import jsontext, patch
from runtapd.model.run import DocumentKind, Record, RunData

LARGEST_DOCUMENT = 2**20
"""A document over this many bytes leaves the message and is read by ReadDocument."""
LARGEST_RUN = 3 * 2**19
"""All documents of one run together; beyond it the largest ones leave too, so that no message passes 2 MiB."""

_FIELDS = {
    DocumentKind.CONFIG: "config_json",
    DocumentKind.SUMMARY: "summary_json",
    DocumentKind.SYSTEM_METRICS: "system_metrics_json",
    DocumentKind.HISTORY_KEYS: "history_keys_json",
    DocumentKind.NOTES: "notes",
}


def record_of(run: RunData, *, app_url: str, fetched_at: float, last_step: int | None) -> Record:
    """Makes the record of a run as it came from the server; `numbered` gives it its revision."""
    documents = _documents(run)
    body, oversize = _message(run, app_url, documents)
    return Record(
        storage_id=run.storage_id,
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        state=run.state,
        etag=body.etag,
        revision=0,
        fetched_at=fetched_at,
        body=body.SerializeToString(),
        sign=run.sign(),
        updated_at=run.updated_at,
        heartbeat_at=run.heartbeat_at,
        history_line_count=run.history_line_count,
        last_step=last_step,
        oversize=tuple((kind, _size(documents[kind])) for kind in oversize),
        documents={kind: documents[kind] for kind in oversize},
    )


def numbered(record: Record, revision: int) -> Record:
    """Returns the record under this revision.

    Protobuf reads the last of a field's values, so the number is simply the body's last bytes: no run is parsed for it.
    """
    bare = record.body[: len(record.body) - len(_revision_bytes(record.revision))]
    return replace(record, revision=revision, body=bare + _revision_bytes(revision))


def _revision_bytes(revision: int) -> bytes:
    return pb.Run(revision=revision).SerializeToString()


def with_pending(
    record: Record, patches: Sequence[patch.Patch], documents: dict[DocumentKind, str], app_url: str
) -> tuple[Record, dict[DocumentKind, str]]:
    """Returns the record as it will be once these patches are applied, and its documents that are too large.

    `documents` are the texts of the record's own oversize documents; one that is missing stays left out, unchanged.
    Raises ValueError when a document that a patch touches is not JSON.
    """
    message = pb.Run.FromString(record.body)
    run = run_of(message, documents)
    for pending in patches:
        run = patch.apply(pending, run)
    texts = _documents(run)
    untouched = {kind for kind, _ in record.oversize if kind not in documents}
    for kind in untouched:
        texts.pop(kind, None)
    body, oversize = _message(run, app_url, texts)
    body.pending_writes = len(patches)
    sizes = {kind: _size(texts[kind]) for kind in oversize}
    sizes |= {kind: size for kind, size in record.oversize if kind in untouched}
    del body.omitted[:]
    for kind in sorted(sizes):
        body.omitted.add(document=int(kind), size_bytes=sizes[kind])
    shown = replace(
        record,
        revision=0,
        body=body.SerializeToString(),
        oversize=tuple(sorted(sizes.items())),
        etag=body.etag,
    )
    return numbered(shown, record.revision), {kind: texts[kind] for kind in oversize}


def run_of(message: pb.Run, documents: dict[DocumentKind, str]) -> RunData:
    """Reads a run back from its message; documents that are not in it come from `documents`, or are empty."""

    def text(kind: DocumentKind) -> str | None:
        name = _FIELDS[kind]
        return getattr(message, name) if message.HasField(name) else documents.get(kind)  # type: ignore[arg-type]

    def optional(name: str) -> str | None:
        return getattr(message, name) if message.HasField(name) else None  # type: ignore[arg-type]

    return RunData(
        storage_id=message.storage_id,
        entity=message.entity,
        project=message.project,
        run_id=message.run_id,
        display_name=message.display_name,
        state=message.state,
        created_at=message.created_at,
        tags=tuple(message.tags),
        notes=text(DocumentKind.NOTES),
        description=optional("description"),
        group=optional("group"),
        job_type=optional("job_type"),
        sweep_name=optional("sweep_name"),
        commit=optional("commit"),
        username=message.user.username,
        user_name=message.user.name,
        heartbeat_at=optional("heartbeat_at"),
        updated_at=optional("updated_at"),
        read_only=message.read_only,
        history_line_count=message.history_line_count if message.HasField("history_line_count") else None,
        config=text(DocumentKind.CONFIG) or "{}",
        summary=text(DocumentKind.SUMMARY) or "{}",
        system_metrics=text(DocumentKind.SYSTEM_METRICS),
        history_keys=text(DocumentKind.HISTORY_KEYS),
        project_id=message.project_id,
    )


def parse(body: bytes) -> pb.Run:
    """Reads a record's message."""
    return pb.Run.FromString(body)


def document_field(kind: DocumentKind) -> str:
    """Returns the name of the message field that holds a document."""
    return _FIELDS[kind]


def document_of(run: RunData, kind: DocumentKind) -> str | None:
    """Returns one of a run's documents in the contract's spelling; None when the run has none."""
    return _documents(run).get(kind)


def _documents(run: RunData) -> dict[DocumentKind, str]:
    """Returns a run's documents in the contract's spelling; absent ones are left out."""
    found = {
        DocumentKind.CONFIG: jsontext.strict(run.config or "{}"),
        DocumentKind.SUMMARY: jsontext.strict(run.summary or "{}"),
    }
    if run.system_metrics:
        found[DocumentKind.SYSTEM_METRICS] = jsontext.strict(run.system_metrics)
    if run.history_keys:
        found[DocumentKind.HISTORY_KEYS] = jsontext.strict(run.history_keys)
    if run.notes is not None:
        found[DocumentKind.NOTES] = run.notes
    return found


def too_large(documents: Mapping[DocumentKind, str], others: int = 0) -> list[DocumentKind]:
    """Chooses the documents that must leave the message: each one too large, then the largest until the rest fits
    beside the `others` bytes of the message."""
    sizes = {kind: _size(text) for kind, text in documents.items()}
    leaving = [kind for kind, size in sizes.items() if size > LARGEST_DOCUMENT]
    staying = sorted((size, kind) for kind, size in sizes.items() if kind not in leaving)
    while staying and others + sum(size for size, _ in staying) > LARGEST_RUN:
        leaving.append(staying.pop()[1])
    return sorted(leaving)


def _size(text: str) -> int:
    """Returns the bytes of UTF-8, which for ASCII needs no look at the text."""
    return len(text) if text.isascii() else len(text.encode())


def _message(
    run: RunData, app_url: str, documents: dict[DocumentKind, str]
) -> tuple[pb.Run, list[DocumentKind]]:
    """Returns the message, but for its revision, and which documents had to stay outside."""
    body = pb.Run(
        storage_id=run.storage_id,
        entity=run.entity,
        project=run.project,
        run_id=run.run_id,
        path=run.path,
        url="/".join([app_url, *(quote(p, safe="") for p in (run.entity, run.project, "runs", run.run_id))]),
        display_name=run.display_name,
        state=run.state,
        tags=run.tags,
        description=run.description,
        group=run.group,
        job_type=run.job_type,
        sweep_name=run.sweep_name,
        commit=run.commit,
        user=pb.User(username=run.username, name=run.user_name),
        created_at=run.created_at,
        heartbeat_at=run.heartbeat_at,
        updated_at=run.updated_at,
        read_only=run.read_only,
        history_line_count=run.history_line_count,
        project_id=run.project_id,
        etag=run.etag(),
    )
    oversize = too_large(documents, body.ByteSize())
    for kind, text in documents.items():
        if kind in oversize:
            body.omitted.add(document=int(kind), size_bytes=_size(text))
        else:
            setattr(body, _FIELDS[kind], text)
    return body, oversize
