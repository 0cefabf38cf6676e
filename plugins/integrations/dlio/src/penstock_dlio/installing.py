"""Making DLIO use penstock's storage: its factory knows a fixed list of kinds, so the factory is what is changed."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["install", "uninstall"]

#: The word under ``storage.storage_options.storage_library`` that asks for penstock.
_WORD = "penstock"
_before: list[tuple[Any, str, Any]] = []


def install(*, everywhere: bool = False, library: str | None = None) -> None:
    """Have DLIO's factory give penstock's storage where ``storage_library`` says ``penstock``, or ``everywhere``.

    For DLIO 2.0, which reads no ``storage_options`` and generates data in file systems only, both are added where
    penstock's storage is asked for. ``library``, such as ``s3dlio``, is a name under which ``import`` finds
    :mod:`penstock_dlio.library` from then on, for the classes of DLIO that call such a library themselves. It holds
    for this process. Raises ImportError where DLIO is not installed, and where ``library`` is imported already.
    """
    if library is not None:
        _take_name(library)
    from dlio_benchmark.storage.storage_factory import StorageFactory
    from dlio_benchmark.utils import config

    uninstall()

    def wanted() -> bool:
        options = getattr(config.ConfigArguments.get_instance(), "storage_options", None) or {}
        return everywhere or options.get("storage_library") == _WORD

    original = StorageFactory.get_storage

    def get_storage(storage_type: Any, namespace: str, framework: Any = None) -> Any:
        from penstock_dlio.storage import PenstockStorage

        return PenstockStorage(namespace, framework) if wanted() else original(storage_type, namespace, framework)

    _replace(StorageFactory, "get_storage", staticmethod(get_storage))
    _read_options(config)
    _generate_anywhere(wanted)


def uninstall() -> None:
    """Give DLIO its own functions back. Harmless where nothing was installed."""
    while _before:
        owner, name, original = _before.pop()
        setattr(owner, name, original)


def _replace(owner: Any, name: str, new: Any) -> None:
    _before.append((owner, name, vars(owner)[name]))
    setattr(owner, name, new)


def _read_options(config: Any) -> None:
    """DLIO 2.0 knows no ``storage_options``, and would pass over them in silence."""
    original = config.LoadConfig

    def load(args: Any, given: Any) -> None:
        original(args, given)
        options = (given.get("storage") or {}).get("storage_options")
        if options and not getattr(args, "storage_options", None):
            args.storage_options = dict(options)

    for owner in (config, sys.modules.get("dlio_benchmark.main")):
        if owner is not None and hasattr(owner, "LoadConfig"):
            _replace(owner, "LoadConfig", load)


def _generate_anywhere(wanted: Any) -> None:
    """The generators of DLIO 2.0 open the names of files themselves; later ones ask the storage where it is no file
    system.
    """
    from dlio_benchmark.data_generator.generator_factory import GeneratorFactory
    from dlio_benchmark.storage.storage_handler import DataStorage
    from dlio_benchmark.utils.config import ConfigArguments

    if hasattr(DataStorage, "islocalfs"):
        return
    original = GeneratorFactory.get_generator

    def get_generator(type: Any) -> Any:
        from penstock_dlio.generating import PenstockGenerator
        from penstock_dlio.places import Place

        local = Place.of(ConfigArguments.get_instance()).local
        return PenstockGenerator() if wanted() and not local else original(type)

    _replace(GeneratorFactory, "get_generator", staticmethod(get_generator))


def _take_name(name: str) -> None:
    from penstock_dlio import library

    there = sys.modules.get(name)
    if there is not None and there is not library:
        raise ImportError(f"{name} is imported already; call install before that")
    sys.modules[name] = library
