"""The classes that DLIO's YAML names, driven as DLIO drives them."""

import gc
import os
import sys

import numpy as np
import pytest

from penstock.errors import FormatError, LengthMismatchError, ObjectNotFoundError, UsageError
from penstock.oplog import OpLog, read

READER = "penstock_dlio.reader.PenstockReader"
LOADER = "penstock_dlio.loader.PenstockDataLoader"
CHECKPOINTS = "penstock_dlio.checkpointing.PenstockCheckpointing"


def train():
    from dlio_benchmark.common.enumerations import DatasetType

    return DatasetType.TRAIN


def test_the_package_needs_no_dlio_to_be_imported(monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] in ("dlio_benchmark", "penstock_dlio")]:
        monkeypatch.delitem(sys.modules, name)
    import penstock_dlio
    import penstock_dlio.library

    assert penstock_dlio.install
    with pytest.raises(ImportError, match="dlio_benchmark"):
        penstock_dlio.install()


@pytest.mark.parametrize(("form", "each"), [("npz", 1), ("tfrecord", 3), ("jpeg", 1), ("npy", 1)])
def test_the_reader_reads_what_dlio_asks_for(dlio, named, made, form, each):
    contents = made(form, files=4, each=each)
    reader = named(READER)(train(), 0, 1)
    for number, content in enumerate(contents):
        before = reader.nbytes
        assert reader.read_index(number, 1) is dlio.resized_image
        assert reader.nbytes - before == len(content)
    batches = list(reader.next())
    assert len(batches) == len(contents) // 2
    assert reader.nbytes == 2 * sum(map(len, contents))
    assert reader.is_index_based()
    assert reader.is_iterator_based()
    reader.finalize()
    assert not any(reader.open_file_map.values())


def test_the_reader_reads_uris_that_dlio_made_absolute_paths_of(dlio, named, made, monkeypatch, tmp_path):
    made("npz", files=2, base="mem://absolute/root")
    dlio.storage_root = "mem://absolute/root"
    monkeypatch.chdir(tmp_path)
    uri = "mem://absolute/root/data/train/img_1_of_2.npz"
    dlio.global_index_map = {0: (os.path.abspath(uri), 0)}
    reader = named(READER)(train(), 0)
    reader.read_index(0, 1)
    assert reader.nbytes == 400


def test_the_reader_reads_files_of_dlio_with_samples_along_the_last_axis(dlio, named, made, tmp_path):
    made("npz", files=1)
    np.savez(tmp_path / "data/train/many.npz", x=np.arange(60, dtype=np.uint8).reshape(4, 5, 3), y=np.zeros(3))
    dlio.global_index_map = {number: ("data/train/many.npz", number) for number in range(4)}
    reader = named(READER)(train(), 0)
    for number in range(1, 3):
        reader.read_index(number, 1)
    assert reader.nbytes == 40
    with pytest.raises(FormatError, match="no sample number 3"):
        reader.read_index(3, 1)


@pytest.mark.parametrize(("form", "each"), [("npz", 1), ("tfrecord", 3), ("png", 1)])
@pytest.mark.parametrize("ranks", [1, 2])
def test_the_loader_gives_ranks_disjoint_samples_that_cover_the_set(dlio, named, made, form, each, ranks):
    contents = made(form, files=4, each=each)
    dlio.comm_size, dlio.sample_shuffle = ranks, "seed"
    orders = []
    for epoch in (1, 1, 2):
        rows = []
        for rank in range(ranks):
            dlio.my_rank = rank
            loader = named(LOADER)(form, train(), epoch)
            loader.read()
            batches = list(loader.next())
            loader.finalize()
            assert [batch.shape for batch in batches] == [(2, 400)] * (len(contents) // 2 // ranks)
            rows += [bytes(row) for batch in batches for row in batch]
        assert sorted(rows) == sorted(content[:400].ljust(400, b"\0") for content in contents)
        orders.append(rows)
    assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("changing", [True, False])
def test_a_loader_that_is_made_once_gives_each_epoch_its_order(dlio, named, made, changing):
    contents = made("npz", files=8)
    dlio.file_shuffle, dlio.sample_shuffle, dlio.seed_change_epoch = "seed", "off", changing
    loader = named(LOADER)("npz", train(), 1)
    loader.read()
    epochs = []
    for _ in range(3):
        # DLIO counts the steps, and asks for no batch after the last of them.
        batches = loader.next()
        epochs.append([bytes(row) for _, batch in zip(range(4), batches, strict=False) for row in batch])
        loader.finalize()
    assert all(sorted(epoch) == sorted(content[:400].ljust(400, b"\0") for content in contents) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == (3 if changing else 1)


def test_the_loader_needs_all_files(dlio, named, made):
    made("npz", files=4)
    dlio.total_samples_train = 5
    with pytest.raises(UsageError, match="4 samples were found, and DLIO counts 5"):
        named(LOADER)("npz", train(), 1).read()
    dlio.total_samples_train, dlio.file_list_train = 4, [*dlio.file_list_train[:3], "data/train/gone.npz"]
    # As many are there, under other names: what is read is what lies there.
    dlio.file_list_train = ["data/train/gone.npz"] * 5
    with pytest.raises(ObjectNotFoundError):
        named(LOADER)("npz", train(), 1).read()
    with pytest.raises(UsageError, match="DLIO calls it before"):
        next(named(LOADER)("npz", train(), 1).next())


def test_checkpoints_have_the_size_of_the_states_and_hold_unique_bytes(dlio, named, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    dlio.storage_root = str(tmp_path / "elsewhere")
    dlio.__dict__.update(
        model_size=1000, optimization_groups=[100, 50], checkpoint_folder="saved", checkpoint_fsync=True
    )
    mechanism = named(CHECKPOINTS).get_instance()
    assert named(CHECKPOINTS).get_instance() is mechanism
    for step in (1, 2):
        mechanism.save_checkpoint(1, step)
        mechanism.load_checkpoint(1, step)
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "saved/global_epoch1_step2").iterdir()}
    assert sizes == {"model_states-0.pt": 2000, "optimizer_states-0.pt": 2 * 4 * 150}
    contents = [path.read_bytes() for path in sorted((tmp_path / "saved").glob("*/*"))]
    assert len({content[:64] for content in contents}) == 4
    (tmp_path / "saved/global_epoch1_step2/model_states-0.pt").write_bytes(b"short")
    with pytest.raises(LengthMismatchError, match="holds 5 bytes, not 2000"):
        mechanism.load_checkpoint(1, 2)
    assert mechanism.set_madvise_mergeable(mechanism.model_state["a"]) is False
    mechanism.finalize()


def test_states_are_not_held_in_memory(dlio, named):
    dlio.__dict__.update(
        model_size=10**15, optimization_groups=[], checkpoint_folder="mem://large/saved", checkpoint_fsync=False
    )
    mechanism = named(CHECKPOINTS)()
    assert mechanism.model_state["a"].nbytes == 2 * 10**15
    assert len(mechanism.model_state["a"]) == 10**15
    gc.collect()


def test_one_request_for_each_sample_is_in_the_log(dlio, named, made, tmp_path):
    made("npz", files=4, base="mem://logged")
    dlio.storage_root = "mem://logged"
    loader = named(LOADER)("npz", train(), 1)
    loader.read()
    import penstock.oplog

    with penstock.oplog.start(tmp_path / "log.tsv") as log:
        assert isinstance(log, OpLog)
        assert len(list(loader.next())) == 2
    assert [row.op for row in read(tmp_path / "log.tsv")] == ["GET"] * 4
