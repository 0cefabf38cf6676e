"""Variables of this process's environment, for a while, and those of the processes that it starts."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Final

__all__ = ["CALM", "calm", "variables"]

#: What a process of penstock's own starts with, unless its user says otherwise. NumPy's OpenBLAS starts a thread for
#: each CPU when it is imported, which spins for a tenth of a second and then never gets anything to do.
CALM: Final[Mapping[str, str]] = MappingProxyType({"OPENBLAS_NUM_THREADS": "1"})


def calm(environ: Mapping[str, str]) -> dict[str, str]:
    """Those of :data:`CALM` that are not set in ``environ``."""
    return {name: value for name, value in CALM.items() if name not in environ}


@contextlib.contextmanager
def variables(values: Mapping[str, str]) -> Iterator[None]:
    """Set them, and at the end restore what was before. Other threads see them too."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
