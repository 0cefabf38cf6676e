"""Parts of arrays: any cut of an array makes any other part of it."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from penstock_jax.boxes import assemble, box_of, name_of, overlap

from penstock.errors import FormatError


@st.composite
def cuts(draw):
    shape = tuple(draw(st.lists(st.integers(0, 6), max_size=3)))
    axes = [sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=2))}) for size in shape]
    boxes = list(itertools.product(*[list(itertools.pairwise(ends)) or [(0, 0)] for ends in axes]))
    wanted = tuple(tuple(sorted(draw(st.tuples(st.integers(0, n), st.integers(0, n))))) for n in shape)
    return shape, boxes, wanted


@given(cuts())
@settings(max_examples=200, deadline=None)
def test_any_part_is_made_of_the_parts_of_any_cut(case):
    shape, boxes, wanted = case
    array = np.arange(np.prod(shape, dtype=int), dtype=np.int32).reshape(shape)
    parts = [(box, array[tuple(slice(*ends) for ends in box)]) for box in boxes]
    made = assemble(wanted, array.dtype, parts)
    assert np.array_equal(made, array[tuple(slice(*ends) for ends in wanted)])
    assert made.dtype == array.dtype


def test_parts_that_leave_a_hole_are_refused():
    with pytest.raises(FormatError, match="6 of 12"):
        assemble(((0, 3), (0, 4)), np.dtype("f4"), [(((0, 3), (0, 2)), np.zeros((3, 2), "f4"))])


def test_names():
    assert box_of((slice(None), slice(2, 4)), (3, 8)) == ((0, 3), (2, 4))
    assert name_of("['a']", ((0, 3), (2, 4))) == "['a'][0:3,2:4]"
    assert name_of("x", ()) == "x[]"
    assert overlap((), ()) == ()
    assert overlap(((0, 2),), ((2, 3),)) is None
