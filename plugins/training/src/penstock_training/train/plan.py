"""What a workload comes to: every number and place that the ranks need, checked; values that pickle.

Where a key of DLIO's takes another form here, a note says so by its name.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from typing import Any

import attrs

from penstock.errors import ConfigError, redact
from penstock.quantities import format_bytes
from penstock.urls import join
from penstock.workload.documents import Problems
from penstock_training.datasets.recipes import Recipe
from penstock_training.train.models import CheckpointShape, checkpoint_shape
from penstock_training.train.reading import Loaded
from penstock_training.train.schema import REFUSED_FORMATS, Workload
from penstock_training.train.shapes import Span

__all__ = ["Checkpoints", "Part", "Plan", "Reading", "resolve"]

#: DLIO's names of what a store is told, and penstock's.
_OPTIONS = {"endpoint_url": "endpoint", "s3_force_path_style": "addressing"}


@attrs.frozen(kw_only=True)
class Part:
    """Files that are read in epochs: those to train on, or to evaluate on. ``compute`` is drawn for each batch."""

    kind: str
    uri: str
    files: int
    subfolders: int
    samples_per_file: int
    batch_size: int
    compute: Span
    shuffle: bool
    seed: int
    seed_change_epoch: bool = True

    @property
    def samples(self) -> int:
        """How many there are."""
        return self.files * self.samples_per_file

    def steps(self, ranks: int) -> int:
        """Whole batches that each rank reads in an epoch."""
        return self.samples // (self.batch_size * ranks)


@attrs.frozen(kw_only=True)
class Reading:
    """How files are read; what :class:`penstock_training.loading.Loader` is told."""

    threads: int
    prefetch: int
    request_bytes: int
    resize_bytes: int
    resize_shape: tuple[int, ...]
    preprocess: Span
    synthetic: bool


@attrs.frozen(kw_only=True)
class Checkpoints:
    """Where checkpoints go, what each rank writes, and when; -1 for never, or for none."""

    uri: str
    options: Mapping[str, str | None]
    shape: CheckpointShape
    after_epoch: int
    every_epochs: int
    every_steps: int
    pause: Span
    writes: int
    reads: int
    shift: bool
    rank_sync: bool
    random: bool


@attrs.frozen(kw_only=True)
class Plan:
    """A whole job. ``options`` are those of the dataset's store; ``faults`` what goes wrong on purpose."""

    name: str
    framework: str
    ranks: int
    generate: bool
    train: bool
    evaluate: bool
    checkpoint: bool
    keep_files: bool
    recipe: Recipe
    training: Part
    evaluation: Part
    eval_after_epoch: int
    epochs_between_evals: int
    reading: Reading
    checkpoints: Checkpoints
    options: Mapping[str, str | None]
    faults: Any
    epochs: int
    total_steps: int
    seed: int
    exclude_start: int
    exclude_end: int
    au_goal: float
    results: str
    log_file: str
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For people and programs, as JSON holds it; options of stores are left out, for some are secret."""
        plain = attrs.asdict(self, filter=lambda field, _: field.name not in ("options", "faults", "notes"))
        return plain | {"faults": self.faults is not None}


def resolve(loaded: Loaded, *, ranks: int) -> Plan:
    """The plan of a workload for so many ranks. Raises ConfigError with every problem, each with its place."""
    return _Resolver(loaded, ranks).plan()


class _Resolver:
    def __init__(self, loaded: Loaded, ranks: int) -> None:
        self._loaded = loaded
        self._work: Workload = loaded.workload
        self._ranks = ranks
        self._problems = Problems()
        self._notes: list[str] = []

    def plan(self) -> Plan:
        work = self._work
        self._check()
        self._note_all()
        data = self._uri(work.dataset.data_folder)
        training, evaluation = self._part("train", data), self._part("valid", data)
        self._check_steps(training, evaluation)
        self._raise_any()
        reading, checkpoints, recipe = self._reading(), self._checkpoints(), self._recipe()
        self._raise_any()
        au = work.metric.au
        return Plan(
            name=work.model.name if work.model.name != "default" else self._loaded.name,
            framework=work.framework,
            ranks=self._ranks,
            generate=work.workflow.generate_data,
            train=work.workflow.train,
            evaluate=work.workflow.evaluation,
            checkpoint=work.workflow.checkpoint,
            keep_files=work.dataset.keep_files,
            recipe=recipe,
            training=training,
            evaluation=evaluation,
            eval_after_epoch=work.evaluation.eval_after_epoch,
            epochs_between_evals=work.evaluation.epochs_between_evals,
            reading=reading,
            checkpoints=checkpoints,
            options=self._options(data),
            faults=None if work.penstock.faults is None else work.penstock.faults.layer(),
            epochs=work.train.epochs,
            total_steps=work.train.total_training_steps,
            seed=work.train.seed,
            exclude_start=work.output.metric.exclude_start_steps,
            exclude_end=work.output.metric.exclude_end_steps,
            au_goal=au / 100 if au > 1 else au,
            results=work.output.folder or ".",
            log_file=work.output.log_file,
            notes=tuple(self._notes),
        )

    # What can't be.

    def _bad(self, path: str, what: str) -> None:
        marks, around = self._loaded.marks, path
        while around and around not in marks:
            around = around.rpartition(".")[0]
        self._problems.add(marks[around], path, what)

    def _raise_any(self) -> None:
        if self._problems:
            raise ConfigError([redact(text) for text in self._problems.texts()])

    def _check(self) -> None:
        work = self._work
        if work.workflow.profiling:
            self._bad("workflow.profiling", "refused: traces are the operation log's here; run with --op-log FILE")
        if work.reader.data_loader == "synthetic" or work.dataset.format == "synthetic":
            if work.workflow.generate_data:
                self._bad("workflow.generate_data", "refused: synthetic data has no files; write false")
        elif work.storage.storage_type == "s3" and "://" not in work.dataset.data_folder and not self._bucket():
            self._bad("storage.storage_root", "is missing: for s3 it is the bucket")
        if not work.dataset.keep_files and not work.workflow.generate_data:
            self._bad("dataset.keep_files", "refused: a run deletes only what it has made; write generate_data: true")
        if work.dataset.listing_validation_interval and not work.dataset.skip_listing:
            self._bad("dataset.listing_validation_interval", "refused: the listing is made; write skip_listing: true")
        self._check_format()
        if work.reader.odirect and not self._uri(work.dataset.data_folder).startswith("direct://"):
            self._bad("reader.odirect", "refused: only files have a page cache; write false")

    def _check_format(self) -> None:
        data, flow = self._work.dataset, self._work.workflow
        if data.format in REFUSED_FORMATS and (flow.generate_data or flow.train):
            self._bad("dataset.format", f"{data.format} is refused: {REFUSED_FORMATS[data.format]}")
        legal = {"none": None, "zip": ("npz",), "gzip": ("hdf5", "tfrecord"), "lzf": ("hdf5",)}[data.compression]
        if legal is not None and data.format not in legal:
            self._bad("dataset.compression", f"refused: {data.compression} is not for {data.format}; write none")
        if data.format != "hdf5":
            for name in ("enable_chunking", "chunk_size"):
                if getattr(data, name):
                    self._bad(f"dataset.{name}", f"refused: {data.format} has no chunks; leave it out")
        if data.compression != "gzip" and "dataset.compression_level" in self._loaded.marks:
            self._bad("dataset.compression_level", "refused: only gzip has a level; leave it out")
        used = flow.generate_data or flow.train
        if used and data.num_samples_per_file > 1 and data.format in ("npy", "npz", "raw", "jpeg", "png"):
            self._bad("dataset.num_samples_per_file", f"refused: a file of {data.format} is one sample; write 1")

    def _check_steps(self, training: Part, evaluation: Part) -> None:
        work = self._work
        for part, wanted, size in (
            (training, work.workflow.train, "reader.batch_size"),
            (evaluation, work.workflow.train and work.workflow.evaluation, "reader.batch_size_eval"),
        ):
            if wanted and not part.steps(self._ranks):
                whole = part.batch_size * self._ranks
                self._bad(
                    size,
                    f"{part.samples} samples make no batch of {part.batch_size} for each of {self._ranks} ranks; "
                    f"give {whole} samples or more, or fewer ranks",
                )
        if not (work.workflow.generate_data or work.workflow.train or work.workflow.checkpoint):
            self._bad("workflow", "nothing is to be done; write one of generate_data, train and checkpoint: true")

    # What takes another form.

    def _note(self, path: str, what: str) -> None:
        note = redact(f"{self._loaded.marks[path]}: {path}: {what}") if path in self._loaded.marks else ""
        if note and note not in self._notes:
            self._notes.append(note)

    def _note_all(self) -> None:
        work = self._work
        if work.framework and "framework" in self._loaded.marks:
            self._note("framework", f"{work.framework} is named in the results; none is used")
        if work.reader.data_loader != "synthetic":
            self._note("reader.data_loader", f"{work.reader.data_loader}'s place is taken by penstock's loader")
        for path, what in _OTHERWISE.items():
            section, _, name = path.partition(".")
            given = getattr(getattr(work, section), name)
            if given != attrs.fields_dict(type(getattr(work, section)))[name].default:
                self._note(path, what)
        if work.dataset.format in ("jpeg", "png"):
            self._note("dataset.format", f"files of {work.dataset.format} hold unique bytes, which nobody decodes")
        if {work.reader.file_shuffle, work.reader.sample_shuffle} == {"off", "seed"} and self._several():
            self._note("reader.file_shuffle", "samples are shuffled over the whole dataset, not files")

    def _several(self) -> bool:
        return self._work.dataset.num_samples_per_file > 1

    # Places.

    def _bucket(self) -> str:
        root = self._work.storage.storage_root.rpartition("://")[2]
        return root.removeprefix("./").strip("/")

    def _uri(self, path: str) -> str:
        """The URI of a path of the file."""
        storage = self._work.storage
        if "://" in path:
            uri = path
        elif storage.storage_type == "s3":
            uri = join(f"{storage.uri_scheme}://{self._bucket()}", path.removeprefix("./"))
        else:
            place = storage.storage_root if "://" in storage.storage_root else os.path.abspath(storage.storage_root)
            uri = join(place, path.removeprefix("./")) if "://" in place else os.path.join(place, path)
        if "://" not in uri:
            uri = f"file://{os.path.abspath(uri)}"
        if storage.storage_type == "direct_fs" or self._work.reader.odirect:
            uri = f"direct://{uri.removeprefix('file://')}" if uri.startswith("file://") else uri
        return uri.rstrip("/") + "/"

    def _options(self, uri: str) -> dict[str, str | None]:
        """What the store of a URI is told. DLIO's options are those of the dataset's kind of store."""
        scheme = uri.partition("://")[0]
        of_data = scheme == self._uri(self._work.dataset.data_folder).partition("://")[0]
        options: dict[str, str | None] = {}
        for name, value in self._work.storage.storage_options.items() if of_data else ():
            if name == "s3_force_path_style":
                value = "path" if str(value).lower() in ("true", "yes", "on", "1") else "auto"
            elif name == "s3_max_attempts":
                self._note(f"storage.storage_options.{name}", "penstock's own policy repeats calls")
                continue
            elif name == "endpoint_url" and "," in str(value):
                self._bad(f"storage.storage_options.{name}", "refused: all ranks have one endpoint; name one")
            options[_OPTIONS.get(name, name)] = value
        return options | dict(self._work.penstock.backend.get(scheme, {}))

    # Parts.

    def _part(self, kind: str, data: str) -> Part:
        work, train = self._work, kind == "train"
        shuffles = {work.reader.file_shuffle, work.reader.sample_shuffle}
        compute, stdev = (
            (work.train.computation_time, work.train.computation_time_stdev)
            if train
            else (work.evaluation.eval_time, work.evaluation.eval_time_stdev)
        )
        path = "train.computation_time" if train else "evaluation.eval_time"
        return Part(
            kind=kind,
            uri=f"{data}{kind}/",
            files=work.dataset.num_files_train if train else work.dataset.num_files_eval,
            subfolders=work.dataset.num_subfolders_train if train else work.dataset.num_subfolders_eval,
            samples_per_file=work.dataset.num_samples_per_file,
            batch_size=work.reader.batch_size if train else work.reader.batch_size_eval,
            compute=self._span(path, compute, stdev),
            shuffle=train and shuffles != {"off"},
            seed=secrets.randbits(31) if "random" in shuffles else work.train.seed,
            seed_change_epoch=work.train.seed_change_epoch,
        )

    def _span(self, path: str, span: Span, stdev: float) -> Span:
        """A time whose deviation stands in a key of its own, as in older files."""
        if not stdev:
            return span
        if span.kind != "fixed":
            self._bad(f"{path}_stdev", f"{path} is a distribution already; leave it out")
        return Span("normal", (span.values[0], stdev))

    def _reading(self) -> Reading:
        work = self._work
        window = work.storage.prefetch_window
        resize = int(work.dataset.record_length_bytes_resize)
        if resize and work.reader.transformed_record_dims:
            self._bad("reader.transformed_record_dims", "record_length_bytes_resize says it too; leave one of them out")
        return Reading(
            threads=work.reader.read_threads,
            prefetch=-(-window // work.reader.batch_size) if window else work.reader.prefetch_size or 2,
            request_bytes=int(work.reader.transfer_size),
            resize_bytes=resize,
            resize_shape=work.reader.transformed_record_dims,
            preprocess=self._span(
                "reader.preprocess_time", work.reader.preprocess_time, work.reader.preprocess_time_stdev
            ),
            synthetic="synthetic" in (work.reader.data_loader, work.dataset.format),
        )

    def _recipe(self) -> Recipe:
        data = self._work.dataset
        options: dict[str, Any] = {}
        if data.compression == "zip":
            options = {"compression": "deflate"}
        elif data.compression != "none":
            options = {"compression": data.compression}
            options |= {"level": data.compression_level} if data.compression == "gzip" else {}
        if data.enable_chunking:
            options["chunk_rows"] = max(1, int(data.chunk_size / max(1.0, data.record_length_bytes)))
        try:
            return Recipe(
                format=data.format,
                prefix=data.file_prefix,
                record_bytes=data.record_length_bytes,
                record_stdev=data.record_length_bytes_stdev,
                record_shape=data.record_dims,
                dtype=data.record_element_type,
                samples_per_file=data.num_samples_per_file,
                format_options=options,
                seed=self._work.train.seed,
            )
        except ValueError as error:
            self._bad("dataset", str(error))
            self._raise_any()
            raise

    def _checkpoints(self) -> Checkpoints:
        work, given = self._work, self._work.checkpoint
        model = work.model
        if given.model_size is not None:
            model = attrs.evolve(model, model_size_bytes=given.model_size)
        for name in ("model_datatype", "optimizer_datatype", "optimization_groups", "num_layers", "layer_parameters"):
            value = getattr(given, name)
            if value not in (None, (), -1):
                model = attrs.evolve(model, **{name: value})
        try:
            shape = checkpoint_shape(model, ranks=self._ranks, everyone=given.type == "all_ranks", subset=given.mode)
        except ValueError as error:
            self._bad("model", str(error))
            self._raise_any()
            raise
        reads = max(0, given.num_checkpoints_read)
        uri = self._uri(given.checkpoint_folder)
        options = self._options(uri)
        if given.fsync:
            if uri.startswith(("file://", "direct://")):
                options["fsync"] = "true"
            else:
                self._note("checkpoint.fsync", "an object is durable when its put has been answered")
        return Checkpoints(
            uri=uri,
            options=options,
            shape=shape,
            after_epoch=given.checkpoint_after_epoch,
            every_epochs=given.epochs_between_checkpoints,
            every_steps=given.steps_between_checkpoints,
            pause=given.time_between_checkpoints,
            writes=given.num_checkpoints_write if given.num_checkpoints_write >= 0 else max(1, reads),
            reads=reads,
            shift=given.recovery_rank_shift,
            rank_sync=given.rank_sync,
            random=given.randomize_tensor,
        )


_OTHERWISE = {
    "storage.storage_library": "penstock is the client",
    "storage.use_full_object_uri": "every key is a whole URI in any case",
    "dataset.generation_buffer_size": f"generation holds one sample for each thread, not {format_bytes(2 << 30)}",
    "dataset.skip_listing": "names are listed once, a thousand in a request, for all ranks",
    "dataset.listing_validation_interval": "the listing says what is there",
    "reader.computation_threads": "the threads that read preprocess too",
    "reader.shuffle_size": "the whole dataset is shuffled at once",
    "reader.dont_use_mmap": "nothing is mapped in any case",
    "reader.pin_memory": "there is no device to copy to",
    "reader.multiprocessing_context": "threads read, in ranks that are spawned",
    "reader.file_access": "samples are dealt to ranks by number",
    "reader.data_loader_sampler": "samples are dealt to ranks by number, none twice",
    "checkpoint.ksm": "no state is held in memory, so none is merged",
}
