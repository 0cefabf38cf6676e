"""How samples become batches by default."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from penstock_training.loading import collate


@given(arrays.arrays(arrays.scalar_dtypes(), arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=4)))
def test_equal_arrays_are_stacked(stack):
    batch = collate(list(stack))
    native = stack.astype(stack.dtype.newbyteorder("="))
    assert batch.dtype == native.dtype
    assert batch.tobytes() == native.tobytes()
    assert batch.shape == stack.shape


@given(st.lists(st.integers(-(2**60), 2**60), min_size=1))
def test_numbers_are_an_array(values):
    assert collate(values).tolist() == values


def test_what_differs_stays_a_list():
    for samples in (
        [np.zeros(2), np.zeros(3)],
        [np.zeros(2), np.zeros(2, dtype="f4")],
        [np.zeros(2), 5],
        [b"a", b"b"],
        ["a", "b"],
        [None, 1],
        [{"a": 1}, {"b": 1}],
        [{"a": 1}, 5],
        [(1, 2), (1,)],
        [(1, 2), None],
        [1, "a"],
    ):
        assert collate(samples) is not samples
        assert isinstance(collate(samples), list)
        assert len(collate(samples)) == len(samples)
    assert collate([]) == []


def test_mappings_and_tuples_are_collated_by_part():
    batch = collate([{"x": np.arange(3), "name": "a", "y": 1.5}, {"x": np.arange(3) + 1, "name": "b", "y": 2.5}])
    assert batch["x"].tolist() == [[0, 1, 2], [1, 2, 3]]
    assert batch["name"] == ["a", "b"]
    assert batch["y"].tolist() == [1.5, 2.5]
    first, second = collate([(1, b"a"), (2, b"bc")])
    assert first.tolist() == [1, 2]
    assert second == [b"a", b"bc"]
