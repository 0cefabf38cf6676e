"""The stores of one storage command, with its options and its operation log."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import attrs
import click
from click.core import ParameterSource

from penstock.cli.common import env_file_option, key_values, verbose_option
from penstock.cli.lazy import State
from penstock.client import Found, StoreCache
from penstock.errors import NotAnObjectError, ObjectNotFoundError, StoreError, UnknownOptionError, UsageError
from penstock.opening import Target, resolve_object
from penstock.options import nearest
from penstock.quantities import parse_duration, parse_size

if TYPE_CHECKING:
    from penstock.client.buckets import BucketService
    from penstock.oplog import OpLog

__all__ = ["Duration", "Session", "Size", "missing", "service_command", "store_command", "threads_option", "was_given"]

_P = ParamSpec("_P")

threads_option = click.option(
    "-j", "--threads", type=click.IntRange(min=1), default=16, show_default=True, help="Operations in flight."
)


def was_given(name: str) -> bool:
    """Whether the command line has this parameter of the running command."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


class Size(click.ParamType[int]):
    """``4096``, ``4KiB``, ``1MB``."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Duration(click.ParamType[float]):
    """``90``, ``250ms``, ``1h30m``; seconds."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            return parse_duration(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


class Session:
    """Opens what the URIs of one command name."""

    def __init__(self, options: Mapping[str, str], log: OpLog | None) -> None:
        #: What ``-O`` gives, before it is known which store has it.
        self.options = options
        self._log = log
        self._threads = 16
        self._cache: StoreCache | None = None
        self._services: list[BucketService] = []

    def find(self, *uris: str, threads: int = 16) -> Sequence[Found]:
        """The stores and keys of all URIs that the command names; called once.

        ``-O`` reaches every store that has an option of that name; one that none has is UnknownOptionError.
        """
        verbose = _is_verbose()
        self._cache = StoreCache(
            threads=threads,
            on_retry=_say_retry if verbose else None,
        )
        given = self.options_for(*uris)
        if verbose:
            for uri in uris:
                _say_opened(uri, given[uri])
        return [self._cache.find(uri, given[uri]) for uri in uris]

    def options_for(self, *uris: str) -> Mapping[str, Mapping[str, str]]:
        """The options given by ``-O`` that the store of each URI has; one that none has is UnknownOptionError."""
        known: dict[str, set[str]] = {}
        for uri in uris:
            kind = resolve_object(uri).kind
            known[uri] = {field.name for field in attrs.fields(kind.options)}
        every = set().union(*known.values())
        for name in self.options:
            if name not in every:
                raise UnknownOptionError(f"-O {name}: no store here has this option; {nearest(name, every)}")
        return {uri: {name: value for name, value in self.options.items() if name in known[uri]} for uri in uris}

    def target(self, uri: str) -> Target:
        """What the URI was understood as, without opening it."""
        return resolve_object(uri, options=self.options_for(uri)[uri])

    def service(self, uri: str) -> BucketService:
        """The service that a URI names, or that its bucket is in; it closes with the session."""
        from penstock.client.buckets import open_service

        options = self.options_for(uri)[uri]
        service = open_service(uri, options, on_retry=_say_retry if _is_verbose() else None)
        self._services.append(service)
        return service

    def refuse_log(self, what: str) -> None:
        """Raise UsageError where an operation log is wanted of calls that it does not record."""
        if self._log is not None:
            raise UsageError(f"--op-log records calls on objects; {what} makes none")

    @property
    def logged(self) -> bool:
        """Whether every call goes into an operation log, so that there must be none but the command's own."""
        return self._log is not None

    def close(self) -> None:
        """Close the stores and services."""
        for service in self._services:
            service.close()
        if self._cache is not None:
            self._cache.close()


def store_command(
    function: Callable[Concatenate[Session, _P], Any],
) -> Callable[_P, Any]:
    """Give a command ``-O``, ``--op-log``, ``--env-file`` and ``-v``, and its session as the first argument."""
    return _with_session(function, verbose_option, env_file_option, _op_log_option, _store_option)


def service_command(
    function: Callable[Concatenate[Session, _P], Any],
) -> Callable[_P, Any]:
    """As :func:`store_command`, for a command that makes no call which an operation log records."""
    return _with_session(function, verbose_option, env_file_option, _store_option)


_op_log_option = click.option(
    "--op-log", metavar="FILE", type=click.Path(dir_okay=False), help="Record every call in an operation log."
)
_store_option = click.option(
    "-O",
    "--option",
    "store_options",
    multiple=True,
    metavar="NAME=VALUE",
    callback=key_values,
    help="An option of the store; `penstock plugins show SCHEME` lists them.",
)


def _with_session(
    function: Callable[Concatenate[Session, _P], Any], *options: Callable[[Any], Any]
) -> Callable[_P, Any]:
    @functools.wraps(function)
    def run(*args: Any, store_options: dict[str, str], op_log: str | None = None, **kwargs: Any) -> Any:
        if not _is_verbose():
            from penstock.cli.logs import quiet_libraries

            quiet_libraries()
        with _session(store_options, op_log) as session:
            return function(session, *args, **kwargs)

    decorated: Any = run
    for option in options:
        decorated = option(decorated)
    return decorated  # type: ignore[no-any-return]


def _is_verbose() -> bool:
    state = click.get_current_context().find_object(State)
    return state is not None and state.verbosity > 0


def _say_opened(uri: str, options: Mapping[str, str]) -> None:
    import structlog

    target = resolve_object(uri, options=options)
    origins = {name: origin for name, origin in target.resolved.origins.items() if origin != "default"}
    structlog.get_logger().info("store", base=target.address.base, key=target.address.key, options_from=origins)


def _say_retry(error: StoreError, attempt: int, wait: float) -> None:
    import structlog

    structlog.get_logger().warning("repeating a call", error=str(error), attempt=attempt, wait_s=round(wait, 3))


@contextlib.contextmanager
def _session(options: Mapping[str, str], op_log: str | None) -> Iterator[Session]:
    with contextlib.ExitStack() as stack:
        log = None
        if op_log is not None:
            from penstock.oplog import start

            log = start(op_log)
            stack.callback(_say_log, log)
            stack.enter_context(log)
        elif os.environ.get("PENSTOCK_OPLOG"):
            _record_for_the_environment(stack)
        session = Session(options, log)
        stack.callback(session.close)
        yield session


def _record_for_the_environment(stack: contextlib.ExitStack) -> None:
    """What the variable asks for begins when penstock is imported; from ``--env-file`` it comes later."""
    from penstock.layers.switch import arrange
    from penstock.oplog.capturing import PATH_VARIABLE, begin_part

    arrange(functools.partial(begin_part, os.path.abspath(os.environ[PATH_VARIABLE])))
    stack.callback(arrange, None)


def _say_log(log: OpLog) -> None:
    counts = f"{log.written:,} of {log.accepted:,} rows written, {log.dropped:,} dropped"
    click.echo(f"op-log {log.path}: {counts}", err=True)


@contextlib.contextmanager
def missing(found: Found, remedy: str) -> Iterator[None]:
    """Where a key turns out to be a directory or a prefix, say what to do instead."""
    try:
        yield
    except NotAnObjectError as error:
        raise NotAnObjectError(f"this is a directory; {remedy}", uri=error.uri, operation=error.operation) from error
    except ObjectNotFoundError as error:
        below = f"{found.key.rstrip('/')}/"
        if found.key.endswith("/") or not _is_any(found, below):
            raise
        text = f"there is no such object, but there are objects below {found.store.uri}{below}; {remedy}"
        raise NotAnObjectError(text, uri=error.uri, operation=error.operation) from error


def _is_any(found: Found, below: str) -> bool:
    try:
        return next(found.store.list(below), None) is not None
    except StoreError:
        # The call that was asked for has failed already, and that is the failure to report.
        return False
