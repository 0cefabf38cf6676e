"""The kit over every store of this package, a share of them in one run; see tests/test_kit_kills_mutants.py.

It is no test module of its own: most of its tests have to fail.
"""

from __future__ import annotations

import functools
import inspect
import os
import uuid
from contextlib import closing

import pytest
from hypothesis import Phase, settings
from penstock_acme.store import AcmeStore

from mutants import life, listing, plain, reading, streaming, writing
from penstock.testing import StoreContract

# A mutant's death is enough here; the shortest history that kills it is for authors.
settings.register_profile("mutants", phases=[Phase.generate])
settings.load_profile("mutants")

HEALTHY = (plain.Plain, plain.Tree, plain.Bare, life.Shared)


def broken_stores():
    """Every mutant, in the order of the modules."""
    return [
        kind
        for module in (reading, writing, streaming, listing, life)
        for name, kind in vars(module).items()
        if inspect.isclass(kind)
        and kind.__module__ == module.__name__
        and hasattr(kind, "list_pages")
        and not name.startswith("_")
        and kind not in HEALTHY
    ]


def contract_over(kind):
    """The kit's test class over one store."""

    class Contract(StoreContract):
        @pytest.fixture
        def opener(self, tmp_path):
            if issubclass(kind, AcmeStore):
                return functools.partial(kind, str(tmp_path))
            return plain.Reopen(kind, str(uuid.uuid4()))

        @pytest.fixture
        def store(self, opener):
            with closing(opener()) as store:
                yield store

    Contract.__name__ = Contract.__qualname__ = f"Test{kind.__name__}"
    return Contract


if "MUTANTS_PART" in os.environ:
    _part, _, _parts = os.environ["MUTANTS_PART"].partition("/")
    for _kind in [*HEALTHY, *broken_stores()][int(_part) :: int(_parts)]:
        globals()[f"Test{_kind.__name__}"] = contract_over(_kind)
