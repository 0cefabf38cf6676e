"""States of any depth come back as they were."""

from __future__ import annotations

import collections
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.errors import FormatError, UsageError
from penstock_training.checkpoint.trees import flatten, unflatten

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.binary(max_size=5)
    | st.integers(0, 9).map(lambda n: np.full(3, n))
)
keys = st.text(max_size=4) | st.integers() | st.booleans() | st.none()
values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.lists(inner, max_size=3).map(tuple) | st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=8,
)


def same(one, other):
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other)
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return [(type(k), k) for k in one] == [(type(k), k) for k in other] and all(same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and math.isnan(one):
        return math.isnan(other)
    return one == other


@given(st.dictionaries(keys, values, max_size=4))
def test_a_state_comes_back(state):
    tensors, tree = flatten(state)
    assert all(isinstance(name, str) for name in tensors)
    assert same(state, unflatten(tensors, tree))


def test_tensors_by_name_need_no_tree():
    state = {"a.b": np.zeros(2), "c": np.float32(1)}
    assert flatten(state) == (state, None)


def test_paths_that_read_alike_have_different_names():
    one, other = np.zeros(1), np.ones(1)
    tensors, tree = flatten({"a": {"b": one}, "a/b": other})
    assert len(tensors) == 2
    found = unflatten(tensors, tree)
    assert (found["a"]["b"] is one, found["a/b"] is other) == (True, True)


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"model": {"hook": print}}, "model/hook"),
        ({"model": [{1, 2}]}, "model/0: set"),
        ({"a": {(1, 2): 3}}, r"a: the key \(1, 2\)"),
        ({"a": collections.namedtuple("Pair", "x")(1)}, "a: Pair"),
    ],
)
def test_what_cannot_be_stored_is_refused_with_its_path(state, words):
    with pytest.raises(UsageError, match=words):
        flatten(state)


@pytest.mark.parametrize("tree", ["", "[1]", '{"tensor":"gone"}', '{"what":1}', '{"a":1,"b":2}', '{"bytes":"*"}'])
def test_a_tree_that_does_not_fit_is_refused(tree):
    with pytest.raises(FormatError):
        unflatten({}, tree)
