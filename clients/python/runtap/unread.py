"""What could not be read of a larger answer, as exceptions: one for each item, and one for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from runtap.errors import CommError, Fault, IncompleteError, from_fault

if TYPE_CHECKING:
    from runtap.v1 import common_pb2


def item_error(item: common_pb2.ItemError) -> CommError:
    """The exception of one item that could not be read."""
    import grpc

    codes = {code.value[0]: code.name for code in grpc.StatusCode}
    code = codes.get(item.code, "UNKNOWN")
    fault = Fault(code, f"{item.item}: {item.message}", reason=item.reason, metadata=dict(item.metadata))
    return from_fault(fault)


def incomplete(errors: Sequence[CommError], read: int, partial: Any = None) -> IncompleteError:
    """The exception for some runs out of many, beside `read` that could be read."""
    return IncompleteError(
        f"{len(errors)} of {len(errors) + read} runs could not be read, the first because: {errors[0].message}",
        errors,
        partial=partial,
    )
