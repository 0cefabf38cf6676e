"""JSON Schema of a workload file, generated from the classes that read it; for editors that check while typing."""

from __future__ import annotations

from typing import Any

from penstock.workload.composing import INCLUDE
from penstock.workload.config import CONFIG

__all__ = ["json_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12). Every file in penstock's own keys that loads without overrides is valid by it.

    Checks across keys, and what a backend says of its options, are the loader's alone.
    """
    definitions: dict[str, Any] = {
        "variable": {"type": "string", "pattern": r"\$\{", "description": "${NAME} or ${NAME:-default}"}
    }
    body = CONFIG.body(definitions)
    path = {"type": "string"}
    body["properties"][INCLUDE] = {
        "anyOf": [path, {"type": "array", "items": path}],
        "description": "files that lie under this one, relative to it: what it says itself wins, and a later one wins "
        "over an earlier one",
    }
    some = {"minItems": 1}
    needed = [{"required": [name], "properties": {name: some}} for name in ("workload", "stages")]
    needed.append({"required": [INCLUDE]})
    body["allOf"] = [*body.get("allOf", ()), {"anyOf": needed}]
    return {"$schema": _DIALECT, "title": "penstock workload", **body, "$defs": definitions}
