"""DLIO can't be installed beside everything else, so small classes with its interface stand in for it here."""

import sys
from pathlib import Path

import pytest

STANDINS = Path(__file__).parent / "standins"


@pytest.fixture
def dlio(monkeypatch, tmp_path):
    """DLIO's arguments, as its configuration leaves them, with the packages that stand in for DLIO importable."""
    monkeypatch.syspath_prepend(STANDINS)
    for name in [name for name in sys.modules if name.partition(".")[0] in ("dlio_benchmark", "penstock_dlio")]:
        monkeypatch.delitem(sys.modules, name)
    from dlio_benchmark.utils.config import ConfigArguments

    arguments = ConfigArguments.get_instance()
    arguments.__dict__.update(
        storage_type="local_fs",
        storage_root=str(tmp_path),
        storage_options={},
        my_rank=0,
        comm_size=1,
        batch_size=2,
        batch_size_eval=2,
        read_threads=2,
        prefetch_size=2,
        sample_shuffle="off",
        seed=7,
    )
    yield arguments
    for name in [name for name in sys.modules if name.partition(".")[0] in ("dlio_benchmark", "penstock_dlio")]:
        del sys.modules[name]


@pytest.fixture
def named():
    """The class of a dotted name, found as DLIO finds it: among the members of its module."""
    import importlib
    import inspect

    def find(name):
        module, _, cls = name.rpartition(".")
        members = dict(inspect.getmembers(importlib.import_module(module)))
        return members[cls]

    return find


@pytest.fixture
def made(dlio, tmp_path):
    """A maker of datasets that DLIO's arguments then tell of; gives the content of each sample."""
    from penstock_training.datasets import Recipe, file_name, write_dataset
    from penstock_training.train.content import content_of

    def make(form, *, files, each=1, base=None):
        recipe = Recipe(format=form, record_bytes=400, samples_per_file=each, seed=3)
        folder = f"{base or tmp_path.as_uri()}/data/train/"
        write_dataset(folder, recipe, files)
        names = [file_name(recipe, number, files) for number in range(files)]
        paths = [f"data/train/{name}" for name in names]
        dlio.file_list_train = paths
        dlio.num_samples_per_file = each
        dlio.total_samples_train = files * each
        dlio.global_index_map = {number: (paths[number // each], number % each) for number in range(files * each)}
        dlio.file_map = {0: [(number, *dlio.global_index_map[number]) for number in range(files * each)]}
        import numpy as np

        dlio.resized_image = np.zeros((400,), dtype=np.uint8)
        return [bytes(content_of(sample)) for number in range(files) for sample in recipe.samples(number)]

    return make
