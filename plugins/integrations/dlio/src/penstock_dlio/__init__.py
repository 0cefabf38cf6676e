"""Any storage that penstock reads, for the DLIO benchmark: classes that its YAML names, and its storage.

``penstock_dlio.reader.PenstockReader``, ``penstock_dlio.loader.PenstockDataLoader`` and
``penstock_dlio.checkpointing.PenstockCheckpointing`` are what ``reader_classname``, ``data_loader_classname`` and
``checkpoint_mechanism_classname`` name; :func:`install` puts ``penstock_dlio.storage.PenstockStorage`` into DLIO's
factory. Importing this package imports nothing of DLIO's; those modules do.
"""

from __future__ import annotations

from penstock_dlio.installing import install

__all__ = ["install"]
