"""Finding plugins: entry points by name, loaded one at a time and only when needed.

An entry point's name is what the user types: a scheme, a format, a launcher, a command. ``s3+crt`` is looked up
as ``s3.crt``. A plugin that can't be loaded harms no other; it is named with its distribution, version and the
cause. Two distributions that offer one name are an error that names both. ``PENSTOCK_DISABLE_PLUGINS`` holds
names, separated by commas, that are treated as not installed.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import EntryPoint, entry_points
from types import MappingProxyType
from typing import Any, Final

import attrs
import pluggy

from penstock import commands, formats, hookspecs, launchers, payload, store
from penstock.errors import PenstockError, PluginError, UnknownSchemeError
from penstock.options import nearest

__all__ = [
    "AGENT_LAUNCHER",
    "FORMAT_PACKAGES",
    "GROUPS",
    "LAUNCHER_PACKAGES",
    "PACKAGES",
    "PluginHost",
    "PluginRecord",
    "default_host",
]

#: Which package serves which scheme, to tell a user what to install.
PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "file": "penstock-file",
        "direct": "penstock-direct",
        "s3": "penstock-s3",
        "az": "penstock-azure",
        "https": "penstock-azure",
        "gs": "penstock-gcs",
        "gcs": "penstock-gcs",
    }
)


#: Which package brings which data format.
FORMAT_PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "hdf5": "penstock-hdf5",
        "npy": "penstock-npz",
        "npz": "penstock-npz",
        "parquet": "penstock-parquet",
        "safetensors": "penstock-safetensors",
        "tfrecord": "penstock-tfrecord",
    }
)

#: Which package brings which launcher, and the one that is meant where agents are named and no launcher is.
LAUNCHER_PACKAGES: Mapping[str, str] = MappingProxyType(
    {"grpc": "penstock-grpc", "mpi": "penstock-mpi", "ray": "penstock-ray"}
)
AGENT_LAUNCHER: Final = "grpc"
_PACKAGES_OF: Final = {"penstock.formats": FORMAT_PACKAGES, "penstock.launchers": LAUNCHER_PACKAGES}


@attrs.frozen(slots=True)
class _Group:
    hook: str
    names: Callable[[Any], tuple[str, ...]]
    api: int


#: Entry-point groups, with the hook that describes what they offer.
GROUPS: Mapping[str, _Group] = MappingProxyType(
    {
        "penstock.stores": _Group("penstock_store_types", lambda kind: kind.schemes, store.API_VERSION),
        "penstock.formats": _Group("penstock_format_types", lambda kind: (kind.name,), formats.API_VERSION),
        "penstock.payloads": _Group("penstock_payload_types", lambda kind: (kind.name,), payload.API_VERSION),
        "penstock.launchers": _Group("penstock_launcher_types", lambda kind: (kind.name,), launchers.API_VERSION),
        "penstock.commands": _Group("penstock_commands", lambda kind: (kind.name,), commands.API_VERSION),
    }
)


@attrs.frozen(slots=True)
class PluginRecord:
    """One line of ``penstock plugins``. ``kind`` is the descriptor, or None with the reason in ``problem``."""

    group: str
    name: str
    distribution: str
    version: str
    kind: Any = None
    problem: str = ""


class PluginHost:
    """Knows the installed plugins of one environment; cheap to make, loads nothing by itself."""

    def __init__(self, *, disabled: Iterable[str] | None = None, entries: Sequence[EntryPoint] | None = None) -> None:
        """``entries`` replaces the installed entry points; ``disabled`` replaces the environment variable."""
        if disabled is None:
            disabled = os.environ.get("PENSTOCK_DISABLE_PLUGINS", "").split(",")
        self._disabled = frozenset(name.strip().replace("+", ".") for name in disabled if name.strip())
        self._entries = entries
        self._kinds: dict[tuple[str, str], Any] = {}
        self._manager = pluggy.PluginManager("penstock")
        self._manager.add_hookspecs(hookspecs)

    def store_type(self, scheme: str, authority: str = "") -> store.StoreType:
        """The backend of a scheme. Raises UnknownSchemeError, or PluginError when it can't be loaded.

        ``authority`` is that of the URI, if it is known: what is missing may depend on the host.
        """
        name = scheme.replace("+", ".")
        found = self._find("penstock.stores", name)
        if not found:
            raise UnknownSchemeError(self._unknown_scheme(scheme, authority))
        kind: store.StoreType = self._load("penstock.stores", name, found)
        return kind

    def format_type(self, name: str) -> formats.FormatType:
        """The data format of that name."""
        kind: formats.FormatType = self._named("penstock.formats", name, "format")
        return kind

    def payload_type(self, name: str) -> payload.PayloadType:
        """The payload of that name."""
        kind: payload.PayloadType = self._named("penstock.payloads", name, "payload")
        return kind

    def launcher_type(self, name: str) -> launchers.LauncherType:
        """The launcher of that name."""
        kind: launchers.LauncherType = self._named("penstock.launchers", name, "launcher")
        return kind

    def command(self, name: str) -> commands.Command:
        """The plugin command of that name."""
        kind: commands.Command = self._named("penstock.commands", name, "command")
        return kind

    def origin(self, group: str, name: str) -> tuple[str, str] | None:
        """The distribution that offers a name, and its version; None where it is not to be had. Loads nothing."""
        if name in self._disabled:
            return None
        found = next((entry for entry in self._all(group) if entry.name == name), None)
        return None if found is None else _origin(found)

    def kind(self, group: str, name: str) -> Any:
        """What a plugin offers under a name, whatever its group. Raises PluginError."""
        return self._named(group, name, "plugin")

    def names(self, group: str) -> tuple[str, ...]:
        """Names offered in a group, sorted, disabled ones left out. Loads nothing."""
        return tuple(sorted({entry.name for entry in self._all(group)} - self._disabled))

    def records(self) -> list[PluginRecord]:
        """Every plugin of every group, loaded now, with the failure of those that can't be."""
        rows = []
        for group in GROUPS:
            for name in sorted({entry.name for entry in self._all(group)}):
                rows.extend(self._records_of(group, name))
        return rows

    def _records_of(self, group: str, name: str) -> list[PluginRecord]:
        found = _distinct(entry for entry in self._all(group) if entry.name == name)
        kind, problem = None, ""
        if name in self._disabled:
            problem = "disabled by PENSTOCK_DISABLE_PLUGINS"
        else:
            try:
                kind = self._load(group, name, found)
            except PenstockError as error:
                problem = str(error)
        return [PluginRecord(group, name, *_origin(entry), kind, problem) for entry in found]

    def _named(self, group: str, name: str, noun: str) -> Any:
        found = self._find(group, name)
        if not found:
            hint = "it is disabled by PENSTOCK_DISABLE_PLUGINS" if name in self._disabled else None
            packages = _PACKAGES_OF.get(group, {})
            if hint is None and name in packages:
                hint = f"run: pip install {packages[name]}"
            raise PluginError(f"no {noun} named {name}; {hint or nearest(name, self.names(group))}")
        return self._load(group, name, found)

    def _all(self, group: str) -> Sequence[EntryPoint]:
        if self._entries is None:
            return tuple(entry_points(group=group))
        return tuple(entry for entry in self._entries if entry.group == group)

    def _find(self, group: str, name: str) -> list[EntryPoint]:
        if name in self._disabled:
            return []
        if (group, name) in self._kinds:
            return [EntryPoint(name, "", group)]
        return _distinct(entry for entry in self._all(group) if entry.name == name)

    def _load(self, group: str, name: str, found: Sequence[EntryPoint]) -> Any:
        key = (group, name)
        if key not in self._kinds:
            if len(found) > 1:
                owners = " and ".join(_owner(entry) for entry in found)
                raise PluginError(f"{group}: {owners} both offer {name}; uninstall one of them")
            self._kinds[key] = self._describe(group, name, found[0])
        return self._kinds[key]

    def _describe(self, group: str, name: str, entry: EntryPoint) -> Any:
        try:
            return self._kind_of(GROUPS[group], name, entry)
        except (Exception, SystemExit) as error:
            cause = f"{type(error).__name__}: {error}"
            raise PluginError(f"{name}: the plugin {_owner(entry)} can't be loaded: {cause}") from error

    def _kind_of(self, group: _Group, name: str, entry: EntryPoint) -> Any:
        module = entry.load()
        self._register(module, entry.value)
        others = [plugin for plugin in self._manager.get_plugins() if plugin is not module]
        answers: list[Sequence[Any]] = self._manager.subset_hook_caller(group.hook, others)()
        typed = name.replace(".", "+")
        for kind in (kind for answer in answers for kind in answer):
            if name in group.names(kind) or typed in group.names(kind):
                if kind.api > group.api:
                    raise PluginError(f"it needs contract {kind.api}, this penstock has {group.api}: update penstock")
                return kind
        raise PluginError(f"its {group.hook} offers nothing named {typed}")

    def _register(self, module: Any, name: str) -> None:
        if self._manager.is_registered(module):
            return
        self._manager.register(module, name=name)
        try:
            # A misspelt hook would be silence otherwise. What is checked is this module: all others passed before.
            self._manager.check_pending()
        except pluggy.PluginValidationError:
            self._manager.unregister(module)
            raise

    def _unknown_scheme(self, scheme: str, authority: str) -> str:
        installed = ", ".join(f"{name.replace('.', '+')}://" for name in self.names("penstock.stores"))
        text = f"unknown scheme {scheme}://; installed: {installed or 'none'}"
        if scheme.replace("+", ".") in self._disabled:
            return f"{text}; {scheme} is disabled by PENSTOCK_DISABLE_PLUGINS"
        if scheme in ("http", "https") and authority and ".blob." not in authority:
            return f"{text}; URLs are no stores: for an S3 endpoint write s3+{scheme}://host:port/bucket/key"
        package = PACKAGES.get(scheme.partition("+")[0])
        return f"{text}; for {scheme}:// run: pip install {package}" if package else text


@functools.cache
def default_host() -> PluginHost:
    """The host of this process's environment."""
    return PluginHost()


def _distinct(found: Iterable[EntryPoint]) -> list[EntryPoint]:
    # An editable install may be seen twice on the path: the same distribution with the same target is one.
    return list({(_origin(entry)[0], entry.value): entry for entry in found}.values())


def _origin(entry: EntryPoint) -> tuple[str, str]:
    return (entry.dist.name, entry.dist.version) if entry.dist else ("unknown distribution", "?")


def _owner(entry: EntryPoint) -> str:
    return f"{' '.join(_origin(entry))} ({entry.value})"
