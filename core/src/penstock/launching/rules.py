"""What a controller may ask of another host: which module a worker runs, and which variables are set for it.

A plan drives I/O. What would make a host run code that its owner did not install is refused: other modules, variables
that loaders and interpreters read, and those with which an SDK runs programs that a file names.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any

from penstock.errors import RunError, UsageError
from penstock.launchers import WORKERS, LaunchSpec
from penstock.launching.greeting import own_version
from penstock.launching.messages import PROTOCOL

__all__ = ["ALLOWED", "RESERVED", "announce", "check_environment", "check_patterns", "check_worker", "read_spec"]

#: Variables that a controller may set on a host, as patterns.
ALLOWED = ("AWS_*", "AZURE_*", "GOOGLE_*", "GCS_*", "STORAGE_EMULATOR_HOST", "PENSTOCK_*")
#: Variables by which a host's own parts talk to each other.
RESERVED = "PENSTOCK_HOST_"
#: Of those: what names files or programs that an SDK would run. A host's owner may allow them.
_OWNERS = (
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_DATA_PATH",
    "AZURE_CONFIG_DIR",
    "AZURE_EXTENSION_DIR",
    "GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES",
)
#: What nobody may set from outside: the loader, interpreters and shells take code from it.
_NEVER = (
    *("LD_*", "PYTHON*", "PATH", "HOME", "SHELL", "ENV", "BASH_ENV", "IFS", "PROMPT_COMMAND", "GCONV_PATH", "TMPDIR"),
    *("LOCPATH", "MALLOC_*", "GLIBC_*", "PERL*", "RUBY*", "NODE_*", "JAVA_*", f"{RESERVED}*"),
)


def announce(spec: LaunchSpec) -> dict[str, Any]:
    """The first message towards a host, from which :func:`read_spec` makes the specification."""
    return {
        "protocol": PROTOCOL,
        "version": own_version(),
        "worker": spec.worker,
        "lease": spec.lease,
        "environment": dict(spec.environment),
    }


def read_spec(message: Mapping[str, Any], *, host: str, allow: Sequence[str] = ()) -> LaunchSpec:
    """What a controller asks of this host. Raises RunError, with the remedy, for what it may not."""
    mine = own_version()
    if message.get("protocol") != PROTOCOL or message.get("version") != mine:
        theirs = message.get("version", "unknown")
        raise RunError(
            f"host {host} has penstock {mine} (messages {PROTOCOL}), the controller {theirs} (messages "
            f"{message.get('protocol')}): install the same version on both, pip install penstock=={mine}"
        )
    try:
        worker, lease = str(message["worker"]), float(message["lease"])
        environment = {str(name): str(value) for name, value in message["environment"].items()}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise RunError(f"host {host}: what came first is no specification of a worker") from None
    check_worker(worker, host=host)
    check_environment(environment, host=host, allow=allow)
    if not 0 < lease <= 86400:
        raise RunError(f"host {host}: a lease of {lease:g} s; it is more than 0 and at most a day")
    return LaunchSpec(environment=environment, worker=worker, lease=lease)


def check_worker(module: str, *, host: str) -> None:
    """Raises RunError for a module that no worker runs."""
    if module not in WORKERS:
        raise RunError(f"host {host} does not run {module!r}; a worker is one of {', '.join(WORKERS)}")


def check_environment(names: Iterable[str], *, host: str, allow: Sequence[str] = ()) -> None:
    """Raises RunError for a variable that a controller may not set on a host whose owner allows ``allow`` too."""
    for name in names:
        if _matches(name, _NEVER) or not name.isascii() or not name.isidentifier():
            raise RunError(f"host {host} lets nobody set {name!r} from outside; set it where its agent starts")
        if not _matches(name, allow) and (_matches(name, _OWNERS) or not _matches(name, ALLOWED)):
            raise RunError(
                f"host {host} does not let a controller set {name}; its owner may allow it (--allow-env {name}), or "
                "set it there"
            )


def check_patterns(patterns: Sequence[str]) -> None:
    """Raises UsageError for a pattern by which a host's owner would allow what is never taken."""
    for pattern in patterns:
        if _matches(pattern, _NEVER):
            raise UsageError(f"--allow-env {pattern}: with it a controller could run code here; it is never taken")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
