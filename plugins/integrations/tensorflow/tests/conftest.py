"""Data to read."""

from __future__ import annotations

import itertools
import os

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import numpy as np
import pytest

import penstock

_numbers = itertools.count()


@pytest.fixture(params=["mem", "file"])
def place(request, tmp_path):
    """An empty place in a store, as a URI that ends in a slash."""
    if request.param == "file":
        return f"file://{tmp_path}/store/"
    return f"mem://test-tensorflow-{next(_numbers)}/dir/"


@pytest.fixture
def data(place):
    """Twenty files of four bytes, each its own number."""
    for number in range(20):
        penstock.put(f"{place}{number:02}.bin", np.full(4, number, np.uint8))
    return place
