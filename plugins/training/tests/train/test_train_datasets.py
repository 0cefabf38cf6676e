"""Generated datasets: the same for a seed, unique, readable by their formats, and the command that makes them."""

import hashlib
import itertools
import json

import numpy as np
import pytest
from click.testing import CliRunner

import penstock
from penstock.cli import main
from penstock.errors import StoreError
from penstock_training.datasets import SHAPES, Recipe, file_name, shape_of, write_dataset
from penstock_training.datasets.recipes import ENDINGS

SEVERAL = ("tfrecord", "hdf5")


def contents(uri):
    return {info.key.rpartition("/")[2]: bytes(penstock.get(info.key)) for info in penstock.list(uri)}


def run(*args):
    return CliRunner().invoke(main, ["generate", "dataset", *map(str, args)])


@pytest.mark.parametrize("form", ENDINGS)
def test_files_hold_the_samples_that_they_were_made_of(form):
    recipe = Recipe(format=form, record_bytes=5000, samples_per_file=3 if form in SEVERAL else 1, seed=5)
    written = write_dataset(f"mem://made-{form}/d", recipe, 4)
    assert (written.files, written.samples) == (4, 12 if form in SEVERAL else 4)
    seen = set()
    for number in range(4):
        uri = f"mem://made-{form}/d/{file_name(recipe, number, 4)}"
        samples = list(penstock.read_samples(uri, recipe.codec))
        for sample, made in zip(samples, recipe.samples(number), strict=True):
            assert sample.keys() == made.keys()
            for name, value in made.items():
                assert np.array_equal(np.asarray(sample[name]), np.asarray(value))
            seen.add(
                hashlib.sha256(max((bytes(value) for value in sample.values() if _holds(value)), key=len)).digest()
            )
    assert len(seen) == written.samples
    assert written.nbytes == sum(
        len(data) for name, data in contents(f"mem://made-{form}/d/").items() if "idx" not in name
    )


def _holds(value):
    return isinstance(value, bytes | memoryview | np.ndarray)


@pytest.mark.parametrize("form", ENDINGS)
def test_the_same_seed_gives_the_same_files_by_any_number_of_threads(form):
    recipe = shape_of("cosmoflow", format=form, samples=2 if form in SEVERAL else None, scale=0.002, seed=3)
    for place, threads in (("one", 1), ("many", 7)):
        write_dataset(f"mem://{place}-{form}/d", recipe, 9, threads=threads)
    assert contents(f"mem://one-{form}/d/") == contents(f"mem://many-{form}/d/")
    other = shape_of("cosmoflow", format=form, samples=2 if form in SEVERAL else None, scale=0.002, seed=4)
    write_dataset(f"mem://other-{form}/d", other, 9)
    one, two = contents(f"mem://one-{form}/d/"), contents(f"mem://other-{form}/d/")
    assert all(one[name] != two[name] for name in one if "idx" not in name)


def test_sizes_are_those_of_the_workload():
    sizes = [SHAPES["unet3d"].sample_bytes(number) for number in range(4000)]
    assert np.mean(sizes) == pytest.approx(146_600_628, rel=0.03)
    assert np.std(sizes) == pytest.approx(68_341_808, rel=0.07)
    assert min(sizes) > 0
    assert {SHAPES["resnet50"].sample_bytes(number) for number in range(9)} == {338**2}
    assert Recipe(format="npy", record_shape=(3, 5), dtype="float32").sample_bytes(0) == 60


def test_indexes_are_those_that_the_format_makes():
    recipe = Recipe(format="tfrecord", record_bytes=300, samples_per_file=20)
    write_dataset("mem://indexed/d", recipe, 1)
    uri = f"mem://indexed/d/{file_name(recipe, 0, 1)}"
    made = {key: data for key, data in contents("mem://indexed/d/").items() if key.endswith("idx")}
    penstock.delete_many(f"mem://indexed/d/{key}" for key in made)
    from penstock.samples import write_index

    write_index(uri, "tfrecord")
    assert made == {key: data for key, data in contents("mem://indexed/d/").items() if key.endswith("idx")} != {}


def test_arrays_have_their_samples_along_the_last_axis_as_dlios_readers_want_them():
    (sample,) = Recipe(format="npz", record_bytes=64).samples(0)
    assert sample["x"].shape == (8, 8, 1)
    assert sample["y"].shape == (1,)
    (sample,) = Recipe(format="npz", record_shape=(4, 2)).samples(0)
    assert sample["x"].shape == (4, 2)


def test_names_are_dlios():
    recipe = Recipe(format="npz")
    assert file_name(recipe, 7, 100) == "img_007_of_100.npz"
    assert file_name(recipe, 7, 100, subfolders=12) == "07/img_007_of_100.npz"


def test_a_failure_ends_it_and_is_raised(monkeypatch):
    from penstock_training.datasets import writing

    begun = itertools.count()

    def fail(uri, recipe, number, **_):
        next(begun)
        raise StoreError("no more", uri=uri)

    monkeypatch.setattr(writing, "write_file", fail)
    with pytest.raises(StoreError, match="no more"):
        write_dataset("mem://failing/d", Recipe(format="raw"), 1000, threads=2)
    assert next(begun) <= 4


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({"format": "npz", "samples_per_file": 2}, "a file of npz is one sample; choose tfrecord or hdf5"),
        ({"format": "npz", "dtype": "object"}, "object has no bytes of its own"),
        ({"format": "npz", "record_bytes": 10, "record_stdev": 20}, "the standard deviation"),
    ],
)
def test_recipes_that_cant_be_are_refused(given, text):
    with pytest.raises(ValueError, match=text):
        Recipe(**given)


def test_the_command_writes_a_dataset_and_says_how_to_get_it_again(tmp_path):
    options = ("--like", "unet3d", "--files", 3, "--scale", 0.0001, "--format", "npz", "-j", 2)
    done = run(tmp_path / "a", *options)
    assert done.exit_code == 0, done.output
    assert "3 samples in img_0_of_3.npz and so on; again with --seed " in done.stderr
    seed = done.stderr.rpartition(" ")[2].strip()
    again = run(tmp_path / "b", *options, "--seed", seed, "--json")
    facts = json.loads(again.stdout)
    assert facts["files"] == 3
    assert facts["seed"] == int(seed)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
        with np.load(path) as arrays:
            assert sorted(arrays) == ["x", "y"]


def test_the_command_makes_every_format_and_shape(tmp_path):
    for like in SHAPES:
        done = run(
            tmp_path / like, "--like", like, "--files", 2, "--samples", 2, "--format", "hdf5", "--record-size", "1KiB"
        )
        assert done.exit_code == 0, done.output
        assert len(list((tmp_path / like).iterdir())) == 2
    done = run(
        tmp_path / "sub", "--files", 4, "--format", "raw", "--record-size", 100, "--subfolders", 2, "--prefix", "a"
    )
    assert sorted(str(path.relative_to(tmp_path / "sub")) for path in (tmp_path / "sub").glob("*/*")) == [
        "0/a_0_of_4.raw",
        "0/a_2_of_4.raw",
        "1/a_1_of_4.raw",
        "1/a_3_of_4.raw",
    ]


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (("--like", "unet3d", "--samples", "2"), "a file of npz is one sample"),
        (("--scale", "0"), "a scale of 0"),
        (("--prefix", "a/b"), "with a prefix without /"),
        (("--like", "unet4d"), "unet4d"),
        (("-O", "fsnc=1"), "fsnc"),
    ],
)
def test_wrong_input_is_exit_code_2_and_writes_nothing(tmp_path, args, text):
    done = run(tmp_path / "x", *args)
    assert done.exit_code == 2
    assert text in done.stderr
    assert not (tmp_path / "x").exists()
