"""The conformance kit: what a backend promises, as tests to inherit. Install ``penstock[testing]``.

A backend's whole test file::

    class TestAcme(StoreContract):
        @pytest.fixture
        def store(self, tmp_path):
            with closing(open_store(f"acme://{tmp_path}")) as store:
                yield store

The store is fresh and empty in each test. The kit has three layers: a deterministic example or a few for each law
of :mod:`penstock.store`, random histories compared with a dictionary (the same ones in every run), and life: many
threads, other processes, sudden death. Nothing is skipped: a capability that is claimed is exercised, and one that
is not must be refused. It uses the public contract alone, and does not ask what kind of store it is given.

Some tests open the same place again, in this process and in spawned ones. The kit watches where ``open_store``
opened the store, and carries its options there. Where a test class makes its store in another way, it also says
where that is, by the fixture ``uri``; if that does not open the same kind of store either, by the fixture
``opener``, a call without arguments that pickles. A class that overrides ``uri`` alone needs no ``store``.

A fresh, empty store may be a place of its own in a bucket that tests share: a ``uri`` that ends in a prefix which no
other test has, of at most 200 bytes. The kit never looks beside it. Over a network the kit is a matter of requests,
some twenty thousand, most of them in the histories; where parts are of some MiB no test sends more than a dozen.

What a class may choose besides:

- ``keys`` and ``data``: hypothesis strategies for the histories; ``histories`` and ``calls``: how many and how long
- ``awkward_keys`` and ``opaque_keys``: keys that must survive a round trip, less those that a service can't hold

:class:`PayloadContract` does the same for a payload, by the fixture ``opened``, :class:`FormatContract` for a data
format (:mod:`penstock.testing.formats`), and :class:`LauncherContract` for a launcher
(:mod:`penstock.testing.launchers`).
"""

from __future__ import annotations

import pytest

pytest.register_assert_rewrite(
    *(f"penstock.testing.{name}" for name in ("formats", "launchers", "laws", "life", "model", "payload", "tools"))
)

# ruff: noqa: E402  (the rewriting comes before the import)
from penstock.testing.contract import StoreContract
from penstock.testing.formats import FormatContract
from penstock.testing.launchers import LauncherContract, ProcessLauncherContract
from penstock.testing.payload import PayloadContract

__all__ = ["FormatContract", "LauncherContract", "PayloadContract", "ProcessLauncherContract", "StoreContract"]
