"""Reading DLIO's files: the three workloads, overrides in both forms, and files that Hydra would compose."""

import pytest

from penstock.errors import ConfigError


def test_dlios_files_are_read_as_they_are(plan, workloads):
    unet3d = plan(workloads / "unet3d.yaml", ranks=2)
    assert unet3d.training.steps(2) == 12
    assert unet3d.training.uri == f"{workloads.as_uri()}/data/unet3d/train/"
    assert unet3d.checkpoints.shape.nbytes == 499153191
    resnet50 = plan(workloads / "resnet50.yaml", ranks=2)
    assert resnet50.training.steps(2) == 1024 * 1251 // 400 // 2
    assert resnet50.recipe.record_bytes == 114660.07
    cosmoflow = plan(workloads / "cosmoflow.yaml", ranks=4)
    assert cosmoflow.au_goal == 0.7
    assert str(cosmoflow.training.compute) == "0.0035 s"


@pytest.mark.parametrize(
    "override",
    ["reader.batch_size=3", "workload.reader.batch_size=3", "++workload.reader.batch_size=3", "+reader.batch_size=3"],
)
def test_overrides_may_be_written_as_hydra_has_them(plan, workloads, override):
    assert plan(workloads / "unet3d.yaml", override).training.batch_size == 3


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("++workload.reader.batch=3", "--set reader.batch=3: reader.batch: unknown key, did you mean batch_size"),
        ("++workload.raeder.batch_size=3", "--set ++workload.raeder.batch_size=3: raeder.batch_size: unknown key, did"),
        (
            "reader.batch_size=x",
            "--set reader.batch_size=x: reader.batch_size: write a whole number from 1 on, not 'x'",
        ),
        ("~workload.reader", "--set ~workload.reader: refused: a key can't be deleted here"),
        ("hydra.run.dir=/x", "refused: it says where DLIO logs; results go where --results says"),
        ("workload=resnet50", "refused: another workload is another file"),
        ("reader.batch_size", "write key=value"),
    ],
)
def test_overrides_that_cant_be_are_refused(read, workloads, override, problem):
    with pytest.raises(ConfigError) as caught:
        read(workloads / "unet3d.yaml", override)
    assert problem in str(caught.value)


def test_a_hydra_block_is_refused_with_its_place_before_its_interpolations_are(read):
    with pytest.raises(ConfigError) as caught:
        read("model: x\nhydra:\n  run:\n    dir: ${now:%Y}/${workload.model}\n")
    assert caught.value.problems == (
        "w.yaml:2:1: hydra: refused: it says where DLIO logs; leave it out, results go where --results says",
    )


def test_defaults_name_the_workload_that_lies_below(plan, workloads):
    (workloads / "workload").mkdir()
    (workloads / "unet3d.yaml").rename(workloads / "workload" / "unet3d.yaml")
    whole = workloads / "config.yaml"
    whole.write_text("defaults:\n  - _self_\n  - workload: unet3d\nworkload:\n  reader:\n    batch_size: 2\n")
    found = plan(whole, "++workload.train.epochs=1")
    assert (found.training.batch_size, found.epochs, found.recipe.format) == (2, 1, "npz")
    whole.write_text("defaults:\n  - workload: none\n  - override hydra/job_logging: disabled\n")
    with pytest.raises(ConfigError) as caught:
        plan(whole)
    first, second = caught.value.problems
    assert f"{whole}:2:15: defaults: {workloads}/workload/none.yaml: can't be read" in first
    assert f"{whole}:3:5: defaults: refused: override hydra/job_logging is no workload" in second


def test_keys_beside_the_section_are_refused(read):
    with pytest.raises(ConfigError, match=r"w\.yaml:3:1: model: stands beside workload"):
        read("workload:\n  reader: {batch_size: 2}\nmodel: x\n")


def test_variables_come_from_the_environment(plan):
    text = "dataset: {data_folder: '${DATA}', num_files_train: 4, format: npz}\nmodel: m\n"
    assert plan(text, environ={"DATA": "mem://x/y"}).training.uri == "mem://x/y/train/"
    with pytest.raises(ConfigError, match="the environment has no DATA"):
        plan(text)


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("dataset: {data_folder: s3://b/d, num_files_train: 4}", "s3://b/d/train/"),
        ("dataset: {data_folder: d}\nstorage: {storage_type: s3, storage_root: b}", "s3://b/d/train/"),
        ("dataset: {data_folder: ./d/}\nstorage: {storage_type: s3, storage_root: 's3://b'}", "s3://b/d/train/"),
        ("dataset: {data_folder: /d}\nreader: {odirect: true}", "direct:///d/train/"),
        ("dataset: {data_folder: d}\nstorage: {storage_type: direct_fs, storage_root: /r}", "direct:///r/d/train/"),
        ("dataset: {data_folder: d}\nstorage: {storage_type: parallel_fs, storage_root: /r}", "file:///r/d/train/"),
        ("dataset: {data_folder: d}\nstorage: {storage_root: 'az://a/c'}", "az://a/c/d/train/"),
    ],
)
def test_paths_lie_where_storage_says(plan, text, uri):
    assert plan(text).training.uri == uri


def test_options_of_the_store_have_dlios_names_or_penstocks(plan):
    found = plan(
        """
        dataset: {data_folder: s3://b/d}
        storage:
          storage_options: {endpoint_url: "http://h:1", s3_force_path_style: true, region: r, s3_max_attempts: 3}
        penstock: {backend: {s3: {connect_timeout: 3}}}
        """
    )
    assert found.options == {"endpoint": "http://h:1", "addressing": "path", "region": "r", "connect_timeout": "3"}
    assert "http" not in str(found.as_dict())
    (note,) = found.notes
    assert "s3_max_attempts: penstock's own policy repeats calls" in note


@pytest.mark.parametrize(
    ("text", "ranks", "problem"),
    [
        ("dataset: {num_files_train: 3}\nreader: {batch_size: 2}", 2, "reader.batch_size: 3 samples make no batch"),
        ("workflow: {train: false}", 1, "workflow: nothing is to be done"),
        ("dataset: {keep_files: false}", 1, "a run deletes only what it has made"),
        ("dataset: {data_folder: d}\nstorage: {storage_type: s3}", 1, "storage.storage_root: is missing: for s3 it is"),
        ("dataset: {record_element_type: floot}", 1, "'floot' is no type of NumPy's"),
        ("train: {computation_time: {type: normal, mean: 1}}", 1, "normal needs mean and stdev; stdev is missing"),
        ("train: {computation_time: {mean: 1, stdef: 1}}", 1, "train.computation_time.stdef: fixed has no such key"),
        ("train: {computation_time: -1}", 1, "out of range"),
        ("train: {computation_time: {mean: 1, stdev: 1}, computation_time_stdev: 2}", 1, "is a distribution already"),
        ("reader: {odirect: true}\ndataset: {data_folder: s3://b/d}", 1, "only files have a page cache"),
    ],
)
def test_what_cant_be_is_an_error_with_its_place(plan, text, ranks, problem):
    with pytest.raises(ConfigError) as caught:
        plan(text, ranks=ranks)
    assert problem in str(caught.value)
    assert str(caught.value).startswith("w.yaml:")
