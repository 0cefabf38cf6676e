"""A worker that drives nothing: ``python -m penstock.engine.probe``. It answers about the way to it, for the kit for
launchers and for whoever doubts a channel.
"""

from __future__ import annotations

import os
import stat
import threading
from collections.abc import Iterator
from typing import Any

from penstock import errors
from penstock.engine.serving import serve_methods
from penstock.launchers import Body

__all__ = ["Probe", "main"]

#: The variables that it tells of begin so: they are nobody's secret.
_TOLD = "PENSTOCK_KIT_"


class Probe:
    """What the worker answers."""

    def echo(self, body: Body) -> Body:
        """What was said."""
        return body

    def count(self, body: Body) -> Iterator[Body]:
        """``items`` items, numbered from 0, each with that ``data``."""
        for number in range(int(body["items"])):
            yield {"number": number, "data": body["data"]}

    def fail(self, body: Body) -> Body:
        """Raise ``message`` as the error of that ``type``: one of penstock's, or of Python's."""
        raise _error(body)

    def fail_later(self, body: Body) -> Iterator[Body]:
        """The same in a stream."""
        yield {"number": 0}
        raise _error(body)

    def rest(self, body: Body) -> Body:
        """Never answer."""
        threading.Event().wait()
        return {}

    def wait(self, body: Body) -> Iterator[Body]:
        """One item, and then never another one."""
        yield {"waiting": True}
        threading.Event().wait()

    def place(self, body: Body) -> Body:
        """The worker's directory, empty text where it has none; the mode, and the names in it."""
        scratch = os.environ.get("PENSTOCK_HOST_SCRATCH", "")
        if not scratch:
            return {"scratch": ""}
        mode = stat.S_IMODE(os.stat(scratch).st_mode)
        return {"scratch": scratch, "mode": mode, "names": sorted(os.listdir(scratch))}

    def environment(self, body: Body) -> Body:
        """The value of a variable of the kit, None: it is not set."""
        name = str(body["name"])
        if not name.startswith(_TOLD):
            raise errors.UsageError(f"only variables {_TOLD}… are told")
        return {"value": os.environ.get(name)}


def _error(body: Body) -> Exception:
    kinds: dict[str, Any] = {**vars(errors), "ZeroDivisionError": ZeroDivisionError}
    kind = kinds.get(str(body["type"]))
    if not isinstance(kind, type) or not issubclass(kind, Exception):
        raise errors.UsageError(f"{body['type']} is no error")
    return kind(str(body["message"]))


def main() -> None:
    """Serve until the controller is gone."""
    probe = Probe()
    calls = {name: getattr(probe, name) for name in ("echo", "fail", "rest", "place", "environment")}
    streams = {name: getattr(probe, name) for name in ("count", "fail_later", "wait")}
    serve_methods(calls, streams)


if __name__ == "__main__":
    main()
