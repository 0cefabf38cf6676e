"""The keys of a DLIO workload file, of several of its versions, as attrs classes; each says what the key means here.

A key that is not here is refused by name, and so is a word that can't be honoured; :mod:`penstock_training.train.plan`
says what of it takes another form here. Times are in seconds, sizes in bytes.
"""
# ruff: noqa: RUF009 -- key() makes an attrs field, no value

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from penstock.workload.documents import Node
from penstock.workload.fields import Record, key
from penstock.workload.layering import FAULTS
from penstock.workload.shapes import Flag, ListOf, Optional, Reader, Table, Text
from penstock_training.train.shapes import Amount, Choice, Flat, Span, Time, Whole

__all__ = [
    "REFUSED_FORMATS",
    "WORKLOAD",
    "Checkpoint",
    "Dataset",
    "Evaluation",
    "Metric",
    "Model",
    "Output",
    "OutputMetric",
    "Own",
    "Parallelism",
    "Profiling",
    "Reading",
    "Storage",
    "Train",
    "Transformer",
    "Workflow",
    "Workload",
]

_COUNT, _MORE, _MAYBE = Whole(0), Whole(1), Whole(-1)
_SIZE, _SHARE = Amount(size=True), Amount(maximum=100)
_NAME = Text("a name without /")
_PLACE = Text("a directory or a URI", ("./data", "s3://bucket/data"))
_TYPES = Choice(("fp64", "fp32", "fp16", "bf16", "fp8", "int64", "int32", "int16", "int8", "uint8"))
_SHUFFLE = Choice(("off", "seed", "random"))
#: Formats of DLIO's that are refused where files are made or read, with what to write instead.
REFUSED_FORMATS = {
    "csv": "text is no training data of our loaders; write npz or tfrecord",
    "hdf5_opt": "write hdf5 with enable_chunking",
    "indexed_binary": "write tfrecord, which is indexed too",
    "mmap_indexed_binary": "write tfrecord, which is indexed too",
    "parquet": "its columns have no form in this schema; write tfrecord or npz",
}
_NO_CLASS = (
    "it names a Python class of DLIO's own process, and there is none here; leave the key out (with DLIO itself, "
    "penstock-dlio has such classes)"
)
_NO_TRACE = "traces are the operation log's here; leave the key out and run with --op-log FILE"


@attrs.frozen
class Parallelism:
    """How many ranks share one model."""

    tensor: int = key(_MORE, 1, help="ranks that share each layer")
    pipeline: int = key(_MORE, 1, help="ranks that share the layers")
    data: int = key(_MAYBE, -1, help="copies of the model; -1: as many as the ranks make")
    zero_stage: int = key(Whole(0), 0, help="what the copies share, 0 to 3, as in DeepSpeed's ZeRO")


@attrs.frozen
class Transformer:
    """The shape of a transformer, from which the sizes of its checkpoint follow."""

    hidden_size: int = key(_MORE, 2048, help="width")
    ffn_hidden_size: int = key(_MORE, 8196, help="width of the feed-forward layer")
    vocab_size: int = key(_MORE, 32000, help="words")
    num_attention_heads: int = key(_MORE, 32, help="heads")
    num_kv_heads: int = key(_MORE, 8, help="heads of keys and values")


@attrs.frozen
class Model:
    """What is trained: its checkpoint's sizes."""

    name: str = key(Text("a name"), "default", help="name of the run")
    type: str = key(Text("a kind of model"), "default", help="transformer: sizes as transformer says; else a word")
    model_size_bytes: float = key(_SIZE, 10240.0, help="bytes of the model's state", aliases=("model_size",))
    model_datatype: str = key(_TYPES, "fp16", help="type of the parameters")
    optimizer_datatype: str = key(_TYPES, "fp32", help="type of the optimizer's state")
    optimization_groups: tuple[int, ...] = key(ListOf(_COUNT), (), help="values in each group of the optimizer's state")
    num_layers: int = key(_MAYBE, -1, help="layers, each an object of a checkpoint")
    layer_parameters: tuple[int, ...] = key(ListOf(_COUNT), (), help="values in each array of a layer")
    parallelism: Parallelism = key(Record(Parallelism), Parallelism(), help="how ranks share the model")
    transformer: Transformer = key(Record(Transformer), Transformer(), help="the shape, with type: transformer")


@attrs.frozen
class _ModelShape:
    """A model, or its name alone, as older files have it."""

    record: Record
    expects: str = "a name, or a mapping of the model"

    def accepts(self, node: Node) -> bool:
        return node.kind != "sequence" and not node.empty

    def read(self, node: Node, path: str, reader: Reader) -> Any:
        if node.kind == "scalar" and not node.empty:
            return Model(name=node.text)
        return self.record.read(node, path, reader)

    def dump(self, value: Model) -> dict[str, Any]:
        return self.record.dump(value)

    def schema(self, definitions: dict[str, Any]) -> dict[str, Any]:
        return self.record.schema(definitions)


@attrs.frozen
class Workflow:
    """What is done, in this order."""

    generate_data: bool = key(Flag(), False, help="make the files of the dataset first")
    train: bool = key(Flag(), True, help="run the epochs")
    evaluation: bool = key(Flag(), False, help="evaluate after epochs")
    checkpoint: bool = key(Flag(), False, help="write checkpoints; without train, write them and then read them")
    profiling: bool = key(Flag(), False, help="must be false")


@attrs.frozen
class Storage:
    """Where paths that are no URIs lie."""

    storage_type: str = key(
        Choice(
            ("local_fs", "parallel_fs", "direct_fs", "s3"),
            {"aistore": "AIStore speaks S3; write storage_type: s3 with its endpoint_url"},
        ),
        "local_fs",
        help="s3: paths are keys; direct_fs: files that bypass the page cache",
    )
    storage_root: str = key(Text("a directory or a bucket"), "./", help="what paths are relative to; for s3 the bucket")
    storage_options: Mapping[str, str | None] = key(
        Flat(), attrs.Factory(dict), help="options of the store: DLIO's names, or those of penstock plugins show"
    )
    storage_library: str | None = key(Optional(_NAME), None, help="the client of DLIO's; here it is penstock")
    uri_scheme: str = key(_NAME, "s3", help="scheme of the URIs that storage_type: s3 makes")
    use_full_object_uri: bool = key(Flag(), False, help="every key is a whole URI here in any case")
    prefetch_window: int = key(_COUNT, 0, help="samples that are read ahead; 0: as prefetch_size says")


@attrs.frozen
class Dataset:
    """The files of samples."""

    record_length_bytes: float = key(_SIZE, 65536.0, help="bytes of a sample, on average", aliases=("record_length",))
    record_length_bytes_stdev: float = key(
        _SIZE, 0.0, help="its standard deviation, over files", aliases=("record_length_stdev",)
    )
    record_length_bytes_resize: float = key(
        _SIZE, 0.0, help="bytes that a sample has in a batch; 0: all", aliases=("record_length_resize",)
    )
    record_dims: tuple[int, ...] = key(ListOf(_MORE), (), help="shape of a sample; empty: a square of its bytes")
    record_element_type: str = key(_NAME, "uint8", help="NumPy's name of the type of a sample's values")
    format: str = key(
        Choice(
            ("tfrecord", "hdf5", "npz", "npy", "jpeg", "png", "raw", "synthetic", *REFUSED_FORMATS),
        ),
        "tfrecord",
        help="of the files; jpeg, png and raw are bytes that are read whole and not decoded; synthetic: no files",
    )
    num_files_train: int = key(_COUNT, 8, help="files to train on")
    num_files_eval: int = key(_COUNT, 0, help="files to evaluate on")
    num_samples_per_file: int = key(_MORE, 1, help="samples in each file")
    data_folder: str = key(_PLACE, "./data", help="where they are; any URI")
    num_subfolders_train: int = key(_COUNT, 0, help="directories below train; 0: none")
    num_subfolders_eval: int = key(_COUNT, 0, help="directories below valid; 0: none")
    file_prefix: str = key(_NAME, "img", help="how names of files begin")
    compression: str = key(
        Choice(("none", "gzip", "lzf", "zip"), {"bz2": "write gzip or zip", "xz": "write gzip or zip"}),
        "none",
        help="zip for npz, gzip and lzf for hdf5",
    )
    compression_level: int = key(_COUNT, 4, help="level of gzip")
    enable_chunking: bool = key(Flag(), False, help="keep hdf5 datasets in chunks", aliases=("chunking",))
    chunk_size: float = key(_SIZE, 0.0, help="bytes of a chunk of hdf5; 0: a sample")
    keep_files: bool = key(Flag(), True, help="false: delete, at the end, the files that this run has made")
    generation_buffer_size: float = key(_SIZE, 2.0 * 1024**3, help="generation holds one sample for each thread here")
    skip_listing: bool = key(Flag(), False, help="take the names of files from their numbers, and list nothing")
    listing_validation_interval: int = key(
        _COUNT, 0, help="with skip_listing, look for each so many-th file at the start; 0: for none"
    )


@attrs.frozen
class Reading:
    """How batches are read."""

    data_loader: str = key(
        Choice(("tensorflow", "pytorch", "dali", "native_dali", "synthetic"), {"custom": _NO_CLASS}),
        "tensorflow",
        help="synthetic: nothing is read; all others are penstock's own loader here",
    )
    batch_size: int = key(_MORE, 1, help="samples in a batch of each rank")
    batch_size_eval: int = key(_MORE, 1, help="the same when evaluating")
    read_threads: int = key(
        _COUNT, 1, help="samples that a rank reads at once; 0: batches are read when they are needed"
    )
    computation_threads: int = key(_COUNT, 1, help="preprocessing is done by the threads that read")
    prefetch_size: int = key(_COUNT, 2, help="batches that are read ahead; 0: 2")
    file_shuffle: str = key(_SHUFFLE, "off", help="seed: the same in each run; random: another one in each")
    sample_shuffle: str = key(_SHUFFLE, "off", help="as file_shuffle; samples are shuffled over the whole dataset")
    shuffle_size: int = key(_COUNT, 1024, help="the whole dataset is shuffled at once here")
    transfer_size: float = key(_SIZE, 0.0, help="bytes of one request; 0: samples that fit are read in one")
    preprocess_time: Span = key(Time(), Span(), help="what a sample costs the thread that reads it")
    preprocess_time_stdev: float = key(Amount(), 0.0, help="older form of a normal distribution")
    odirect: bool = key(Flag(), False, help="bypass the page cache; of files")
    dont_use_mmap: bool = key(Flag(), False, help="nothing is mapped here")
    pin_memory: bool = key(Flag(), False, help="there is no device to copy to here")
    multiprocessing_context: str = key(
        Choice(("fork", "spawn", "forkserver")), "fork", help="threads read here, in ranks that are spawned"
    )
    read_type: str = key(
        Choice(("on_demand",), {"memory": "nothing is kept between epochs; write on_demand"}),
        "on_demand",
        help="samples are read when they are needed",
    )
    file_access: str = key(
        Choice(("multi", "shared"), {"collective": "ranks read by themselves; write multi or shared"}),
        "multi",
        help="samples are dealt to ranks by number, so one file may be read by several",
    )
    transformed_record_dims: tuple[int, ...] = key(ListOf(_MORE), (), help="shape that a sample has in a batch")
    data_loader_sampler: str = key(
        Choice(("index", "iterative")), "index", help="samples are dealt to ranks by number in both"
    )


@attrs.frozen
class Train:
    """The epochs."""

    epochs: int = key(_MORE, 1, help="how many")
    computation_time: Span = key(Time(), Span(), help="what the accelerator computes for each batch")
    computation_time_stdev: float = key(Amount(), 0.0, help="older form of a normal distribution")
    total_training_steps: int = key(_MAYBE, -1, help="end after so many steps of all epochs")
    seed: int = key(_COUNT, 123, help="every random choice derives from it")
    seed_change_epoch: bool = key(Flag(), True, help="another order in each epoch")


@attrs.frozen
class Evaluation:
    """What is done with the files of ``valid``."""

    eval_time: Span = key(Time(), Span(), help="what the accelerator computes for each batch")
    eval_time_stdev: float = key(Amount(), 0.0, help="older form of a normal distribution")
    eval_after_epoch: int = key(_MORE, 1, help="first epoch after which to evaluate")
    epochs_between_evals: int = key(_MORE, 1, help="epochs from one evaluation to the next")


@attrs.frozen
class Checkpoint:
    """What is written, and when. The last ones are where older files have what ``model`` has now."""

    checkpoint_folder: str = key(_PLACE, "./checkpoints/", help="where to; any URI")
    checkpoint_after_epoch: int = key(_MORE, 1, help="first epoch after which to write one")
    epochs_between_checkpoints: int = key(_MAYBE, 1, help="epochs from one to the next; -1: none at the end of epochs")
    steps_between_checkpoints: int = key(_MAYBE, -1, help="steps from one to the next; -1: none within epochs")
    fsync: bool = key(Flag(), False, help="wait until the files would survive a loss of power")
    time_between_checkpoints: Span = key(Time(), Span(), help="without train: the wait before each")
    num_checkpoints_write: int = key(
        _MAYBE, -1, help="without train: how many to write; -1: as many as to read", aliases=("num_checkpoints",)
    )
    num_checkpoints_read: int = key(_MAYBE, -1, help="without train: how many to read; -1: none")
    recovery_rank_shift: bool = key(Flag(), False, help="each rank reads what the next one wrote")
    rank_sync: bool = key(Flag(), False, help="ranks wait for each other before the time is taken")
    mode: str = key(Choice(("default", "subset")), "default", help="subset: ranks that are missing are left out")
    randomize_tensor: bool = key(Flag(), True, help="false: write zeros")
    type: str = key(Choice(("rank_zero", "all_ranks")), "rank_zero", help="who writes, where the model is not shared")
    ksm: Mapping[str, str | None] | None = key(
        Optional(Flat()), None, help="no state is held in memory here, so there is nothing to merge"
    )
    model_datatype: str | None = key(Optional(_TYPES), None, help="see model")
    optimizer_datatype: str | None = key(Optional(_TYPES), None, help="see model")
    model_size: float | None = key(Optional(_SIZE), None, help="see model", aliases=("model_size_bytes",))
    optimization_groups: tuple[int, ...] = key(ListOf(_COUNT), (), help="see model")
    num_layers: int = key(_MAYBE, -1, help="see model")
    layer_parameters: tuple[int, ...] = key(ListOf(_COUNT), (), help="see model")


@attrs.frozen
class OutputMetric:
    """Steps that figures leave out."""

    exclude_start_steps: int = key(_COUNT, 1, help="of those at the start of a block")
    exclude_end_steps: int = key(_COUNT, 0, help="of those at its end")


@attrs.frozen
class Output:
    """Where results go."""

    folder: str | None = key(Optional(_PLACE), None, help="where the result directory is made; none: here")
    log_file: str = key(_NAME, "dlio.log", help="name of the file, among the results, with what was said")
    metric: OutputMetric = key(Record(OutputMetric), OutputMetric(), help="which steps count")


@attrs.frozen
class Profiling:
    """Must be off."""

    profiler: str = key(
        Choice(("none",), {"iostat": _NO_TRACE, "darshan": _NO_TRACE, "tensorboard": _NO_TRACE}), "none", help="none"
    )


@attrs.frozen
class Metric:
    """The goal."""

    au: float = key(_SHARE, 0.9, help="accelerator utilization that is expected, 0.9 or 90")


@attrs.frozen
class Own:
    """What DLIO knows nothing of: keys with the meaning that they have in a workload of ``penstock run``."""

    backend: Mapping[str, Mapping[str, str | None]] = key(
        Table(), attrs.Factory(dict), help="options of stores by scheme, as penstock plugins show lists them"
    )
    faults: Any = key(FAULTS, None, help="what goes wrong on purpose, and how slow the storage is made")


@attrs.frozen
class Workload:
    """A whole file."""

    model: Model = key(
        _ModelShape(Record(Model, {"ksm": "write it below checkpoint"})), Model(), help="what is trained"
    )
    framework: str = key(
        Choice(("tensorflow", "pytorch")), "pytorch", help="named in the results; no framework is used here"
    )
    workflow: Workflow = key(Record(Workflow), Workflow(), help="what is done")
    storage: Storage = key(Record(Storage), Storage(), help="where paths lie")
    dataset: Dataset = key(
        Record(
            Dataset,
            {
                "parquet": "refused: its columns have no form here; write format: tfrecord or npz",
                "num_dset_per_record": "refused: a sample is one dataset; leave it out",
                "chunk_dims": "refused: write chunk_size in bytes",
                "max_shape": "refused: files are written once; leave it out",
                "num_files_generated": "refused: write num_files_train",
            },
        ),
        Dataset(),
        help="the files of samples",
    )
    reader: Reading = key(
        Record(
            Reading,
            dict.fromkeys(
                ("data_loader_classname", "reader_classname", "checkpoint_mechanism_classname"),
                f"refused: {_NO_CLASS}",
            ),
        ),
        Reading(),
        help="how batches are read",
    )
    train: Train = key(Record(Train), Train(), help="the epochs")
    evaluation: Evaluation = key(Record(Evaluation), Evaluation(), help="what is done with the files of valid")
    checkpoint: Checkpoint = key(
        Record(
            Checkpoint,
            {
                "checkpoint_mechanism_classname": f"refused: {_NO_CLASS}",
                "recovery_after_steps": "refused: nothing is recovered while it trains; write num_checkpoints_read",
            },
        ),
        Checkpoint(),
        help="what is kept",
    )
    output: Output = key(Record(Output), Output(), help="where results go")
    profiling: Profiling = key(
        Record(Profiling, {"iostat_devices": f"refused: {_NO_TRACE}"}), Profiling(), help="must be off"
    )
    metric: Metric = key(Record(Metric), Metric(), help="the goal")
    penstock: Own = key(Record(Own), Own(), help="what DLIO knows nothing of")


#: How a workload stands in a file.
WORKLOAD = Record(
    Workload,
    {
        "data_loader": "refused: older than the files that are read here; write reader",
        "hydra": "refused: it is about where DLIO logs; leave it out, results go where --results says",
    },
)
