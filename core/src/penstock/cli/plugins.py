"""``plugins`` and ``plugins show``."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import attrs
import click

from penstock.cli.common import json_option, print_json
from penstock.cli.text import table
from penstock.errors import PenstockError, PluginError, UsageError
from penstock.options import describe, nearest, resolve
from penstock.plugins import PACKAGES, PluginHost, PluginRecord, default_host
from penstock.quantities import format_bytes

__all__ = ["plugins"]


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def plugins(ctx: click.Context, as_json: bool) -> None:
    """List the installed plugins, with the failure of those that can't be loaded."""
    if ctx.invoked_subcommand is not None:
        return
    records = default_host().records()
    if as_json:
        print_json([_facts(record) for record in records])
        return
    rows = [("NAME", "GROUP", "DISTRIBUTION", "VERSION", "API", "WHAT IT IS")]
    for record in records:
        api = str(record.kind.api) if record.kind is not None else "-"
        rows.append((_typed(record), _group(record), record.distribution, record.version, api, _what(record)))
    for line in table(rows):
        click.echo(line)
    if any(record.problem for record in records):
        ctx.exit(1)


@plugins.command()
@click.argument("name")
@json_option
def show(name: str, as_json: bool) -> None:
    """Show one plugin: its capabilities, its URI form, and its options with where each value comes from.

    Values come from the arguments of a command (-O), the URI, the environment, or the default; in that order.
    """
    record = _find(default_host(), name)
    if as_json:
        print_json(_facts(record) | {"options": _option_facts(record)})
        return
    for line in _head(record):
        click.echo(line)
    for line in _capability_lines(record):
        click.echo(line)
    for line in _option_lines(record):
        click.echo(line)


def _find(host: PluginHost, name: str) -> PluginRecord:
    wanted = name.replace("+", ".").replace(" ", ".")
    records = host.records()
    found = [record for record in records if record.name == wanted]
    if not found:
        raise UsageError(f"no plugin named {name}; {_instead(name, records)}")
    for record in found:
        if record.problem:
            raise PluginError(record.problem)
    return found[0]


def _instead(name: str, records: Sequence[PluginRecord]) -> str:
    """What to write, or to install, for a name that no plugin has; it may be that of a package."""
    package = name if name.startswith("penstock-") else f"penstock-{name}"
    brought = sorted({_typed(record) for record in records if record.distribution == package})
    if brought:
        return f"did you mean {' or '.join(brought)}? ({package})"
    if package not in PACKAGES.values():
        package = PACKAGES.get(name.partition("+")[0], "")
    if package:
        return f"run: pip install {package}"
    return nearest(name, map(_typed, records))


def _typed(record: PluginRecord) -> str:
    """The name as a user types it: a scheme has a plus where its entry has a dot, a command below another a space."""
    return record.name.replace(".", " " if record.group == "penstock.commands" else "+")


def _group(record: PluginRecord) -> str:
    return record.group.removeprefix("penstock.")


def _what(record: PluginRecord) -> str:
    if record.problem:
        return f"PROBLEM: {record.problem}"
    able = ", ".join(_claims(record))
    return f"{record.kind.summary}" + (f" [{able}]" if able else "")


def _head(record: PluginRecord) -> list[str]:
    kind = record.kind
    rows = [
        ("name", _typed(record)),
        ("group", _group(record)),
        ("package", f"{record.distribution} {record.version}"),
        ("contract", str(kind.api)),
        ("summary", kind.summary),
    ]
    if form := getattr(kind, "form", ""):
        rows.append(("uri", form))
    if extensions := getattr(kind, "extensions", ()):
        rows.append(("extensions", " ".join(extensions)))
    return table(rows)


def _claims(record: PluginRecord) -> list[str]:
    """The capabilities that are a plain yes."""
    able = getattr(record.kind, "capabilities", None)
    return [name for name, value in attrs.asdict(able).items() if value is True] if able is not None else []


def _capability_lines(record: PluginRecord) -> list[str]:
    able = getattr(record.kind, "capabilities", None)
    if able is None:
        return []
    rows = [(name, _capability_text(name, value)) for name, value in attrs.asdict(able).items()]
    return ["", "Capabilities", *(f"  {line}" for line in table(rows))]


def _capability_text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "no limit"
    return str(value) if name == "delete_batch" else format_bytes(value)


def _option_facts(record: PluginRecord) -> list[dict[str, Any]]:
    cls = getattr(record.kind, "options", None)
    if cls is None:
        return []
    values = _current(cls, record.name)
    return [
        {
            "name": field.name,
            "type": field.type,
            "default": field.default,
            "env": list(field.env),
            "in_uri": field.query,
            "value": values.get(field.name, ("", "not set"))[0],
            "from": values.get(field.name, ("", "not set"))[1],
            "help": field.help,
        }
        for field in describe(cls)
    ]


def _option_lines(record: PluginRecord) -> list[str]:
    facts = _option_facts(record)
    if not facts:
        return []
    rows = [("NAME", "TYPE", "DEFAULT", "ENVIRONMENT", "VALUE NOW", "FROM")]
    rows += [
        (fact["name"], fact["type"], fact["default"], " ".join(fact["env"]) or "-", fact["value"], fact["from"])
        for fact in facts
    ]
    lines = ["", "Options", *(f"  {line}" for line in table(rows)), ""]
    width = max(len(fact["name"]) for fact in facts)
    for fact in facts:
        where = "" if fact["in_uri"] else " (not in a URI)"
        lines.append(f"  {fact['name']:<{width}}  {fact['help']}{where}")
    return lines


def _current(cls: type[Any], scheme: str) -> dict[str, tuple[str, str]]:
    """The value of each option now and its origin; secrets only as ``set``."""
    try:
        resolved = resolve(cls, environ=os.environ, scheme=scheme)
    except PenstockError as error:
        return {field.name: ("?", str(error)) for field in attrs.fields(cls)}
    values = {}
    for field in attrs.fields(cls):
        value = getattr(resolved.options, field.name)
        shown = {None: "none", True: "true", False: "false"}.get(value) if _hashable(value) else None
        text = shown or str(value)
        # Fields that options.option() calls secret are kept out of repr.
        secret = field.repr is False and value is not None
        values[field.name] = ("set" if secret else text, resolved.origins[field.name])
    return values


def _hashable(value: Any) -> bool:
    return value is None or isinstance(value, bool)


def _facts(record: PluginRecord) -> dict[str, Any]:
    kind = record.kind
    facts: dict[str, Any] = {
        "name": _typed(record),
        "group": _group(record),
        "distribution": record.distribution,
        "version": record.version,
        "api": getattr(kind, "api", None),
        "summary": getattr(kind, "summary", None),
        "problem": record.problem or None,
    }
    able = getattr(kind, "capabilities", None)
    if able is not None:
        facts["capabilities"] = attrs.asdict(able)
    return facts
