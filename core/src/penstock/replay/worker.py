"""The worker process of a replay: ``python -m penstock.replay.worker``."""

from __future__ import annotations

import gc
import sys
from typing import Final

from penstock.engine.worker import serve
from penstock.replay.session import ReplaySession

__all__ = ["main"]

#: Seconds after which a thread that plans must let one go on whose operation is due.
_SWITCH: Final = 0.0005
#: Collections of garbage are rare and small: nothing here makes cycles but errors, and a long one makes calls late.
_GARBAGE: Final = (50_000, 20, 1000)


def main() -> None:
    """Serve a replay."""
    sys.setswitchinterval(_SWITCH)
    gc.freeze()
    gc.set_threshold(*_GARBAGE)
    serve(ReplaySession())


if __name__ == "__main__":
    main()
