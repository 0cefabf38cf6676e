"""``format:`` in a workload: what may be written, how long objects are, and what is in them."""

from __future__ import annotations

import attrs
import numpy as np
import pytest

from penstock.engine.contents import Contents, prepared_recipe, put_recipe
from penstock.engine.knowing import put_contents
from penstock.engine.places import Places
from penstock.engine.sets import prepared_sets
from penstock.errors import ConfigError
from penstock.formats import FormatType
from penstock.options import option
from penstock.plugins import PluginHost
from penstock.workload import formatting
from penstock.workload.config import loads

TEXT = """
target: mem://formatted/
seed: 1
prepare:
  ensure_objects:
    - {{path: a/, count: 20, size: 5000, {entry}}}
  directory_structure: {{path: t/, width: 1, depth: 1, files_per_dir: 20, size: 5000, {entry}}}
workload:
  - {{op: put, path: "n/{{}}", size: 5000, {entry}}}
"""


@attrs.frozen(kw_only=True)
class PaddedOptions:
    pad: int = option(3, help="bytes before and after the content of each sample")
    packed: bool = option(False, help="leave zeros out")


class Padded:
    """Samples of 1000 bytes, each between bytes of padding."""

    def __init__(self, options):
        self.options = options

    def encode(self, samples, /):
        for sample in samples:
            yield b"<" * self.options.pad
            yield sample["data"].tobytes().replace(b"\0", b"") if self.options.packed else sample["data"]
            yield b">" * self.options.pad

    def synthesize(self, nbytes, fill, /):
        for start in range(0, nbytes, 1_000):
            data = np.empty(min(1_000, nbytes - start), np.uint8)
            fill(memoryview(data))
            yield {"data": data}


@pytest.fixture(autouse=True)
def padded(monkeypatch):
    """Installs the format ``padded`` in this process."""
    kind = FormatType(name="padded", summary="", extensions=(".pad",), options=PaddedOptions, open=Padded)
    plain = PluginHost.format_type
    monkeypatch.setattr(PluginHost, "format_type", lambda host, name: kind if name == "padded" else plain(host, name))
    yield
    formatting.codec_of.cache_clear()
    formatting._length.cache_clear()


def configured(entry):
    return loads(TEXT.format(entry=entry), label="w.yaml", environ={})


def families(config):
    """Of each set and put: its payload, and number and size of its object 3."""
    contents, places = Contents(config.seed), Places(config)
    for prepared in prepared_sets(config, places, contents.open):
        if prepared.payload is not None:
            yield prepared.payload, prepared.number(3), prepared.objects.size(3)
    for put in put_contents(config, places, contents.open, "0000aaaa"):
        yield put.payload, put.number(3), put.size(3)


def made(payload, number, nbytes, offset=0):
    buffer = bytearray(nbytes)
    payload.fill(memoryview(buffer), obj=number, offset=offset)
    return bytes(buffer)


@pytest.mark.parametrize("content", ["fill: pooled", "fill: random", "dedup_factor: 2, dedup_across_objects: true"])
def test_objects_are_files_of_the_format_around_the_same_content(content):
    plain, wrapped = configured(content), configured(f"{content}, format: padded?pad=7")
    for (bare, number, size), (payload, same_number, longer) in zip(families(plain), families(wrapped), strict=True):
        assert (number, size, longer) == (same_number, 5_000, 5_000 + 5 * 14)
        body = made(bare, number, size)
        expected = b"".join(b"<" * 7 + body[at : at + 1_000] + b">" * 7 for at in range(0, 5_000, 1_000))
        assert made(payload, number, longer) == expected
        for offset, nbytes in ((0, 1), (5_069, 1), (1_000, 2_000), (17, 5_053), (3, 0)):
            assert made(payload, number, nbytes, offset) == expected[offset : offset + nbytes]
        assert made(payload, number, 10, 5_065) == expected[5_065:] + bytes(5)
        other = made(payload, number + 1, longer)
        assert other != expected
        assert made(payload, number, longer) == expected


def test_without_a_format_nothing_changes():
    for none in ("fill: pooled", "format: none", "format: null"):
        config = configured(none)
        assert config.workload[0].format is None
        assert prepared_recipe(config.prepare.ensure_objects[0], 0).format == ""
        assert put_recipe(config.workload[0], "0000aaaa", 0).content == 0


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("format: pedded", "no format named pedded"),
        ("format: hdf6", "no format named hdf6"),
        ("format: 'padded?pod=1'", "padded: unknown option pod; did you mean pad?"),
        ("format: 'padded?pad'", "write options as in padded?name=value&other=value"),
        ("format: 'padded?pad=x'", "write a whole number"),
        ("format: 'padded?packed=true'", "files of padded?packed=true are as long as their content compresses"),
    ],
)
def test_a_format_that_can_not_be_is_named_with_its_place(entry, message):
    with pytest.raises(ConfigError) as caught:
        configured(entry)
    for place in ("workload[0].format", "prepare.ensure_objects[0].format", "prepare.directory_structure.format"):
        assert any(f"{place}: " in problem and message in problem for problem in caught.value.problems), place


def test_sizes_that_are_drawn_are_refused():
    text = TEXT.format(entry="format: padded").replace("size: 5000", "size: {uniform: {min: 1, max: 9}}")
    with pytest.raises(ConfigError, match=r"workload\[0\]\.size: objects of a format have one size"):
        loads(text, label="w.yaml", environ={})
