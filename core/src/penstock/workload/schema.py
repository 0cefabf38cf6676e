"""JSON Schema of a workload file, generated from the classes that read it; for editors that check while typing."""

from __future__ import annotations

from typing import Any

from penstock.workload.config import CONFIG

__all__ = ["json_schema"]

_DIALECT = "https://json-schema.org/draft/2020-12/schema"


def json_schema() -> dict[str, Any]:
    """The schema (draft 2020-12). Every file that loads without overrides is valid by it; checks across keys, and
    what a backend says of its options, are the loader's alone.
    """
    definitions: dict[str, Any] = {
        "variable": {"type": "string", "pattern": r"\$\{", "description": "${NAME} or ${NAME:-default}"}
    }
    body = CONFIG.body(definitions)
    return {"$schema": _DIALECT, "title": "penstock workload", **body, "$defs": definitions}
