"""Checking a URI step by step: what it says, the way to the server, the credentials, and what they may do.

Each step goes as far as the one before it made sure of, so the first that fails names what is wrong. Nothing is
repeated: what fails once here would cost a user a repeat.
"""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal

import attrs

from penstock import clocks
from penstock.client.probing import Route
from penstock.client.remedies import CLOCK, remedy
from penstock.client.trees import is_directory
from penstock.errors import (
    AccessDeniedError,
    ChecksumMismatchError,
    ObjectNotFoundError,
    PenstockError,
    redact,
)
from penstock.layers.switch import switched
from penstock.opening import Target, resolve_object
from penstock.options import describe
from penstock.quantities import format_duration
from penstock.service import StoreService
from penstock.sinks import Collect
from penstock.store import ObjectStore

__all__ = ["Step", "check"]

#: Bytes of the object that is written.
_SIZE = 4096
#: A clock that is further off than this, in seconds, may be why a signature was refused.
_SKEW = 240

State = Literal["ok", "failed", "not tried", "left out"]


@attrs.frozen(slots=True)
class Step:
    """One step: ``seconds`` is how long it took, ``facts`` what it found, in words by name.

    ``left out``: there is nothing to check, or it was asked to leave it. ``not tried``: an earlier step failed.
    ``error`` is what failed, ``remedy`` what to do about it; neither holds a secret.
    """

    name: str
    state: State
    seconds: float | None = None
    facts: Mapping[str, str] = attrs.field(factory=dict)
    error: PenstockError | None = None
    remedy: str | None = None


def check(uri: str, *, options: Mapping[str, Any] | None = None, read_only: bool = False) -> Iterator[Step]:
    """Check a URI and yield each step when it is done: uri, resolve, connect, tls, authenticate, list, write.

    A backend without a service has only uri, list and write. The last one stores a small object of a name of its own
    below ``uri``, reads it back and deletes it, unless ``read_only``. Every step has its answer, after a failure
    ``not tried``.

    Raises InvalidURIError where the URI names only a service.
    """
    checkup = _Checkup(uri, options, read_only)
    with contextlib.closing(checkup):
        done = _run("uri", checkup.understand, checkup)
        checkup.need_bucket()
        yield done
        failed = done.state == "failed"
        for name, action in checkup.steps():
            if failed:
                yield Step(name, "not tried")
                continue
            done = _run(name, action, checkup)
            failed = done.state == "failed"
            yield done


class _LeftOutError(Exception):
    """A step that does not apply, with the reason."""


Facts = dict[str, str]
Action = Callable[[Facts], None]


def _run(name: str, action: Action, checkup: _Checkup) -> Step:
    facts: Facts = {}
    begin = clocks.monotonic_ns()
    try:
        action(facts)
    except _LeftOutError as reason:
        return Step(name, "left out", facts={"because": str(reason)})
    except PenstockError as error:
        seconds = (clocks.monotonic_ns() - begin) / 1e9
        return Step(name, "failed", seconds, facts, error, checkup.remedy(name, error))
    return Step(name, "ok", (clocks.monotonic_ns() - begin) / 1e9, facts)


class _Checkup:
    """The steps of one URI, and what they hand on."""

    def __init__(self, uri: str, options: Mapping[str, Any] | None, read_only: bool) -> None:
        self._uri = uri
        self._given = options
        self._read_only = read_only
        self._target: Target | None = None
        self._service: StoreService | None = None
        self._route: Route | None = None
        self._store: ObjectStore | None = None
        self._skew: float | None = None

    def steps(self) -> Iterator[tuple[str, Action]]:
        """What comes after the URI; of one that was not understood, everything."""
        if self._target is None or self._target.kind.service is not None:
            yield from (("resolve", self.resolve), ("connect", self.connect), ("tls", self.tls))
            yield "authenticate", self.authenticate
        yield from (("list", self.list), ("write", self.write))

    def understand(self, facts: Facts) -> None:
        target = self._target = resolve_object(self._uri, options=self._given)
        facts["backend"] = target.kind.summary or target.kind.schemes[0]
        facts["place"] = redact(target.address.base + target.address.key)
        implied = {option.name for option in describe(target.kind.options) if not option.query}
        for field in attrs.fields(type(target.resolved.options)):
            origin = target.resolved.origins.get(field.name, "default")
            # What the URI's own form implies, such as the bucket, stands in the place already.
            if origin != "default" and not (origin == "uri" and field.name in implied):
                value = getattr(target.resolved.options, field.name)
                # Fields that options.option() calls secret are kept out of repr.
                text = redact(str(value)) if field.repr else "set"
                facts[f"option {field.name}"] = f"{text} (from {origin})"
        if target.kind.service is not None and target.address.bucket != "":
            self._service = target.kind.service(target.resolved.options)
            self._route = Route.of(self._service.endpoint(), target.resolved.options)
            facts.update(self._route.facts())

    def need_bucket(self) -> None:
        if self._target is not None:
            self._target.need_bucket()

    def resolve(self, facts: Facts) -> None:
        facts.update(self._known_route().resolve())

    def connect(self, facts: Facts) -> None:
        failures: dict[str, OSError] = {}
        for address, result in self._known_route().connect(clocks.monotonic_ns):
            if isinstance(result, OSError):
                failures[address] = result
                facts[address] = f"no: {result.strerror or result}"
            else:
                facts[address] = f"connected in {format_duration(result)}"
        if len(failures) == len(facts):
            raise self._known_route().unreachable(failures)

    def tls(self, facts: Facts) -> None:
        route = self._known_route()
        if not route.origin.tls:
            raise _LeftOutError("the endpoint is plain HTTP: requests can be read on their way")
        facts.update(route.handshake(clocks.wall_ns() / 1e9))

    def authenticate(self, facts: Facts) -> None:
        assert self._service is not None
        self._skew = self._known_route().clock_offset(lambda: clocks.wall_ns() / 1e9)
        if self._skew is not None:
            facts["clock"] = _skew_text(self._skew)
        facts["caller"] = redact(self._service.authenticate())

    def list(self, facts: Facts) -> None:
        target, store = self._known_target(), self._opened()
        key = target.address.key
        if store.capabilities.directories and key.strip("/"):
            key = f"{key.rstrip('/')}/"
            if not is_directory(store, key):
                raise ObjectNotFoundError("there is no such directory", uri=self._uri, operation="list")
        page = next(iter(store.list_pages(key)), None)
        count = len(page.objects) if page is not None else 0
        facts["first page"] = "1 object" if count == 1 else f"{count:,} objects"

    def write(self, facts: Facts) -> None:
        if self._read_only:
            raise _LeftOutError("--read-only")
        store, key = self._opened(), self._own_key()
        uri = self._known_target().address.base + key
        data = secrets.token_bytes(_SIZE)
        with _deleted_in_any_case(store, key, uri, facts):
            _timed(facts, "put", lambda: store.put(key, data))
            sink = Collect()
            _timed(facts, "get", lambda: store.get(key, sink))
            if sink.view() != data:
                raise ChecksumMismatchError("what was read is not what was written", uri=uri)
            _timed(facts, "delete", lambda: _delete(store, key))

    def remedy(self, step: str, error: PenstockError) -> str | None:
        """What to do, with what the earlier steps found out."""
        if step == "authenticate" and isinstance(error, AccessDeniedError) and abs(self._skew or 0) > _SKEW:
            return CLOCK
        if step == "list" and isinstance(error, ObjectNotFoundError) and error.operation == "list":
            return f"make it: penstock mkdir {redact(self._uri)}"
        words = remedy(error) if self._target is None else remedy(error, scheme=self._target.kind.schemes[0])
        if step == "write" and type(error) is AccessDeniedError:
            return f"{words}; if they are meant for reading alone, check with --read-only"
        return words

    def close(self) -> None:
        if self._store is not None:
            self._store.close()
        if self._service is not None:
            self._service.close()

    def _known_target(self) -> Target:
        assert self._target is not None
        return self._target

    def _known_route(self) -> Route:
        assert self._route is not None
        return self._route

    def _opened(self) -> ObjectStore:
        if self._store is None:
            target = self._known_target()
            self._store = switched(target.open(), target.address.base, target.endpoint())
        return self._store

    def _own_key(self) -> str:
        prefix = self._known_target().address.key
        slash = "/" if prefix and not prefix.endswith("/") else ""
        return f"{prefix}{slash}.penstock-health-{secrets.token_hex(8)}"


def _timed(facts: Facts, name: str, call: Callable[[], object]) -> None:
    begin = clocks.monotonic_ns()
    call()
    facts[name] = format_duration((clocks.monotonic_ns() - begin) / 1e9)


def _delete(store: ObjectStore, key: str) -> None:
    for error in store.delete([key]):
        raise error


@contextlib.contextmanager
def _deleted_in_any_case(store: ObjectStore, key: str, uri: str, facts: Facts) -> Iterator[None]:
    try:
        yield
    except BaseException:
        # A put whose answer was lost may have written the object. The first failure is the one to report.
        try:
            _delete(store, key)
        except PenstockError:
            if "put" in facts:
                facts["left behind"] = redact(uri)
        raise


def _skew_text(offset: float) -> str:
    if abs(offset) < 2:
        return "agrees with the server's to the second"
    where = "ahead of" if offset > 0 else "behind"
    return f"{format_duration(abs(offset))} {where} the server's"
