"""Options classes: where values come from, what is refused, what is never shown."""

from __future__ import annotations

import pickle
from typing import Literal

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import UnknownOptionError, UsageError
from penstock.options import describe, nearest, option, resolve


@attrs.frozen(kw_only=True)
class Options:
    name: str = option("d", help="a name", env=("FIRST", "SECOND"))
    size: int = option(4096, help="a size", unit="bytes")
    wait: float | None = option(None, help="a wait", unit="seconds", env="WAIT")
    mode: Literal["fast", "safe"] = option("safe", help="a mode")
    on: bool = option(False, help="a switch", env="ON")
    count: int = option(3, help="a count")
    inner: str = option("", help="kept out of URIs", query=False)
    secret: str | None = option(None, help="a key", env="SECRET_KEY", secret=True)


@attrs.frozen(kw_only=True)
class Required:
    root: str = option(help="where files are")


def values(**layers):
    return resolve(Options, scheme="x", **layers).options


class TestPrecedence:
    LAYERS = ("explicit", "query", "uri", "environ", None)

    @pytest.mark.parametrize("first", range(len(LAYERS)))
    def test_argument_then_query_then_uri_then_environment_then_default(self, first):
        given = {layer: {"FIRST" if layer == "environ" else "name": layer} for layer in self.LAYERS[first:] if layer}
        resolved = resolve(Options, scheme="x", **given)
        assert resolved.options.name == (self.LAYERS[first] or "d")
        origins = {"explicit": "argument", "query": "uri", "uri": "uri", "environ": "$FIRST", None: "default"}
        assert resolved.origins["name"] == origins[self.LAYERS[first]]

    def test_the_first_variable_that_is_set_wins(self):
        assert values(environ={"FIRST": "1", "SECOND": "2"}).name == "1"
        assert values(environ={"SECOND": "2"}).name == "2"

    def test_an_empty_variable_is_not_set(self):
        assert values(environ={"FIRST": "", "SECOND": "2"}).name == "2"

    def test_every_field_has_an_origin(self):
        origins = resolve(Options, explicit={"on": True}, scheme="x").origins
        assert list(origins) == [field.name for field in attrs.fields(Options)]
        assert [name for name, origin in origins.items() if origin != "default"] == ["on"]

    def test_nothing_is_read_from_the_process_environment_unasked(self, monkeypatch):
        monkeypatch.setenv("FIRST", "leak")
        assert values().name == "d"


class TestUnknown:
    @pytest.mark.parametrize("layer", ["explicit", "query", "uri"])
    def test_the_nearest_is_named(self, layer):
        with pytest.raises(UnknownOptionError, match=r"x: unknown option siez; did you mean size\?"):
            values(**{layer: {"siez": 1}})

    def test_all_are_named_when_none_is_near(self):
        with pytest.raises(UnknownOptionError, match="known: count, inner, mode, name, on, secret, size, wait"):
            values(explicit={"zzzzzz": 1})

    def test_nearest(self):
        assert nearest("x", []) == "none is known here"
        assert nearest("sizes", ["size", "mode"]) == "did you mean size?"


@pytest.mark.parametrize("name", ["inner", "secret"])
def test_what_is_kept_out_of_uris(name):
    with pytest.raises(
        UsageError, match=f"x: the option {name} can't stand in a URI; pass it as an argument"
    ) as caught:
        values(query={name: "hush"})
    assert "hush" not in str(caught.value)


def test_what_the_uri_itself_implies_may_set_such_an_option():
    assert values(uri={"inner": "authority"}).inner == "authority"


def test_a_required_option():
    with pytest.raises(UsageError, match="x: the option root is required: where files are"):
        resolve(Required, scheme="x")
    assert resolve(Required, explicit={"root": "/d"}, scheme="x").options.root == "/d"


@pytest.mark.parametrize(
    ("given", "value"),
    [
        ({"size": "4MiB"}, 4 << 20),
        ({"size": 7}, 7),
        ({"wait": "1m30s"}, 90.0),
        ({"wait": 2}, 2.0),
        ({"wait": None}, None),
        ({"wait": "none"}, None),
        ({"mode": "fast"}, "fast"),
        ({"on": "true"}, True),
        ({"on": "YES"}, True),
        ({"on": "0"}, False),
        ({"on": "off"}, False),
        ({"on": True}, True),
        ({"count": "12"}, 12),
        ({"count": 12}, 12),
        ({"name": "none"}, "none"),
        ({"secret": "s"}, "s"),
    ],
)
def test_values_are_read_as_their_type(given, value):
    (name,) = given
    got = getattr(values(explicit=given), name)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ({"size": "4K"}, "write KiB or KB"),
        ({"size": -1}, "negative"),
        ({"size": None}, "size"),
        ({"size": True}, "size"),
        ({"size": [1]}, "size"),
        ({"wait": "soon"}, "not a duration"),
        ({"wait": [1]}, "not a duration"),
        ({"mode": "slow"}, "choose one of fast, safe"),
        ({"on": "maybe"}, "write true or false"),
        ({"on": None}, "write true or false"),
        ({"count": "many"}, "whole number"),
        ({"count": 1.5}, "whole number"),
        ({"count": True}, "whole number"),
        ({"count": [1]}, "whole number"),
        ({"count": None}, "whole number"),
        ({"name": 5}, "write text"),
        ({"name": None}, "write text"),
    ],
)
def test_what_can_not_be_read_is_refused_with_name_origin_and_reason(given, reason):
    (name,) = given
    with pytest.raises(UsageError, match=rf"x: option {name} \(from argument\) can't be .*{reason}"):
        values(explicit=given)


def test_the_variable_is_named_as_the_origin():
    with pytest.raises(UsageError, match=r"option on \(from \$ON\) can't be 'maybe'"):
        values(environ={"ON": "maybe"})


class TestSecrets:
    def test_the_instance_does_not_show_it(self):
        made = values(explicit={"secret": "hush"})
        assert "hush" not in repr(made)
        assert "hush" not in str(resolve(Options, environ={"SECRET_KEY": "hush"}, scheme="x"))

    def test_an_error_does_not_show_it(self):
        with pytest.raises(UsageError) as caught:
            values(explicit={"secret": ["hush"]})
        assert "hush" not in str(caught.value)
        assert caught.value.__suppress_context__

    def test_the_description_does_not_show_it(self):
        @attrs.frozen
        class Preset:
            key: str = option("hush", help="h", secret=True)

        assert "hush" not in str(describe(Preset))


def test_options_pickle_and_do_not_change():
    made = values(explicit={"secret": "s", "size": "1KiB"})
    assert pickle.loads(pickle.dumps(made)) == made
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        made.size = 5


def test_numbers_that_equal_truths_are_shown_as_numbers():
    @attrs.frozen(kw_only=True)
    class Numbers:
        none: int = option(0, help="a count")
        one: float = option(1.0, help="a share")

    assert [row.default for row in describe(Numbers)] == ["0", "1.0"]


def test_describe():
    rows = {row.name: (row.type, row.default, row.env, row.query) for row in describe(Options)}
    assert rows == {
        "name": ("str", "d", ("FIRST", "SECOND"), True),
        "size": ("size", "4096", (), True),
        "wait": ("duration or none", "none", ("WAIT",), True),
        "mode": ("fast | safe", "safe", (), True),
        "on": ("bool", "false", ("ON",), True),
        "count": ("int", "3", (), True),
        "inner": ("str", "", (), False),
        "secret": ("str or none", "none", ("SECRET_KEY",), False),
    }
    assert describe(Required)[0].default == "required"
    assert [row.help for row in describe(Required)] == ["where files are"]


@given(st.text(min_size=1).filter(lambda text: text.lower() != "none"))
def test_text_passes_unchanged(text):
    assert values(explicit={"name": text}).name == text
    assert values(explicit={"secret": text}).secret == text
