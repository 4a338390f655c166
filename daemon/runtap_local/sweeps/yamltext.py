"""YAML from strangers: read within bounds of size, depth and expanded aliases, into values that JSON has too."""

from typing import Any, Final

import yaml

from .. import jsontext
from ..faults import BadRequest

MAX_BYTES: Final = 512 * 1024
MAX_DEPTH: Final = 32
MAX_NODES: Final = 50_000
"""Nodes with every alias written out: what a text of a few lines can grow to."""

# The parser in C is many times faster where PyYAML came with it; both know only plain values.
_LOADER: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def load_mapping(text: str) -> dict[str, Any]:
    """The mapping that a YAML (or JSON) text holds. Raises BadRequest, which says where the text is wrong."""
    if len(text.encode("utf-8", "surrogatepass")) > MAX_BYTES:
        raise BadRequest(f"config is longer than {MAX_BYTES} bytes")
    try:
        _check_events(text)
        value = _construct(text)
    except (yaml.YAMLError, ValueError, OverflowError, RecursionError) as error:
        raise BadRequest(f"config is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(value, dict):
        raise BadRequest("config must be a mapping such as {method: grid, parameters: {...}}")
    checked: dict[str, Any] = jsontext.storable(_plain(value, ""))
    return checked


def _check_events(text: str) -> None:
    """The depth as written, seen before anything recurses into it."""
    depth = 0
    for count, event in enumerate(yaml.parse(text, Loader=_LOADER)):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise BadRequest(f"config nests deeper than {MAX_DEPTH} levels")
        if count > 2 * MAX_NODES:
            raise BadRequest(f"config has more than {MAX_NODES} values")


def _construct(text: str) -> Any:
    loader = _LOADER(text)
    try:
        node = loader.get_single_node()
        if node is None:
            return None
        _measure(node, {}, 0)
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _measure(node: yaml.Node, known: dict[int, int], depth: int) -> int:
    """How many nodes there are with every alias written out. Counted without writing them out."""
    if isinstance(node, yaml.ScalarNode):
        return 1
    found = known.get(id(node))
    if found == 0:
        raise BadRequest("config has an alias (*name) that contains itself")
    if found is not None:
        return found
    if depth > MAX_DEPTH:
        raise BadRequest(f"config nests deeper than {MAX_DEPTH} levels")
    known[id(node)] = 0
    pairs = isinstance(node, yaml.MappingNode)
    below = [part for pair in node.value for part in pair] if pairs else node.value
    size = 1
    for part in below:
        size += _measure(part, known, depth + 1)
        if size > MAX_NODES:
            raise BadRequest(f"config has more than {MAX_NODES} values, aliases (*name) written out")
    known[id(node)] = size
    return size


def _plain(value: Any, path: str) -> Any:
    """The value with what JSON does not have refused by name: dates, sets, bytes, names that are not text."""
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, list):
        return [_plain(item, f"{path}[{index}]") for index, item in enumerate(value)]
    if isinstance(value, dict):
        return {
            _name(key, path): _plain(item, f"{path}.{key}" if path else str(key))
            for key, item in value.items()
        }
    raise BadRequest(f"{path} is a {type(value).__name__}: put it in quotes to make it a text")


def _name(key: Any, path: str) -> str:
    if isinstance(key, str):
        return key
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    # YAML reads yes, no, on and off as truth values, and ~ as null.
    raise BadRequest(f"{path or 'config'} has the name {key!r}, which is not a text: put it in quotes")
