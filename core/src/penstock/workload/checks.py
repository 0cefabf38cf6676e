"""What no single key can show to be wrong: checks across the keys of a configuration.

A check of a key that could not be read is left out, for its default stands there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from penstock.workload.shapes import FAILED, Reader

if TYPE_CHECKING:
    from penstock.workload.config import Config

__all__ = ["check"]


def check(config: Config, reader: Reader) -> None:
    """Note every contradiction in ``config``."""
    _check_weights(config, reader)


def _check_weights(config: Config, reader: Reader) -> None:
    items = [item for item in config.workload if item is not FAILED]
    failed = any(path.startswith("workload[") for path in reader.failed)
    if not failed and not sum(item.weight for item in items) > 0:
        reader.note("workload", "the weights sum to 0; give at least one operation a weight above 0")
