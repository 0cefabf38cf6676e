"""Configuration classes as shapes: a mapping that becomes one class, and a choice among several."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, cast

import attrs

from penstock.options import nearest
from penstock.workload.documents import Node
from penstock.workload.shapes import FAILED, VARIABLE, InvalidFieldError, NotedError, Reader, Shape, any_of

__all__ = ["Key", "Record", "Variants", "fields_of", "key"]

_KEY = "penstock.key"


@attrs.frozen(slots=True)
class Key:
    """How a field stands in the file. ``aliases`` are other names for it."""

    shape: Shape
    help: str
    aliases: tuple[str, ...] = ()


def key(shape: Shape, default: Any = attrs.NOTHING, *, help: str, aliases: tuple[str, ...] = ()) -> Any:
    """A field of a configuration class. ``default`` is a value, not text; without one the key is required."""
    return attrs.field(default=default, kw_only=True, metadata={_KEY: Key(shape, help, aliases)})


def fields_of(cls: type[Any]) -> dict[str, tuple[Key, Any]]:
    """Each key of a configuration class with its default."""
    return {
        field.name: (cast("Key", field.metadata[_KEY]), _default(field.default))
        for field in attrs.fields(cls)
        if _KEY in field.metadata
    }


def _default(default: Any) -> Any:
    # Factories are for values that can be changed, and take no argument here.
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


@attrs.frozen
class Record:
    """A mapping that becomes an instance of ``cls``.

    ``hints`` maps keys that are not there to what to say of them: other tools' names, and keys of later releases.
    ``extra`` names keys that are somebody else's to read. ``finish`` completes an instance that was read, or raises
    ValueError.
    """

    cls: type[Any]
    hints: Mapping[str, str] = attrs.field(factory=dict)
    extra: frozenset[str] = frozenset()
    finish: Callable[[Any], Any] | None = None

    @property
    def expects(self) -> str:
        return f"a mapping with {', '.join(fields_of(self.cls))}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping"

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if not self.accepts(node):
            raise ValueError(f"write {self.expects}, not {node.describe()}")
        fields = fields_of(self.cls)
        names = {name: name for name in fields} | {
            alias: name for name, (entry, _) in fields.items() for alias in entry.aliases
        }
        values: dict[str, Any] = {}
        # What an option says wins over the same key under its other name.
        given = [name for name in node.entries if not node.keys[name].line]
        chosen = {names.get(name, name): name for name in given} if len(given) < len(node.entries) else {}
        for written, inner in node.entries.items():
            if written in given or names.get(written, written) not in chosen:
                self._take(written, inner, names, values, node, path, reader)
        missing = [name for name, (_, default) in fields.items() if name not in values and default is attrs.NOTHING]
        for name in missing:
            names_text = " or ".join((name, *fields[name][0].aliases))
            reader.problems.add(node.mark, path, f"{names_text} is missing: {fields[name][0].help}")
        known = {name: value for name, value in values.items() if value is not FAILED}
        if missing or any(values[name] is FAILED and fields[name][1] is attrs.NOTHING for name in values):
            raise NotedError
        # A value that failed stands at its default from here on, so that the checks across keys still run.
        value = self.cls(**known)
        failed = any(inner is FAILED for inner in values.values())
        return value if self.finish is None or failed else self.finish(value)

    def _take(
        self,
        written: str,
        inner: Node,
        names: Mapping[str, str],
        values: dict[str, Any],
        node: Node,
        path: str,
        reader: Reader,
    ) -> None:
        name = names.get(written)
        here = f"{path}.{written}".removeprefix(".")
        if name is None:
            if written not in self.extra:
                text = self.hints.get(written) or f"unknown key, {nearest(written, {*names, *self.extra})}"
                reader.problems.add(node.keys[written], here, text)
        elif name in values:
            both = " and ".join((name, *fields_of(self.cls)[name][0].aliases))
            reader.problems.add(node.keys[written], here, f"{both} are names of one key; write one of them")
        else:
            values[name] = reader.read(fields_of(self.cls)[name][0].shape, inner, here)
            reader.marks.setdefault(f"{path}.{name}".removeprefix("."), inner.mark)

    def dump(self, value: Any) -> dict[str, Any]:
        return {name: entry.shape.dump(getattr(value, name)) for name, (entry, _) in fields_of(self.cls).items()}

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        name = f"{self.cls.__module__.rpartition('.')[2]}.{self.cls.__name__}"
        if name not in definitions:
            definitions[name] = {}
            definitions[name] = self.body(definitions)
        return {"$ref": f"#/$defs/{name}"}

    def body(self, definitions: dict[str, Any]) -> dict[str, Any]:
        """The object's schema itself."""
        properties: dict[str, Any] = {}
        required: list[dict[str, Any]] = []
        for name, (entry, default) in fields_of(self.cls).items():
            inner = entry.shape.schema(definitions) | {"description": entry.help}
            if default is not attrs.NOTHING:
                inner["default"] = entry.shape.dump(default)
            properties |= dict.fromkeys((name, *entry.aliases), inner)
            if default is attrs.NOTHING or entry.aliases:
                required.append(_one_of(name, entry.aliases, optional=default is not attrs.NOTHING))
        body: dict[str, Any] = {"type": "object", "description": _summary(self.cls), "properties": properties}
        return body | {"additionalProperties": False} | ({"allOf": required} if required else {})


def _summary(cls: type[Any]) -> str:
    """The first paragraph of what a class says of itself."""
    return " ".join((cls.__doc__ or "").partition("\n\n")[0].split())


def _required(cls: type[Any]) -> list[str]:
    return [name for name, (_, default) in fields_of(cls).items() if default is attrs.NOTHING]


def _one_of(name: str, aliases: tuple[str, ...], *, optional: bool) -> dict[str, Any]:
    choices: list[dict[str, Any]] = [{"required": [written]} for written in (name, *aliases)]
    if optional:
        choices.append({"not": {"anyOf": [dict(choice) for choice in choices]}})
    return choices[0] if len(choices) == 1 else {"oneOf": choices}


@attrs.frozen
class Variants:
    """One of several classes, told apart by the word under ``tag``.

    With ``short`` also ``{word: {…}}`` and, where the class needs nothing, the bare word. ``bare`` reads scalars
    that are no such word, into ``bare_field`` of the first class; ``inline`` names, by word, the field that the
    value of ``{word: …}`` goes to.
    """

    tag: str
    records: Mapping[str, Record]
    short: bool = False
    bare: Shape | None = None
    bare_field: str = ""
    inline: Mapping[str, str] = attrs.field(factory=dict)
    #: Words of later releases.
    later: tuple[str, ...] = ()

    @property
    def expects(self) -> str:
        words = ", ".join(self.records)
        bare = f"{self.bare.expects}, or " if self.bare else ""
        return f"{bare}one of {words}" if self.short else f"a mapping with {self.tag}: one of {words}"

    def accepts(self, node: Node) -> bool:
        return node.kind == "mapping" or (self.short and node.kind == "scalar" and not node.empty)

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if node.kind == "mapping":
            return self._from_mapping(node, path, reader)
        if node.kind == "scalar" and self.short:
            if node.text in self.records or node.text in self.later:
                return self._record(node.text).read(Node("mapping", node.mark), path, reader)
            if self.bare is not None and not node.empty:
                return self._bare_class(**{self.bare_field: self.bare.read(node, path, reader)})
        raise ValueError(f"write {self.expects}, not {node.describe()}")

    def _from_mapping(self, node: Node, path: str, reader: Reader) -> Any:
        tag = node.entries.get(self.tag)
        if tag is not None:
            reader.marks[f"{path}.{self.tag}"] = tag.mark
            if tag.kind != "scalar":
                raise ValueError(f"{self.tag} is one of {', '.join(self.records)}")
            try:
                record = self._record(tag.text)
            except ValueError as error:
                raise InvalidFieldError(self.tag, str(error)) from None
            return attrs.evolve(record, extra=frozenset({self.tag})).read(node, path, reader)
        if not self.short or len(node.entries) != 1:
            text = f"{self.tag} is missing: one of {', '.join(self.records)}"
            raise ValueError(text if not self.short else f"write {self.expects}")
        word, inner = next(iter(node.entries.items()))
        reader.marks[f"{path}.{word}"] = node.keys[word]
        try:
            record = self._record(word)
        except ValueError as error:
            raise InvalidFieldError(word, str(error)) from None
        return self._from_short(record, word, inner, path, reader)

    def _from_short(self, record: Record, word: str, inner: Node, path: str, reader: Reader) -> Any:
        field = self.inline.get(word)
        if field is not None and inner.kind != "mapping":
            inner = Node("mapping", inner.mark, entries={field: inner}, keys={field: inner.mark})
            value = reader.read(record, inner, path)
        elif inner.empty:
            value = reader.read(record, Node("mapping", inner.mark), f"{path}.{word}")
        else:
            value = reader.read(record, inner, f"{path}.{word}")
        if value is FAILED:
            raise NotedError
        return value

    @property
    def _bare_class(self) -> type[Any]:
        return next(iter(self.records.values())).cls

    def _record(self, word: str) -> Record:
        if word in self.later:
            raise ValueError(f"{word} is not supported by this version; known: {', '.join(self.records)}")
        record = self.records.get(word)
        if record is None:
            raise ValueError(f"unknown {self.tag} {word!r}, {nearest(word, self.records)}")
        return record

    def dump(self, value: Any) -> Any:
        word, record = next((word, record) for word, record in self.records.items() if record.cls is type(value))
        if self.bare is not None and type(value) is self._bare_class:
            return self.bare.dump(getattr(value, self.bare_field))
        return {self.tag: word} | record.dump(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        if not self.short:
            return {"oneOf": [self._tagged(word, record, definitions) for word, record in self.records.items()]}
        name = f"any.{self.tag}"
        if name not in definitions:
            definitions[name] = self._choices(definitions)
        return {"$ref": f"#/$defs/{name}"}

    def _choices(self, definitions: dict[str, Any]) -> dict[str, Any]:
        bare = [word for word, record in self.records.items() if not _required(record.cls)]
        return any_of(
            *([self.bare.schema(definitions)] if self.bare else [VARIABLE]),
            *([{"enum": bare}] if bare else []),
            *(self._short(word, record, definitions) for word, record in self.records.items()),
            *(self._tagged(word, record, definitions) for word, record in self.records.items()),
        )

    def _tagged(self, word: str, record: Record, definitions: dict[str, Any]) -> dict[str, Any]:
        name = f"{self.tag}.{word}"
        if name not in definitions:
            body = record.body(definitions)
            tag = {"const": word, "description": body["description"]}
            body["properties"] = {self.tag: tag} | body["properties"]
            body["required"] = [self.tag]
            definitions[name] = body
        return {"$ref": f"#/$defs/{name}"}

    def _short(self, word: str, record: Record, definitions: dict[str, Any]) -> dict[str, Any]:
        inner = record.schema(definitions)
        summary = {"description": _summary(record.cls)}
        field = self.inline.get(word)
        if field is not None:
            inner = any_of(inner, fields_of(record.cls)[field][0].shape.schema(definitions))
        elif not _required(record.cls):
            inner = any_of(inner, {"type": "null"})
        inner = inner | summary
        return {"type": "object", "properties": {word: inner}, "required": [word], "additionalProperties": False}
