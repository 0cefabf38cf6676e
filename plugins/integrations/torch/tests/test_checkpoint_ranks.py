"""Checkpoints of several ranks: saved by two, loaded by one, two and three."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest
import torch
import torch.distributed.checkpoint as dcp
from penstock_torch import StorageReader, StorageWriter

# dcp says so whenever a program of one process saves or loads.
pytestmark = pytest.mark.filterwarnings(
    "ignore:torch.distributed is disabled, unavailable or uninitialized, assuming the intent:UserWarning"
)

_spec = importlib.util.spec_from_file_location("torch_ranks", Path(__file__).parent / "ranks.py")
script = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(script)


def loaded_by_one(uri, seed=0):
    tensors = {name: torch.zeros_like(tensor) for name, tensor in script.whole().items()}
    state = {"model": tensors, "plain": torch.zeros_like(tensors["cube"]), "step": -1}
    dcp.load(state, storage_reader=StorageReader(uri))
    for name, right in script.whole(seed).items():
        assert torch.equal(state["model"][name].view(torch.uint8), right.view(torch.uint8)), name
    assert torch.equal(state["plain"], script.whole(seed)["cube"])
    assert state["step"] == 100 + seed


def test_two_ranks_save_now_later_and_in_vain_and_one_loads(ranks, place, s3):
    assert ranks("ranks.py", 2, "save", place, s3) == ["done\n", "done\n"]
    for uri in (place, s3):
        loaded_by_one(f"{uri}/a")
        loaded_by_one(f"{uri}/b", 1)
        loaded_by_one(f"{uri}/c", 2)


def test_what_one_rank_saved_three_load(ranks, place):
    state = {"model": script.whole(), "plain": script.whole()["cube"], "step": 100}
    dcp.save(state, storage_writer=StorageWriter(place))
    assert ranks("ranks.py", 3, "load", place) == ["done\n"] * 3
