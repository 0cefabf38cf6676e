"""Store options: attrs classes whose fields say where their values come from.

A field's value is the explicit argument, else what the URI says, else an environment variable, else the
default. ``resolve`` does this for any options class, refuses what the class does not have, and remembers the
origin of each value for ``penstock plugins show``.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Mapping
from typing import Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

import attrs

from penstock.errors import UnknownOptionError, UsageError
from penstock.quantities import parse_duration, parse_size

__all__ = ["OptionField", "Resolved", "check_value", "describe", "nearest", "option", "resolve"]

_T = TypeVar("_T")
_META = "penstock.option"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})


@attrs.frozen(slots=True)
class _Meta:
    help: str
    env: tuple[str, ...]
    unit: str | None
    query: bool
    secret: bool


@attrs.frozen(slots=True)
class OptionField:
    """One option for documentation: its name, type, default as text, environment variables and help."""

    name: str
    type: str
    default: str
    env: tuple[str, ...]
    query: bool
    help: str
    secret: bool = False


@attrs.frozen(slots=True)
class Resolved:
    """An options instance and the origin of each of its values (``argument``, ``uri``, a variable, ``default``)."""

    options: Any
    origins: Mapping[str, str]


def option(
    default: Any = attrs.NOTHING,
    *,
    help: str,
    env: str | tuple[str, ...] = (),
    unit: Literal["bytes", "seconds"] | None = None,
    query: bool = True,
    secret: bool = False,
) -> Any:
    """A field of an options class.

    ``env`` names the environment variables that set it, the first one found wins. ``unit`` makes text such as
    ``4MiB`` or ``30s`` legal. ``query=False`` keeps it out of URIs; a ``secret`` is never printed and never in one.
    """
    names = (env,) if isinstance(env, str) else env
    meta = _Meta(help, names, unit, query and not secret, secret)
    return attrs.field(default=default, metadata={_META: meta}, repr=not secret, kw_only=True)


def resolve(
    cls: type[Any],
    *,
    explicit: Mapping[str, Any] | None = None,
    uri: Mapping[str, Any] | None = None,
    query: Mapping[str, str] | None = None,
    environ: Mapping[str, str] | None = None,
    scheme: str = "",
) -> Resolved:
    """Make an instance of ``cls``. ``uri`` holds what the URI itself implies, ``query`` the options after its ``?``.

    Raises UnknownOptionError with the nearest name, UsageError for a value that can't be read.
    """
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(cls))}
    layers = [("argument", dict(explicit or {})), ("uri", dict(query or {})), ("uri", dict(uri or {}))]
    for origin, given in layers:
        _refuse_unknown(scheme, given, fields)
        if origin == "uri" and given is not layers[2][1]:
            _refuse_outside_query(scheme, given, fields)
    values: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for name, field in fields.items():
        origin, value = _find(field, layers, environ or {})
        origins[name] = origin
        if origin != "default":
            values[name] = _convert(scheme, field, value, origin)
        elif field.default is attrs.NOTHING:
            raise UsageError(f"{scheme}: the option {name} is required: {_meta(field).help}")
    return Resolved(cls(**values), origins)


def check_value(cls: type[Any], name: str, value: Any, *, scheme: str = "", origin: str = "argument") -> None:
    """Check one option by itself, without making an instance. Raises as :func:`resolve` does."""
    fields = {field.name: field for field in attrs.fields(attrs.resolve_types(cls))}
    _refuse_unknown(scheme, {name: value}, fields)
    _convert(scheme, fields[name], value, origin)


def describe(cls: type[Any]) -> tuple[OptionField, ...]:
    """Every option of a class, in order."""
    hints = get_type_hints(cls)
    return tuple(
        OptionField(
            field.name,
            _type_name(hints[field.name], _meta(field).unit),
            _default_text(field),
            _meta(field).env,
            _meta(field).query,
            _meta(field).help,
            _meta(field).secret,
        )
        for field in attrs.fields(cls)
    )


def nearest(name: str, known: Iterable[str]) -> str:
    """A clause that names the known word nearest to ``name``, or all of them when none is near."""
    names = sorted(known)
    match = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if match:
        return f"did you mean {match[0]}?"
    return f"known: {', '.join(names)}" if names else "none is known here"


def _meta(field: attrs.Attribute[Any]) -> _Meta:
    meta = field.metadata.get(_META)
    return meta if isinstance(meta, _Meta) else _Meta("", (), None, True, False)


def _refuse_unknown(scheme: str, given: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in given:
        if name not in fields:
            raise UnknownOptionError(f"{scheme}: unknown option {name}; {nearest(name, fields)}")


def _refuse_outside_query(scheme: str, given: Mapping[str, Any], fields: Mapping[str, Any]) -> None:
    for name in given:
        if not _meta(fields[name]).query:
            raise UsageError(f"{scheme}: the option {name} can't stand in a URI; pass it as an argument")


def _find(
    field: attrs.Attribute[Any], layers: list[tuple[str, dict[str, Any]]], environ: Mapping[str, str]
) -> tuple[str, Any]:
    for origin, given in layers:
        if field.name in given:
            return origin, given[field.name]
    for variable in _meta(field).env:
        if environ.get(variable):
            return f"${variable}", environ[variable]
    return "default", None


def _convert(scheme: str, field: attrs.Attribute[Any], value: Any, origin: str) -> Any:
    try:
        return _to_type(field.type, value, _meta(field).unit)
    except (ValueError, TypeError) as error:
        shown = "that value" if _meta(field).secret else repr(value)
        raise UsageError(f"{scheme}: option {field.name} (from {origin}) can't be {shown}: {error}") from None


def _to_type(kind: Any, value: Any, unit: str | None) -> Any:
    origin = get_origin(kind)
    if origin in (Union, types.UnionType):
        return _to_optional(get_args(kind), value, unit)
    if origin is Literal:
        if value not in get_args(kind):
            raise ValueError(f"choose one of {', '.join(map(str, get_args(kind)))}")
        return value
    if unit == "bytes":
        return parse_size(value)
    if unit == "seconds":
        return parse_duration(value)
    if kind is bool:
        return _to_bool(value)
    if kind in (int, float):
        return _to_number(kind, value)
    if kind is str and not isinstance(value, str):
        raise TypeError("write text")
    return value


def _to_optional(members: tuple[Any, ...], value: Any, unit: str | None) -> Any:
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return None
    member = next(member for member in members if member is not type(None))
    return _to_type(member, value, unit)


def _to_number(kind: type[int] | type[float], value: Any) -> int | float:
    legal = (str, int) if kind is int else (str, int, float)
    if not isinstance(value, legal) or isinstance(value, bool):
        raise TypeError("write a whole number" if kind is int else "write a number")
    try:
        return kind(value)
    except ValueError:
        raise ValueError("write a whole number" if kind is int else "write a number") from None


def _to_bool(value: Any) -> bool:
    text = str(value).lower()
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise ValueError("write true or false")


def _type_name(kind: Any, unit: str | None) -> str:
    if get_origin(kind) in (Union, types.UnionType):
        inner = next(member for member in get_args(kind) if member is not type(None))
        return f"{_type_name(inner, unit)} or none"
    if get_origin(kind) is Literal:
        return " | ".join(map(str, get_args(kind)))
    if unit:
        return {"bytes": "size", "seconds": "duration"}[unit]
    return getattr(kind, "__name__", str(kind))


def _default_text(field: attrs.Attribute[Any]) -> str:
    if field.default is attrs.NOTHING:
        return "required"
    if _meta(field).secret:
        return "none" if field.default is None else "set"
    if isinstance(field.default, bool):  # which 0 and 1 are equal to
        return str(field.default).lower()
    return "none" if field.default is None else str(field.default)
