"""What a query of runs means, as people read it: `print(api.runs(...).explain())`."""

from __future__ import annotations

from dataclasses import dataclass

from runtap.v1 import runs_pb2


@dataclass(frozen=True)
class Explanation:
    """How a filter and an order were understood, and who does what of them. `str()` tells it in lines."""

    filter_json: str
    """The filter as understood, JSON text; one for all spellings of one meaning."""
    order: str
    """The order as understood."""
    server_filter_json: str
    """The part of the filter that the server is given."""
    server_order: str
    """The order that the server is asked for."""
    local_filter_json: str
    """The part of the filter that the daemon judges; empty when nothing is left to it."""
    local_order: str
    """The order into which the daemon sorts; empty when the server's is kept."""
    warnings: tuple[str, ...] = ()
    """What is legal but surely not meant, with what would be right."""

    def __str__(self) -> str:
        here = " ".join(part for part in (self.local_filter_json, self.local_order) if part)
        lines = [
            f"understood as  {self.filter_json} {self.order}",
            f"at the server  {self.server_filter_json} {self.server_order}",
            f"in the daemon  {here or 'nothing'}",
        ]
        return "\n".join(lines + [f"warning        {text}" for text in self.warnings])


def from_message(message: runs_pb2.ExplainQueryResponse) -> Explanation:
    """Reads the contract's message."""
    return Explanation(
        filter_json=message.normalized_filter_json,
        order=message.normalized_order,
        server_filter_json=message.upstream_filter_json,
        server_order=message.upstream_order,
        local_filter_json=message.local_filter_json,
        local_order=message.local_order,
        warnings=tuple(message.warnings),
    )
