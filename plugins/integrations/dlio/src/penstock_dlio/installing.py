"""Making DLIO use penstock's storage: its factory knows a fixed list of kinds, so the factory is what is changed."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["install", "uninstall"]

#: The word under ``storage.storage_options.storage_library`` that asks for penstock.
_WORD = "penstock"
_before: list[tuple[Any, Any]] = []


def install(*, everywhere: bool = False, library: str | None = None) -> None:
    """Have DLIO's factory give penstock's storage where ``storage_library`` says ``penstock``, or ``everywhere``.

    ``library``, such as ``s3dlio``, is a name under which ``import`` finds :mod:`penstock_dlio.library` from then on,
    for the classes of DLIO that call such a library themselves. It holds for this process. Raises ImportError where
    DLIO is not installed, and where ``library`` is imported already.
    """
    if library is not None:
        _take_name(library)
    from dlio_benchmark.storage.storage_factory import StorageFactory
    from dlio_benchmark.utils.config import ConfigArguments

    if _before:
        uninstall()
    original = StorageFactory.get_storage

    def get_storage(storage_type: Any, namespace: str, framework: Any = None) -> Any:
        from penstock_dlio.storage import PenstockStorage

        options = getattr(ConfigArguments.get_instance(), "storage_options", None) or {}
        if everywhere or options.get("storage_library") == _WORD:
            return PenstockStorage(namespace, framework)
        return original(storage_type, namespace, framework)

    _before.append((StorageFactory, original))
    StorageFactory.get_storage = staticmethod(get_storage)


def uninstall() -> None:
    """Give DLIO its own factory back. Harmless where nothing was installed."""
    while _before:
        factory, original = _before.pop()
        factory.get_storage = staticmethod(original)


def _take_name(name: str) -> None:
    from penstock_dlio import library

    there = sys.modules.get(name)
    if there is not None and there is not library:
        raise ImportError(f"{name} is imported already; call install before that")
    sys.modules[name] = library
