"""Every key of DLIO's schema is honoured, told of in a note, or refused by name, with its place."""

import ast
from pathlib import Path

import attrs
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import penstock_training
from penstock.errors import ConfigError
from penstock.workload.fields import Record, fields_of
from penstock_training.datasets import Recipe
from penstock_training.train.plan import Checkpoints, Part, Plan, Reading, resolve
from penstock_training.train.reading import loads
from penstock_training.train.schema import REFUSED_FORMATS, WORKLOAD, Workload
from penstock_training.train.shapes import Amount, Choice, Whole

BASE = """
model: {name: base}
workflow: {generate_data: true, train: true, evaluation: true, checkpoint: true}
dataset: {data_folder: /data, format: npz, num_files_train: 1000, num_files_eval: 1000}
train: {computation_time: 0.5}
"""

#: Values other than the default that are not found from the shape, by path.
VALUES = {
    "model.name": "other",
    "model.type": "transformer",
    "model.optimization_groups": "[100, 200]",
    "model.layer_parameters": "[100, 200]",
    "framework": "tensorflow",
    "workflow.profiling": "true",
    "workflow.generate_data": "false",
    "workflow.train": "false",
    "storage.storage_type": "direct_fs",
    "storage.storage_root": "/mnt",
    "storage.storage_options": "{fsync: true}",
    "storage.storage_library": "s3dlio",
    "storage.uri_scheme": "s3+https",
    "dataset.record_dims": "[16, 16]",
    "dataset.record_length_bytes_stdev": "1000",
    "dataset.record_element_type": "float32",
    "dataset.format": "npy",
    "checkpoint.num_layers": "3",
    "checkpoint.model_datatype": "fp32",
    "checkpoint.optimizer_datatype": "fp16",
    "dataset.data_folder": "s3://bucket/data",
    "dataset.file_prefix": "scan",
    "dataset.compression": "zip",
    "dataset.compression_level": "9",
    "dataset.num_samples_per_file": "10",
    "dataset.num_subfolders_train": "4",
    "dataset.chunk_size": "1MiB",
    "reader.data_loader": "synthetic",
    "reader.preprocess_time_stdev": "0.1",
    "reader.transformed_record_dims": "[8, 8]",
    "train.computation_time_stdev": "0.1",
    "evaluation.eval_time_stdev": "0.1",
    "checkpoint.checkpoint_folder": "/saved",
    "checkpoint.optimization_groups": "[100]",
    "checkpoint.layer_parameters": "[100]",
    "checkpoint.ksm": "{high_ram_trigger: 30}",
    "output.folder": "/results",
    "output.log_file": "other.log",
    "model.parallelism.tensor": "2",
    "model.parallelism.pipeline": "2",
    "model.parallelism.data": "9",
    "workflow.evaluation": "false",
    "workflow.checkpoint": "false",
    "storage.prefetch_window": "50",
    "dataset.num_files_eval": "2000",
    "metric.au": "70",
    "penstock.backend": "{file: {fsync: true}}",
    "penstock.faults": "{rules: [{delay: {seconds: 1}}]}",
}
SHARED = ("model.type=transformer", "model.num_layers=4", "checkpoint.mode=subset")
LAYERS = ("model.num_layers=2", "model.layer_parameters=[100]")
#: What else has to be said for a key to mean anything.
CONTEXT = {
    "model.type": ("model.num_layers=4",),
    "model.model_datatype": SHARED,
    "model.optimizer_datatype": SHARED,
    "model.num_layers": ("model.layer_parameters=[100]",),
    "model.layer_parameters": ("model.num_layers=2",),
    "checkpoint.model_datatype": SHARED,
    "checkpoint.optimizer_datatype": SHARED,
    "checkpoint.num_layers": ("model.layer_parameters=[100]",),
    "checkpoint.layer_parameters": ("model.num_layers=2",),
    "model.parallelism": SHARED,
    "model.parallelism.data": (*SHARED, "model.parallelism.zero_stage=3"),
    "model.transformer": SHARED,
    "checkpoint.mode": ("model.type=transformer", "model.num_layers=4", "model.parallelism.tensor=16"),
    "storage.uri_scheme": ("storage.storage_type=s3", "storage.storage_root=bucket", "dataset.data_folder=data"),
    "storage.storage_root": ("dataset.data_folder=data",),
    "dataset.compression_level": ("dataset.format=hdf5", "dataset.compression=gzip"),
    "dataset.num_samples_per_file": ("dataset.format=tfrecord",),
    "dataset.enable_chunking": ("dataset.format=hdf5",),
    "dataset.chunk_size": ("dataset.format=hdf5", "dataset.enable_chunking=true"),
    "dataset.listing_validation_interval": ("dataset.skip_listing=true",),
    "reader.data_loader": ("workflow.generate_data=false",),
    "checkpoint.type": (),
}
RANKS = 8


def keys(cls=Workload, prefix=""):
    """Every path of the schema with its shape and default."""
    for name, (entry, default) in fields_of(cls).items():
        path = f"{prefix}{name}"
        shape = getattr(entry.shape, "record", entry.shape)
        if isinstance(shape, Record) and shape.cls.__module__.startswith("penstock_training"):
            yield from keys(shape.cls, f"{path}.")
        else:
            yield path, shape, default


def another(path, shape, default):
    """A legal value that is not the default."""
    if path in VALUES:
        return VALUES[path]
    if isinstance(shape, Choice):
        return next(word for word in (*shape.words, *shape.refused) if word != default)
    if isinstance(default, bool):
        return str(not default).lower()
    if isinstance(shape, Whole):
        return str(max(default, 0) + 2)
    if isinstance(shape, Amount) or isinstance(getattr(shape, "shape", None), Amount):
        return str((default or 0) + 3)
    return "1.5"


def planned(*overrides):
    plan = resolve(loads(BASE, label="w.yaml", overrides=overrides, environ={}), ranks=RANKS)
    return attrs.asdict(attrs.evolve(plan, notes=()), recurse=False), plan.notes


ALL = list(keys())


@pytest.mark.parametrize(("path", "shape", "default"), ALL, ids=[path for path, *_ in ALL])
def test_a_key_changes_the_plan_or_a_note_names_it_or_it_is_refused_by_name(path, shape, default):
    context = next((CONTEXT[around] for around in (path, path.rpartition(".")[0]) if around in CONTEXT), ())
    before, after = outcome(*context), outcome(*context, f"{path}={another(path, shape, default)}")
    if isinstance(after, ConfigError):
        assert all(path in problem for problem in after.problems)
        assert any("refused" in problem for problem in after.problems)
    elif not isinstance(before, ConfigError):
        named = [note for note in after[1] if f": {path}: " in note]
        assert before[0] != after[0] or named, "it is accepted and does nothing"


def outcome(*overrides):
    try:
        return planned(*overrides)
    except ConfigError as error:
        return error


def test_the_schema_was_walked():
    assert len(ALL) > 100
    assert {"reader.batch_size", "model.transformer.hidden_size", "output.metric.exclude_end_steps"} <= {
        path for path, *_ in ALL
    }


@pytest.mark.parametrize("cls", [Plan, Part, Reading, Checkpoints, Recipe])
def test_everything_in_a_plan_is_used_where_it_is_carried_out(cls):
    folder = Path(penstock_training.__file__).parent
    used = {
        node.attr
        for name in ("train", "datasets")
        for path in (folder / name).glob("*.py")
        if path.name not in ("plan.py", "schema.py", "view.py", "command.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute)
    }
    # The command makes the result directory itself.
    assert {field.name for field in attrs.fields(cls)} - used <= {"results", "log_file"}


REFUSED = [
    (path, word, why) for path, shape, _ in ALL if isinstance(shape, Choice) for word, why in shape.refused.items()
]


@pytest.mark.parametrize(("path", "word", "why"), REFUSED, ids=[f"{path}={word}" for path, word, _ in REFUSED])
def test_a_word_that_cant_be_honoured_is_refused_with_its_place_and_a_remedy(path, word, why):
    section, _, name = path.partition(".")
    text = f"model: base\n{section}:\n  {name}: {word}\n"
    with pytest.raises(ConfigError) as caught:
        loads(text, label="w.yaml", environ={})
    assert caught.value.problems == (f"w.yaml:3:{len(name) + 5}: {path}: {word} is refused: {why}",)


@pytest.mark.parametrize("word", REFUSED_FORMATS)
def test_a_format_that_cant_be_had_is_refused_where_files_are_used_and_nowhere_else(word):
    text = f"dataset: {{format: {word}, num_files_train: 8}}\nworkflow: {{checkpoint: true, train: %s}}\n"
    with pytest.raises(ConfigError) as caught:
        resolve(loads(text % "true", label="w.yaml", environ={}), ranks=1)
    assert caught.value.problems == (f"w.yaml:1:19: dataset.format: {word} is refused: {REFUSED_FORMATS[word]}",)
    assert resolve(loads(text % "false", label="w.yaml", environ={}), ranks=1).checkpoint


def records(record=WORKLOAD, prefix=""):
    for name in record.hints:
        yield f"{prefix}{name}", record.hints[name]
    for name, (entry, _) in fields_of(record.cls).items():
        shape = getattr(entry.shape, "record", entry.shape)
        if isinstance(shape, Record) and shape.cls.__module__.startswith("penstock_training"):
            yield from records(shape, f"{prefix}{name}.")


HINTS = [(path, why) for path, why in records() if path != "hydra"]


@pytest.mark.parametrize(("path", "why"), HINTS, ids=[path for path, _ in HINTS])
def test_a_key_that_cant_be_honoured_is_refused_with_its_place_and_a_remedy(path, why):
    *sections, name = path.split(".")
    text = "".join(f"{'  ' * depth}{section}:\n" for depth, section in enumerate(sections))
    text += f"{'  ' * len(sections)}{name}: x\n"
    with pytest.raises(ConfigError) as caught:
        loads(text, label="w.yaml", environ={})
    line, column = len(sections) + 1, 2 * len(sections) + 1
    assert caught.value.problems == (f"w.yaml:{line}:{column}: {path}: {why}",)


SECTIONS = [name for name, (entry, _) in fields_of(Workload).items() if isinstance(entry.shape, Record)]


@settings(max_examples=30, deadline=None)
@given(st.sampled_from(SECTIONS), st.from_regex(r"[a-z][a-z_]{2,12}", fullmatch=True))
def test_an_unknown_key_is_refused_with_its_place(section, name):
    known = {path for path, *_ in ALL} | {path for path, _ in HINTS}
    shape = fields_of(Workload)[section][0].shape
    aliases = {alias for entry, _ in fields_of(shape.cls).values() for alias in entry.aliases}
    if any(path == f"{section}.{name}" or path.startswith(f"{section}.{name}.") for path in known) or name in aliases:
        return
    with pytest.raises(ConfigError) as caught:
        loads(f"model: base\n{section}:\n  {name}: 1\n", label="w.yaml", environ={})
    (problem,) = caught.value.problems
    assert problem.startswith(f"w.yaml:3:3: {section}.{name}: unknown key, ")


def test_a_word_of_the_schema_is_suggested_for_one_that_is_nearly_it():
    with pytest.raises(ConfigError, match=r"w.yaml:2:3: reader.batchsize: unknown key, did you mean batch_size"):
        loads("reader:\n  batchsize: 4\n", label="w.yaml", environ={})


def test_older_names_and_places_of_keys_mean_the_same():
    new, _ = planned("model.model_size_bytes=5000", "dataset.record_length_bytes=100")
    for older in ("model.model_size=5000", "checkpoint.model_size=5000"):
        assert planned(older, "dataset.record_length=100")[0] == new
    text = BASE.replace("{name: base}", "base")
    plan = resolve(loads(text, label="w.yaml", environ={}), ranks=RANKS)
    assert plan.name == "base"
