"""``penstock_training.checkpoint`` with tensors of torch, which its own tests do without."""

from __future__ import annotations

import uuid

import pytest
import torch

from penstock.errors import UsageError
from penstock_training.checkpoint import CheckpointStore

DTYPES = [
    torch.bool, torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint16, torch.uint32,
    torch.uint64,
    torch.float16, torch.bfloat16, torch.float32, torch.float64, torch.complex64,
    torch.float8_e4m3fn, torch.float8_e5m2, torch.float8_e8m0fnu,
]  # fmt: skip


@pytest.fixture
def checkpoints():
    with CheckpointStore(f"mem://{uuid.uuid4().hex}/run") as checkpoints:
        yield checkpoints


def bits(tensor):
    return tensor.contiguous().reshape(-1).view(torch.uint8) if tensor.numel() else torch.empty(0)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_type_comes_back_bit_by_bit(checkpoints, dtype):
    state = {
        name: torch.arange(12).reshape(3, 4).to(torch.float32).to(dtype)[index]
        for name, index in {
            "whole": ...,
            "row": 1,
            "column": (slice(None), 1),
            "none": slice(0, 0),
            "one": (2, 3),
        }.items()
    }
    checkpoints.save(1, state)
    for found in (
        checkpoints.load(1, framework="torch").data,
        checkpoints.load_tensors(1, list(state), framework="torch"),
    ):
        for name, tensor in state.items():
            assert (found[name].dtype, found[name].shape) == (dtype, tensor.shape)
            assert torch.equal(bits(found[name]), bits(tensor))


def test_a_model_and_its_optimizer_go_on_as_if_nothing_had_happened(checkpoints):
    def made():
        torch.manual_seed(1)
        model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2))
        return model, torch.optim.AdamW(model.parameters(), lr=0.01)

    def train(model, optimizer, seed):
        torch.manual_seed(seed)
        for _ in range(3):
            optimizer.zero_grad()
            model(torch.randn(16, 4)).square().mean().backward()
            optimizer.step()

    model, optimizer = made()
    train(model, optimizer, 2)
    pending = checkpoints.save_async(3, {"model": model.state_dict(), "optimizer": optimizer.state_dict()})
    train(model, optimizer, 3)
    pending.result(60)

    other, its_optimizer = made()
    loaded = checkpoints.load_latest(framework="torch").data
    other.load_state_dict(loaded["model"])
    its_optimizer.load_state_dict(loaded["optimizer"])
    train(other, its_optimizer, 3)
    for one, two in zip(model.state_dict().values(), other.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_tensors_that_share_memory_or_need_gradients_are_saved(checkpoints):
    weight = torch.nn.Parameter(torch.randn(5, 5))
    checkpoints.save(
        1, {"a": weight, "tied": weight, "view": weight.t(), "conjugate": torch.ones(2, dtype=torch.complex64).conj()}
    )
    found = checkpoints.load(1, framework="torch").data
    assert torch.equal(found["a"], weight.detach())
    assert torch.equal(found["tied"], weight.detach())
    assert torch.equal(found["view"], weight.detach().t())


@pytest.mark.parametrize(
    ("tensor", "words"),
    [
        (torch.eye(3).to_sparse(), "layout"),
        (torch.empty(3, device="meta"), "no data"),
        (torch.zeros(2, dtype=torch.complex128), "complex128"),
    ],
    ids=["sparse", "meta", "complex128"],
)
def test_what_has_no_dense_bytes_is_refused_by_name(checkpoints, tensor, words):
    with pytest.raises(UsageError, match=f"'layer'.*{words}"):
        checkpoints.save(1, {"layer": tensor})
    assert checkpoints.latest() is None
