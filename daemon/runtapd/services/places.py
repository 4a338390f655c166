"""Page tokens of lists of runs: where a list goes on, sealed together with what it is a list of."""

from __future__ import annotations

from dataclasses import asdict

from runtapd.cache import keys
from runtapd.faults import InvalidRequest
from runtapd.paging import Sealer
from runtapd.reads.answers import Place
from runtapd.reads.query import RunQuery
from runtapd.services.masks import Mask

_KIND = "page_token"
_REASON = "INVALID_PAGE_TOKEN"


def purpose(account_id: str, query: RunQuery, mask: Mask | None) -> str:
    """Names what a token is good for: this list, as this account sees it, in this shape."""
    return keys.answer_key("page", account=account_id, query=query.key, mask=mask.text if mask else "")


def sealed(sealer: Sealer, place: Place, purpose: str) -> str:
    """Returns the token of a place."""
    return sealer.seal(_KIND, {"for": purpose, "place": asdict(place)})


def opened(sealer: Sealer, token: str, purpose: str) -> Place | None:
    """Reads a token; None for the beginning. Raises InvalidRequest when it is not ours or for another list."""
    if not token:
        return None
    content = sealer.open(_KIND, token, field=_KIND, reason=_REASON)
    if content["for"] != purpose:
        raise InvalidRequest(
            "page_token belongs to another list; account, project, filter, order and read_mask must stay as they were",
            reason=_REASON,
            field=_KIND,
        )
    return Place(**content["place"])
