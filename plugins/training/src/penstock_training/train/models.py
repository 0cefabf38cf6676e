"""What each rank writes of a checkpoint: names and sizes of objects, by the shape of a model and how it is shared.

The names are DLIO's. A transformer's sizes follow from its shape: with the width H, the vocabulary V, the feed-forward
width F, L layers and K = H / heads * key-value heads, it has V*H parameters in each of the embedding and the head, H in
the last norm, and ``2*H + H*(H + 2*K) + H*H + 3*F*H`` in each layer. Adam keeps three values for each parameter.
"""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from penstock_training.train.schema import Model

__all__ = ["BYTES_OF", "CheckpointShape", "checkpoint_shape"]

#: Bytes of one value of each type.
BYTES_OF = {
    "fp64": 8,
    "int64": 8,
    "fp32": 4,
    "int32": 4,
    "fp16": 2,
    "bf16": 2,
    "int16": 2,
    "fp8": 1,
    "int8": 1,
    "uint8": 1,
}
_ADAM = 3
_EXTRA = 5


@attrs.frozen
class CheckpointShape:
    """The objects of a checkpoint, by the rank that writes them: names and sizes in bytes."""

    files: tuple[tuple[tuple[str, int], ...], ...]

    @property
    def nbytes(self) -> int:
        """All of it."""
        return sum(nbytes for files in self.files for _, nbytes in files)


def checkpoint_shape(model: Model, *, ranks: int, everyone: bool, subset: str) -> CheckpointShape:
    """The shape for so many ranks. ``everyone``: each writes the model, where it is not shared. ``subset``: ranks may
    be fewer than the model is shared by. Raises ValueError where they can't share it.
    """
    share = _Share.of(model, ranks, subset == "subset")
    if model.type == "transformer":
        layers = _transformer(model)
    elif model.num_layers > 0 and model.layer_parameters:
        layers = [sum(model.layer_parameters)] * model.num_layers
    else:
        return CheckpointShape(tuple(_plain(model, rank, everyone) for rank in range(ranks)))
    return CheckpointShape(tuple(tuple(_shared(model, layers, share, rank)) for rank in range(ranks)))


def _plain(model: Model, rank: int, everyone: bool) -> tuple[tuple[str, int], ...]:
    """A model that is one object, of rank 0 or of each."""
    if rank and not everyone:
        return ()
    files = [(f"model_states-{rank}.pt", int(model.model_size_bytes))]
    if model.optimization_groups:
        nbytes = sum(model.optimization_groups) * BYTES_OF[model.optimizer_datatype]
        files.append((f"optimizer_states-{rank}.pt", nbytes))
    return tuple(files)


@attrs.frozen
class _Share:
    """How ranks share a model: rank = (data * pipeline + pipeline's rank) * tensor + tensor's rank."""

    tensor: int
    pipeline: int
    data: int
    zero: int

    @classmethod
    def of(cls, model: Model, ranks: int, subset: bool) -> _Share:
        given = model.parallelism
        within = given.tensor * given.pipeline
        if given.zero_stage > 3:
            raise ValueError(f"parallelism.zero_stage is {given.zero_stage}; it is 0 to 3")
        data = given.data if given.data > 0 else max(1, -(-ranks // within) if subset else ranks // within)
        if subset and ranks > within * data:
            raise ValueError(f"{ranks} ranks are more than the {within * data} that share the model; give fewer")
        if not subset and model.type == "transformer" and within * data != ranks:
            raise ValueError(
                f"tensor {given.tensor} * pipeline {given.pipeline} * data {data} is not the {ranks} ranks that there "
                "are; change --ranks or the parallelism, or write checkpoint.mode: subset"
            )
        return cls(given.tensor, given.pipeline, data, given.zero_stage)

    def place(self, rank: int) -> tuple[int, int, int]:
        """Tensor's, pipeline's and data's rank."""
        rest, tensor = divmod(rank, self.tensor)
        data, pipeline = divmod(rest, self.pipeline)
        return tensor, pipeline, data

    def layers(self, pipeline: int, count: int) -> range:
        """Which of ``count`` layers, counted from 1, are in a stage of the pipeline; the first ones have the rest."""
        share, more = divmod(count, self.pipeline)
        begin = share * pipeline + min(pipeline, more)
        return range(begin + 1, begin + 1 + share + (pipeline < more))


def _transformer(model: Model) -> list[int]:
    """Parameters of the embedding, of each layer, of the last norm and of the head."""
    if model.num_layers < 1:
        raise ValueError("a transformer needs num_layers, 1 or more")
    shape = model.transformer
    width, words = shape.hidden_size, shape.vocab_size
    keys = width // shape.num_attention_heads * shape.num_kv_heads
    layer = 2 * width + width * (width + 2 * keys) + width * width + 3 * shape.ffn_hidden_size * width
    return [words * width, *[layer] * model.num_layers, width, words * width]


def _shared(model: Model, layers: list[int], share: _Share, rank: int) -> Iterator[tuple[str, int]]:
    """What one rank writes of a model in layers."""
    tensor, pipeline, data = share.place(rank)
    mine = _of_stage(model, layers, share, pipeline)
    parameters = sum(layers[number] for number in mine) // share.tensor
    place = pipeline * share.tensor + tensor
    nbytes = BYTES_OF[model.model_datatype]
    if share.zero in (1, 2):
        if data == 0 and share.pipeline > 1:
            for number in mine:
                yield f"layer_{number}-model_{tensor}_model_states.pt", layers[number] // share.tensor * nbytes
        elif data == 0:
            yield f"model_{place}_model_states.pt", parameters * nbytes
    else:
        part = parameters // share.data if share.zero == 3 else parameters
        yield f"zero_pp_rank_{data}_mp_rank_{place}_model_states.pt", part * nbytes
    held = parameters // share.data if share.zero else parameters
    width = model.transformer.hidden_size if model.type == "transformer" else 0
    values = _ADAM * (held + _EXTRA * width)
    if model.type != "transformer":
        values = sum(model.optimization_groups) // (share.tensor * share.pipeline * (share.data if share.zero else 1))
    if values:
        yield f"zero_pp_rank_{data}_mp_rank_{place}_optim_states.pt", values * BYTES_OF[model.optimizer_datatype]


def _of_stage(model: Model, layers: list[int], share: _Share, pipeline: int) -> list[int]:
    if model.type != "transformer":
        return [number - 1 for number in share.layers(pipeline, len(layers))]
    mine = list(share.layers(pipeline, len(layers) - 3))
    first = [0] if pipeline == 0 else []
    last = [len(layers) - 2, len(layers) - 1] if pipeline == share.pipeline - 1 else []
    return first + mine + last
