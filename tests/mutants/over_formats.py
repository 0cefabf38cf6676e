"""The kit over every format of this package; see tests/test_kit_kills_mutants.py.

It is no test module of its own: most of its tests have to fail.
"""

from __future__ import annotations

import inspect
import os

import numpy as np
import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from mutants import broken_formats
from mutants.frames import END, HEAD, MAGIC, Frames
from penstock.testing import FormatContract
from penstock.testing.formats import tools

settings.register_profile("mutants", phases=[Phase.generate])
settings.load_profile("mutants")

#: What formats lose most easily; every run meets each of these.
DIRECTED = [
    np.array([0x7FF0000000000123, 0x8000000000000000], "u8").view("f8"),
    np.array([-0.0, 0.0]),
    np.array(1.5, ">f4"),
    np.asfortranarray(np.arange(6, dtype=">i2")[::-1].reshape(2, 3)),
    np.zeros((3, 0, 2)),
    np.array(["2020-01-01"], "M8[D]"),
    b"a\0\0",
    " text ",
    2**70,
    -0.0,
    False,
]
VALUES = st.one_of(
    arrays_of.arrays(arrays_of.scalar_dtypes(), arrays_of.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)),
    st.binary(max_size=8),
    st.text(max_size=5),
    st.integers(),
    st.floats(),
    st.booleans(),
)
FILES = st.one_of(
    st.lists(st.dictionaries(st.sampled_from(["x", "X", "größe", "label"]), VALUES, max_size=3), max_size=4),
    st.just([{"x": value} for value in DIRECTED] + [{}, {"x": 1, "X": 2}, {"größe": "ß"}]),
    st.just([{"x": np.zeros((2, 3), ">i2")}]),
)


class Contract(FormatContract):
    """The kit's test class over one format."""

    files = FILES
    cases = 20
    broken = Frames

    def checked(self, data):
        at = len(MAGIC)
        while data[at : at + 4] != END:
            _, text, body, _ = HEAD.unpack_from(data, at)
            yield at + HEAD.size, at + HEAD.size + text + body
            at += HEAD.size + text + body

    @pytest.fixture
    def format(self, monkeypatch):
        if patience := getattr(self.broken, "patience", None):
            monkeypatch.setattr(tools, "PATIENCE_S", patience)
        return self.broken().opened()


def contract_over(kind):
    return type(f"Test{kind.__name__}", (Contract,), {"broken": kind, "law": getattr(kind, "law", "")})


if "MUTANTS_PART" in os.environ:
    TestFrames = contract_over(Frames)
    for _name, _kind in vars(broken_formats).items():
        if inspect.isclass(_kind) and issubclass(_kind, Frames) and _kind not in (Frames, broken_formats.Reads):
            globals()[f"Test{_name}"] = contract_over(_kind)
    del Contract, FormatContract
