"""Sizes of checkpoints against the ones that are published for MLPerf Storage, and how ranks share them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penstock_training.train.models import checkpoint_shape
from penstock_training.train.schema import Model, Parallelism, Transformer

LLAMA = {
    # layers, width, feed-forward, heads, key-value heads; tensor, pipeline, ZeRO stage; ranks, GiB of a checkpoint
    "8b": (32, 4096, 14336, 32, 8, 1, 1, 3, 8, 104.70),
    # The 70b has 128 heads in DLIO's file, as its published size has it.
    "70b": (80, 8192, 28672, 128, 8, 8, 1, 3, 64, 911.20),
    "405b": (126, 16384, 53248, 128, 8, 8, 32, 1, 512, 5292.19),
}


def llama(name):
    layers, width, feed, heads, keys, tensor, pipeline, zero, ranks, gib = LLAMA[name]
    shape = Transformer(
        hidden_size=width, ffn_hidden_size=feed, vocab_size=128256, num_attention_heads=heads, num_kv_heads=keys
    )
    share = Parallelism(tensor=tensor, pipeline=pipeline, zero_stage=zero)
    return Model(type="transformer", num_layers=layers, transformer=shape, parallelism=share), ranks, gib


@pytest.mark.parametrize("name", LLAMA)
def test_llamas_have_their_published_size(name):
    model, ranks, gib = llama(name)
    shape = checkpoint_shape(model, ranks=ranks, everyone=False, subset="default")
    assert shape.nbytes / 2**30 == pytest.approx(gib, rel=1e-3)
    assert len(shape.files) == ranks


def test_names_are_those_of_the_stage():
    model, ranks, _ = llama("8b")
    shape = checkpoint_shape(model, ranks=ranks, everyone=False, subset="default")
    assert [name for name, _ in shape.files[3]] == [
        "zero_pp_rank_3_mp_rank_0_model_states.pt",
        "zero_pp_rank_3_mp_rank_0_optim_states.pt",
    ]
    model, ranks, _ = llama("405b")
    files = checkpoint_shape(model, ranks=ranks, everyone=False, subset="default").files
    layers = [name for name, _ in files[0] if name.startswith("layer_")]
    assert layers == [f"layer_{number}-model_0_model_states.pt" for number in range(5)]
    # The second copy of the model writes its part of the optimizer's state alone.
    assert [name for name, _ in files[256]] == ["zero_pp_rank_1_mp_rank_0_optim_states.pt"]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 4), st.integers(1, 4), st.integers(1, 3), st.integers(0, 3), st.integers(4, 9))
def test_every_layer_is_written_once_for_each_copy(tensor, pipeline, data, zero, layers):
    width = 48
    model = Model(
        type="transformer",
        num_layers=layers,
        model_datatype="fp32",
        transformer=Transformer(
            hidden_size=width, ffn_hidden_size=96, vocab_size=480, num_attention_heads=4, num_kv_heads=4
        ),
        parallelism=Parallelism(tensor=tensor, pipeline=pipeline, zero_stage=zero),
    )
    shape = checkpoint_shape(model, ranks=tensor * pipeline * data, everyone=False, subset="default")
    names = [name for files in shape.files for name, _ in files]
    assert len(names) == len(set(names))
    states = sum(nbytes for files in shape.files for name, nbytes in files if "model_states" in name)
    keys = width
    each = 2 * width + width * (width + 2 * keys) + width * width + 3 * 96 * width
    parameters = 2 * 480 * width + width + layers * each
    copies = data if zero == 0 else 1
    assert states == pytest.approx(4 * parameters * copies, rel=0.02)


def test_a_model_that_is_not_shared_is_written_by_one_or_by_all():
    model = Model(model_size_bytes=1000.0, optimization_groups=(10, 20))
    one = checkpoint_shape(model, ranks=3, everyone=False, subset="default")
    assert one.files == ((("model_states-0.pt", 1000), ("optimizer_states-0.pt", 120)), (), ())
    every = checkpoint_shape(model, ranks=3, everyone=True, subset="default")
    assert every.files[2] == (("model_states-2.pt", 1000), ("optimizer_states-2.pt", 120))
    assert every.nbytes == 3 * 1120


def test_ranks_that_cant_share_a_model_are_an_error_with_the_remedy():
    model, _, _ = llama("70b")
    with pytest.raises(ValueError, match=r"change --ranks or the parallelism, or write checkpoint\.mode: subset"):
        checkpoint_shape(model, ranks=12, everyone=False, subset="default")
    assert len(checkpoint_shape(model, ranks=4, everyone=False, subset="subset").files) == 4
    with pytest.raises(ValueError, match="a transformer needs num_layers"):
        checkpoint_shape(Model(type="transformer"), ranks=1, everyone=False, subset="default")
