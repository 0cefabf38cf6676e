"""``penstock format``, and generated objects of a format: with raw, and with a format of the test's own."""

from __future__ import annotations

import json
import re
import shlex
import struct
import sys
import uuid
from types import ModuleType

import attrs
import numpy as np
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock.cli.format_text import sample_facts, sample_lines
from penstock.errors import FormatError, PluginError
from penstock.formats import Field, FileSummary, FormatType
from penstock.hookspecs import hookimpl
from penstock.options import option
from penstock.plugins import PluginHost
from penstock.samples import choosing


def run(*arguments, code=0):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == code, f"exit code {done.exit_code}: {done.output}"
    return done


@attrs.frozen(kw_only=True)
class PairOptions:
    head: str = option("HEAD", help="what a file begins with")


class Pair:
    """A file is a head, then samples of one byte."""

    def __init__(self, options):
        self.head = options.head.encode()

    def encode(self, samples):
        yield self.head
        for sample in samples:
            yield sample["value"]

    def decode(self, data):
        return iter(self.open(data).read(range(len(data) - 4)))

    def open(self, file, *, index=None):
        if bytes(file.read(0, 4)) != self.head:
            raise FormatError("this is no pair")
        return PairReader(file, index)

    def index(self, file, *, form=""):
        yield struct.pack("<Q", file.size) + form.encode()

    def synthesize(self, nbytes, fill):
        for _ in range(nbytes):
            room = np.empty(1, np.uint8)
            fill(memoryview(room))
            yield {"value": room}


class PairReader:
    def __init__(self, file, index):
        self.file = file
        self.index = index

    def __len__(self):
        return self.file.size - 4

    def summary(self):
        fields = (Field(name="value", dtype="uint8", shape=(1,)), Field(name="other", dtype="text", shape=None))
        details = {"index": "none" if self.index is None else bytes(self.index)[8:].decode() or "plain"}
        return FileSummary(samples=None if self.index is None else len(self), fields=fields, details=details)

    def nbytes(self, number):
        return 1

    def read(self, numbers):
        return [{"value": np.frombuffer(self.file.read(4 + number, 1), np.uint8)} for number in numbers]

    def close(self):
        pass


@pytest.fixture
def pair(monkeypatch):
    """Installs the format ``pair``."""
    kind = FormatType(
        name="pair",
        summary="bytes after a head",
        extensions=(".pair", ".pr"),
        options=PairOptions,
        open=Pair,
        splittable=True,
        index_forms={"plain": ".idx", "other": ".other"},
    )
    module = ModuleType("acme_pair")
    module.penstock_format_types = hookimpl(specname="penstock_format_types")(lambda: [kind])
    monkeypatch.setitem(sys.modules, module.__name__, module)
    plain = PluginHost.format_type

    def format_type(host, name):
        if name == "broken":
            raise PluginError("broken: it can't be loaded")
        return kind if name == "pair" else plain(host, name)

    names = PluginHost.names
    monkeypatch.setattr(PluginHost, "format_type", format_type)
    monkeypatch.setattr(
        PluginHost, "names", lambda host, group: (*names(host, group), *(["pair"] if "formats" in group else []))
    )
    choosing._endings.cache_clear()
    yield kind
    choosing._endings.cache_clear()


@pytest.fixture
def mem():
    return f"mem://{uuid.uuid4().hex}/"


class TestGenerating:
    def test_objects_are_files_of_the_format(self, pair, mem):
        run("put", "-n", "2", "-s", "50", "-o", "PAIR", mem)
        first, second = (bytes(penstock.get(f"{mem}object_{number}_of_2.pair")) for number in range(2))
        assert (first[:4], len(first)) == (b"HEAD", 54)
        assert first != second
        run("put", "-s", "5", "-o", "pair", "--format-option", "head=head", "-t", "mine", mem)
        assert bytes(penstock.get(f"{mem}mine"))[:4] == b"head"

    def test_the_command_that_generate_prints_checks_them(self, pair, mem):
        said = run(
            "generate", mem, "-n", "3", "-s", "300", "-o", "pair", "--format-option", "head=a b ", "--fill", "random"
        ).stderr
        assert "wrote 3 objects, 912 B" in said
        command = shlex.split(re.search(r"^to check them: penstock (.*)$", said, re.MULTILINE)[1])
        assert run(*command).stderr.startswith("checked 3 objects, 912 B")
        assert run(*command).stderr.rstrip().endswith("all as generated")
        uri = f"{mem}object_1_of_3.pair"
        right = bytes(penstock.get(uri))
        for wrong, message in (
            (right[:77] + bytes([right[77] ^ 1]) + right[78:], "differs from byte 77 on"),
            (b"HEAD" + right[4:], "differs from byte 0 on"),
            (right[:100], "has 100 bytes, not 304"),
            (right + b"?", "differs from byte 304 on"),
        ):
            penstock.put(uri, wrong)
            assert run(*command, code=1).stdout == f"{uri}: {message}\n"

    def test_names_that_are_given_are_kept_for_the_check(self, pair, mem):
        said = run("generate", mem, "-s", "10", "-o", "pair", "-t", "x{}").stderr
        assert penstock.exists(f"{mem}x0")
        command = shlex.split(re.search(r"^to check them: penstock (.*)$", said, re.MULTILINE)[1])
        assert "all as generated" in run(*command).stderr

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("put", "-o", "pear", "URI"), 1, "no format named pear; did you mean pair?"),
            (("put", "-o", "pair", "--format-option", "heat=x", "URI"), 2, "unknown option heat; did you mean head?"),
            (("put", "--format-option", "x=1", "URI"), 2, "raw: unknown option x"),
            (("put", "-o", "pair", "FILE", "URI"), 2, "--object-type is for generated objects"),
            (("put", "--format-option", "head=x", "FILE", "URI"), 2, "--format-option is for generated objects"),
            (("put", "-o", "parquet2", "URI"), 1, "no format named parquet2"),
            (("generate", "-o", "broken", "URI"), 1, "it can't be loaded"),
            (("verify", "-o", "pair", "--seed", "1", "URI"), 2, "give -s too"),
        ],
    )
    def test_what_can_not_be(self, pair, mem, arguments, code, message):
        done = run(*(mem if text == "URI" else text for text in arguments), code=code)
        assert message in done.stderr
        assert list(penstock.list(mem)) == []

    def test_a_format_that_is_not_installed_names_its_package(self):
        host = PluginHost(entries=[])
        with pytest.raises(PluginError, match="no format named hdf5; run: pip install penstock-hdf5"):
            host.format_type("hdf5")


class TestFormat:
    def test_list(self, pair):
        assert re.search(r"^raw +\.bin \.raw \.dat +no +- +penstock +the bytes", run("format", "list").stdout, re.M)
        (raw,) = [one for one in json.loads(run("format", "list", "--json").stdout) if one["name"] == "raw"]
        assert raw["endings"] == [".bin", ".raw", ".dat"]
        assert raw["splittable"] is False

    def test_describe(self, pair, mem):
        penstock.put(f"{mem}a.PAIR", b"HEADabc")
        text = run("format", "describe", f"{mem}a.PAIR").stdout
        assert "samples  unknown without reading all" in text
        assert re.search(r"^value +uint8 +1$", text, re.M)
        assert re.search(r"^other +text +any$", text, re.M)
        run("format", "index", f"{mem}a.PAIR", "--form", "other", "-o", f"{mem}elsewhere")
        found = run("format", "describe", f"{mem}a.PAIR", "--index", f"{mem}elsewhere", "--json").stdout
        assert json.loads(found) == {
            "uri": f"{mem}a.PAIR",
            "format": "pair",
            "size": 7,
            "samples": 3,
            "fields": [
                {"name": "value", "dtype": "uint8", "shape": [1]},
                {"name": "other", "dtype": "text", "shape": None},
            ],
            "details": {"index": "other"},
        }

    def test_index_beside_the_file(self, pair, mem):
        penstock.put(f"{mem}a*.pr", b"HEADabc")
        assert f"wrote {mem}a*.pr.idx, 8 B" in run("format", "index", f"{mem}a[*].pr").stderr
        assert "index    plain" in run("format", "describe", f"{mem}a[*].pr").stdout

    @pytest.mark.parametrize(
        ("samples", "numbers"),
        [(":", [0, 1, 2]), ("1", [1]), ("-1", [2]), ("1:", [1, 2]), (":-1", [0, 1]), ("2:9", [2]), ("2:1", [])],
    )
    def test_cat(self, pair, mem, samples, numbers):
        penstock.put(f"{mem}a", b"HEADabc")
        lines = run("format", "cat", f"{mem}a", "-f", "pair", "--samples", samples, "--json").stdout.splitlines()
        assert [json.loads(line) for line in lines] == [
            {"sample": n, "values": {"value": {"dtype": "uint8", "shape": [1], "values": [97 + n]}}} for n in numbers
        ]
        text = run("format", "cat", f"{mem}a", "-f", "pair", "--samples", samples).stdout
        assert re.findall(r"^sample (\d+)\n  value  uint8  1  \[\d+\]$", text, re.M) == [str(n) for n in numbers]

    @pytest.mark.parametrize(
        ("arguments", "code", "message"),
        [
            (("cat", "a.unknown"), 2, "no installed format has this ending"),
            (("cat", "none.pair"), 1, "none.pair"),
            (("cat", "bad.pair"), 1, "bad.pair: this is no pair"),
            (("cat", "good.pair", "--samples", "3"), 2, "--samples 3: the file has 3 samples"),
            (("cat", "good.pair", "--samples", "x"), 2, "write a number, or a range such as 0:10"),
            (("cat", "good.pair", "--samples", ""), 2, "write a number, or a range such as 0:10"),
            (("cat", "*.pair"), 2, "this takes one file"),
            (("describe", "a"), 2, "no installed format"),
            (("describe", "a.bin", "--index", "x"), 2, "raw has no index; leave --index out"),
            (("index", "good.pair", "--form", "plane"), 2, "no form of index named plane; did you mean plain"),
            (("index", "a.bin"), 2, "raw has no index"),
            (("index", "good.pair", "-o", "*.idx"), 2, "a glob can't be written to"),
        ],
    )
    def test_what_can_not_be(self, pair, mem, arguments, code, message):
        penstock.put(f"{mem}good.pair", b"HEADabc")
        penstock.put(f"{mem}bad.pair", b"tail")
        penstock.put(f"{mem}a.bin", b"tail")
        command, name, *rest = arguments
        others = [
            f"{mem}{text}" if flag in ("-o", "--index") else text for flag, text in zip(["", *rest], rest, strict=False)
        ]
        done = run("format", command, f"{mem}{name}", *others, code=code)
        assert message in done.stderr
        assert len(list(penstock.list(mem))) == 3

    def test_raw(self, mem):
        penstock.put(f"{mem}a.bin", bytes(range(40)))
        assert run("format", "cat", f"{mem}a.bin").stdout == (
            "sample 0\n  data  bytes  40  000102030405060708090a0b0c0d0e0f1011121314151617…\n"
        )


def test_values_as_text_and_as_json():
    sample = {
        "nan": np.array([np.nan, 1.5, -np.inf]),
        "one": np.float32(2.5),
        "many": np.zeros((3, 50), ">i4"),
        "times": np.array(["2020-01-01"], "M8[D]"),
        "complex": np.array([1 + 2j]),
        "rows": np.array([(1, b"x")], [("a", "u1"), ("b", "S2")]),
        "bytes": b"\x00\xff",
        "text": "line\nline " + "x" * 100,
        "number": 3,
        "empty": np.zeros((0, 2)),
    }
    facts = json.loads(json.dumps(sample_facts(sample), allow_nan=False))
    assert facts["nan"] == {"dtype": "float64", "shape": [3], "values": ["nan", 1.5, "-inf"]}
    assert facts["one"] == {"dtype": "float32", "shape": [], "values": 2.5}
    assert facts["many"]["dtype"] == ">i4"
    assert facts["many"]["values"] == [[0] * 50] * 3
    assert facts["times"]["values"] == ["2020-01-01"]
    assert facts["complex"]["values"] == [[1.0, 2.0]]
    assert facts["rows"]["values"] == [[1, {"base64": "eA=="}]]
    assert facts["bytes"] == {"base64": "AP8="}
    assert facts["text"] == sample["text"]
    lines = dict(line.split(maxsplit=1) for line in sample_lines(sample))
    assert lines["one"].split() == ["float32", "-", "2.5"]
    assert lines["many"].split(maxsplit=2)[:2] == [">i4", "3x50"]
    assert lines["many"].endswith(" …]")
    assert lines["text"].endswith("…")
    assert all("\n" not in line and len(line) < 110 for line in lines.values())
