"""The JSON Schema: what the loader accepts is valid by it, and the common mistakes are not."""

from __future__ import annotations

import attrs
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from penstock.errors import ConfigError
from penstock.workload.config import CONFIG, Config, dump, loads
from penstock.workload.distributed import LauncherShape, VariablesShape
from penstock.workload.fields import Record, Variants, fields_of
from penstock.workload.operations import OPERATION
from penstock.workload.rates import RATE
from penstock.workload.schema import json_schema
from penstock.workload.selection import SELECTION
from penstock.workload.shapes import Either, Flag, InputFile, ListOf, Optional, Quantity, Table, Text, Word
from penstock.workload.sizes import SIZE
from penstock.workload.stages import STAGE

SCHEMA = json_schema()
VALIDATOR = jsonschema.Draft202012Validator(SCHEMA)
GET = {"op": "get", "path": "**"}


def valid(**keys):
    return VALIDATOR.is_valid({"target": "mem://b", "workload": [GET]} | keys)


def test_it_is_a_schema():
    jsonschema.Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_key_is_there_with_its_text_and_default():
    assert set(SCHEMA["properties"]) == {*fields_of(Config), "include"}
    assert SCHEMA["properties"]["concurrency"]["default"] == 16
    assert SCHEMA["properties"]["warmup"]["description"] == "run this long first and keep it out of the results"
    for word in OPERATION.records:
        body = SCHEMA["$defs"][f"op.{word}"]
        assert body["properties"]["op"] == {"const": word, "description": body["description"]}
        assert body["additionalProperties"] is False
        assert all(inner.get("description") for inner in body["properties"].values())


def keys_in(value, path="top"):
    """Every key that the schema names anywhere, with what it says of it."""
    if isinstance(value, dict):
        for name, inner in value.get("properties", {}).items() if isinstance(value.get("properties"), dict) else ():
            yield f"{path}.{name}", inner
        for name, inner in value.items():
            yield from keys_in(inner, name)
    elif isinstance(value, list):
        for inner in value:
            yield from keys_in(inner, path)


def test_an_editor_explains_every_key_wherever_it_stands():
    # A word that stands for its class, such as {uniform: {…}}, is explained by the class; the word itself is no key.
    words = {*OPERATION.records, *SIZE.records, *SELECTION.records, OPERATION.tag, SIZE.tag, SELECTION.tag}
    found = [(path, inner) for path, inner in keys_in(SCHEMA) if path.rpartition(".")[2] not in words]
    silent = [path for path, inner in found if not inner.get("description") and set(inner) != {"minItems"}]
    assert silent == []
    assert len(found) > 100
    documented = {path.rpartition(".")[2] for path, _ in found}
    for cls in (Config, *classes(Config)):
        assert set(fields_of(cls)) <= documented | words, cls.__name__


def classes(cls):
    """Every class of the configuration below one."""
    found = set()
    pending = [entry.shape for entry, _ in fields_of(cls).values()]
    while pending:
        shape = pending.pop()
        match shape:
            case Record():
                if shape.cls not in found:
                    found.add(shape.cls)
                    pending += [entry.shape for entry, _ in fields_of(shape.cls).values()]
            case Variants():
                pending += shape.records.values()
            case Optional() | ListOf():
                pending.append(shape.shape)
            case Either():
                pending += shape.shapes
    assert found
    return found


@pytest.mark.parametrize(
    "keys",
    [
        {"durration": 5},
        {"duration": 0},
        {"duration": "5 parsecs"},
        {"concurrency": 0},
        {"concurrency": 1.5},
        {"processes": "many"},
        {"rate": 5},
        {"rate": {"ops_per_second": 0}},
        {"selection": "often"},
        {"selection": {"zipf": {"thta": 1}}},
        {"workload": []},
        {"workload": [{"path": "a"}]},
        {"workload": [{"op": "get"}]},
        {"workload": [{"op": "get", "path": "a", "uri": "b"}]},
        {"workload": [GET | {"weigth": 1}]},
        {"workload": [GET | {"size": 1}]},
        {"workload": [{"op": "put", "path": "a"}]},
        {"workload": [{"op": "put", "path": "a", "size": "4 k"}]},
        {"workload": [{"op": "put", "path": "a", "size": {"uniform": {"min": 1}}}]},
        {"cleanup": "maybe"},
        {"verify": "everything"},
        {"prepare": {"ensure_objects": [{"path": "a"}]}},
        {"stages": [{}]},
        {"stages": [{"name": "a", "barrier": "some"}]},
        {"workload": [], "stages": []},
    ],
)
def test_mistakes_are_invalid(keys):
    assert not valid(**keys)


@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"duration": None},
        {"duration": "1m30s", "concurrency": "${LANES:-4}", "cleanup": "${CLEAN:-true}"},
        {"verify": False},
        {"selection": "zipf"},
        {"selection": {"each_once": None}},
        {"workload": [{"op": "put", "uri": "a", "size": {"choice": [{"size": 1}]}}]},
        {"on_error": {"max_total_errors": "none"}},
        {"name": 2024},
    ],
)
def test_what_is_right_is_valid(keys):
    assert valid(**keys)


SIZES = st.one_of(
    st.integers(0, 2**40),
    st.sampled_from(["4KiB", "1.5 MB", "12", " 7 B", "10_000", "1kB", "8GiB"]),
)
DURATIONS = st.one_of(
    st.floats(0, 1e6, allow_subnormal=False),
    st.sampled_from(["30", "30s", "1m30s", "2 h", "250ms", "100us", "1.5s", "1d 2h"]),
)
COUNTS = st.one_of(st.integers(0, 2**40), st.sampled_from(["20_000", "1,000", "7"]))
WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1, max_size=8)


RATES = [
    "max",
    {"ops_per_second": 50},
    {"ops_per_second": "9", "arrivals": "uniform"},
    [{"for": "30s", "ops_per_second": 5}, {"ops_per_second": {"from": 0, "to": 9}}],
]


def values(shape):
    """What may stand where this shape is expected; some of it the loader will refuse."""
    if shape is RATE:
        return st.sampled_from(RATES)
    if shape is STAGE:
        # Operations have a test of their own; all of them in each stage would take minutes.
        return stages()
    match shape:
        case Text():
            return st.one_of(st.sampled_from(shape.examples), WORDS) if shape.examples else WORDS
        case InputFile():
            return st.just("no-such-log.tsv")
        case Word():
            return st.sampled_from(shape.words)
        case Flag():
            return st.booleans()
        case Quantity():
            bare = st.integers(0, 100) | st.floats(0.001, 100, allow_subnormal=False)
            return {"size": SIZES, "duration": DURATIONS, "count": COUNTS, "number": bare}[shape.kind]
        case Optional():
            return st.none() | st.just("none") | values(shape.shape)
        case Either():
            return st.one_of(*(values(one) for one in shape.shapes))
        case ListOf():
            return st.lists(values(shape.shape), min_size=shape.minimum, max_size=3)
        case Table():
            return st.sampled_from([{}, {"mem": {}}, {"mem": {"name": "x"}}, {"mem": {"name": 5}}])
        case LauncherShape():
            return st.sampled_from(["local", {"name": "local"}, {"name": "local", "no": 5}, "no-such"])
        case VariablesShape():
            return st.sampled_from([{}, {"AWS_REGION": "x"}, {"PENSTOCK_X": 5, "B": None}, {"": 1}])
        case Record():
            return records(shape, {})
        case Variants():
            return variants(shape)
    raise AssertionError(shape)


def stages():
    given = {name: values(entry.shape) for name, (entry, _) in fields_of(STAGE.cls).items() if name != "workload"}
    name = given.pop("name")
    return st.fixed_dictionaries({"name": name}, optional=given | {"workload": st.sampled_from([[], [GET]])})


def records(record, fixed):
    required, optional = {}, {}
    for name, (entry, default) in fields_of(record.cls).items():
        place = required if default is attrs.NOTHING else optional
        place[name] = values(entry.shape)
    return st.fixed_dictionaries(required, optional=optional).map(lambda mapping: fixed | mapping)


def variants(shape):
    choices = [records(record, {shape.tag: word}) for word, record in shape.records.items()]
    if shape.short:
        choices += [
            records(record, {}).map(lambda value, word=word: {word: value}) for word, record in shape.records.items()
        ]
        choices += (
            [st.sampled_from([word for word in shape.records if shape is SELECTION])] if shape is SELECTION else []
        )
        choices += [SIZES] if shape is SIZE else []
    return st.one_of(*choices)


def fields(cls):
    return {name: values(entry.shape) for name, (entry, _) in fields_of(cls).items()}


def loaded(data):
    text = yaml.safe_dump(data, allow_unicode=True)
    return text, loads(text, label="w.yaml", environ={})


@settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("name", sorted(set(fields_of(Config)) - {"workload", "target"}))
def test_what_the_loader_accepts_of_a_key_is_valid(name, data):
    value = data.draw(fields(Config)[name])
    plain = {"target": "mem://b", "total_operations": 9, "workload": [GET]} | {name: value}
    try:
        text, config = loaded(plain)
    except ConfigError:
        return
    VALIDATOR.validate(yaml.safe_load(text))
    VALIDATOR.validate(dump(config))


@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
@pytest.mark.parametrize("word", sorted(OPERATION.records))
def test_what_the_loader_accepts_of_an_operation_is_valid(word, data):
    operation = data.draw(records(OPERATION.records[word], {"op": word}))
    plain = {"target": "mem://b", "workload": [GET, {"op": "mkdir", "path": "d/"}, operation]}
    try:
        text, config = loaded(plain)
    except ConfigError:
        return
    VALIDATOR.validate(yaml.safe_load(text))
    VALIDATOR.validate(dump(config))


def test_the_generators_above_reach_configurations_that_load():
    reached = set()

    @settings(max_examples=40, database=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
    @given(st.data())
    def sample(data):
        for word, record in OPERATION.records.items():
            operation = data.draw(records(record, {"op": word}))
            try:
                loaded({"target": "mem://b", "workload": [GET, {"op": "mkdir", "path": "d/"}, operation]})
            except ConfigError:
                continue
            reached.add(word)

    sample()
    assert reached == set(OPERATION.records)
    assert CONFIG.cls is Config


def test_every_key_says_what_it_is():
    def undescribed(schema, path):
        if isinstance(schema, dict):
            for name, inner in schema.get("properties", {}).items():
                if not inner.get("description", ""):
                    yield f"{path}.{name}"
            for name, inner in schema.items():
                # What follows from the others repeats no key's description.
                if name != "allOf":
                    yield from undescribed(inner, f"{path}/{name}")
        elif isinstance(schema, list):
            for number, inner in enumerate(schema):
                yield from undescribed(inner, f"{path}[{number}]")

    assert list(undescribed(json_schema(), "")) == []
