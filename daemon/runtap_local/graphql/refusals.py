"""What real clients ask for and this server does not have: one sentence each, with what to use instead.

Such documents name fields and types that are not in the schema, a dozen at a time. Clients show the errors of an answer
to people, so the list of unknown names is replaced by the sentence they can act on.
"""

import re
from collections.abc import Iterable
from typing import Final

ARTIFACTS: Final = (
    "this server keeps no artifacts: keep files with run.save(), "
    "and read them with wandb.Api().run(path).file(name).download()"
)
_REWIND: Final = "this server cannot rewind a run: go on at its end with resume='allow', or log to a new run"
FORK: Final = (
    "this server cannot fork a run: log to a new run, and name the one it comes from in its config or group"
)
SHARED: Final = (
    "this server does not take one run from several programs (mode='shared'): let each log a run of its own, "
    "with one name for 'group'"
)
_OTHERS: Final = (
    ("registr|organization|orgEntity|ProjectMember|TeamMember|renameProject|deleteModel",
     "this server has no organizations and no registries: runs are kept in the projects of users"),
    ("trigger|automation|integration|webhook",
     "this server has no automations and no integrations: run what should follow from your own script"),
    ("runQueue|launch|resourceConfig|\\bjob\\b|jobs",
     "this server has no launch queues and no jobs: start training from your own script or with a sweep"),
    ("customChart|createView|upsertView|deleteView",
     "this server has no web pages, so it keeps no charts and no reports"),
)  # fmt: skip
_PATTERNS: Final = tuple(
    (re.compile(pattern, re.IGNORECASE), sentence)
    for pattern, sentence in (
        ("artifact|clientIDMapping|addAliases|deleteAliases", ARTIFACTS),
        ("rewind", _REWIND),
        *_OTHERS,
    )
)


def refusal(messages: Iterable[str]) -> str | None:
    """The sentence for a document with these errors; None where they are plain mistakes."""
    # What comes after is the library's guess at what may have been meant, not what was asked for.
    names = [message.partition(" Did you mean")[0] for message in messages]
    for pattern, sentence in _PATTERNS:
        if any(pattern.search(name) for name in names):
            return sentence
    return None
