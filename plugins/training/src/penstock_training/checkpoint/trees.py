"""State dictionaries of any depth as a flat mapping of tensors and a description of the rest.

A mapping from text to tensors is stored as it is, so that every reader of safetensors finds those names. Any other
state (nested dictionaries, lists, tuples, numbers, text, bytes, as optimizers have them) keeps its form in a text of
JSON, the tree: tensors stand in it by the name they have in the file, which is their path joined by slashes.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping
from typing import Any, Final

from penstock.errors import FormatError, UsageError
from penstock_training.checkpoint.dtypes import is_tensor

__all__ = ["TREE", "flatten", "unflatten"]

#: Where the tree stands in the metadata of a safetensors header.
TREE: Final = "penstock.tree"
_PLAIN: Final = (str, bool, int, type(None))


def flatten(state: Mapping[Any, Any]) -> tuple[dict[str, Any], str | None]:
    """The tensors by name, and the tree; None where the state is nothing but tensors by name.

    Raises UsageError, with its path, for a value that can't be stored.
    """
    if all(isinstance(name, str) and is_tensor(value) for name, value in state.items()):
        return dict(state), None
    tensors: dict[str, Any] = {}
    node = _node(state, (), tensors)
    return tensors, json.dumps(node, separators=(",", ":"), allow_nan=False)


def unflatten(tensors: Mapping[str, Any], tree: str | None) -> Any:
    """The state again. Raises FormatError for a tree that does not fit the tensors."""
    if tree is None:
        return dict(tensors)
    try:
        return _value(json.loads(tree), tensors)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"the tree of the state does not fit its tensors: {error!r}") from error


def _node(value: Any, path: tuple[str, ...], tensors: dict[str, Any]) -> Any:
    if is_tensor(value):
        return {"tensor": _named(value, path, tensors)}
    if isinstance(value, Mapping):
        return {"dict": [[_key(key, path), _node(item, (*path, str(key)), tensors)] for key, item in value.items()]}
    if isinstance(value, list) or (isinstance(value, tuple) and not hasattr(value, "_fields")):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_node(item, (*path, str(number)), tensors) for number, item in enumerate(value)]}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    if type(value) is float:
        return value if math.isfinite(value) else {"float": repr(value)}
    if type(value) in _PLAIN:
        return value
    raise UsageError(
        f"{'/'.join(path)}: {type(value).__name__} can't be stored; a state holds tensors, numbers, text, bytes, "
        "None, and dictionaries, lists and tuples of them"
    )


def _key(key: Any, path: tuple[str, ...]) -> Any:
    if type(key) in _PLAIN:
        return key
    raise UsageError(f"{'/'.join(path)}: the key {key!r} can't be stored; keys are text, whole numbers, bools or None")


def _named(value: Any, path: tuple[str, ...], tensors: dict[str, Any]) -> str:
    name = path_name = "/".join(path)
    number = 1
    while name in tensors:
        number += 1
        name = f"{path_name}~{number}"
    tensors[name] = value
    return name


def _value(node: Any, tensors: Mapping[str, Any]) -> Any:
    if not isinstance(node, dict):
        if isinstance(node, list):
            raise TypeError("a list without its kind")
        return node
    ((kind, content),) = node.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: _value(item, tensors) for key, item in content}
    if kind in ("list", "tuple"):
        items = [_value(item, tensors) for item in content]
        return items if kind == "list" else tuple(items)
    if kind == "bytes":
        return base64.b64decode(content, validate=True)
    if kind == "float":
        return float(content)
    raise ValueError(f"unknown kind {kind!r}")
