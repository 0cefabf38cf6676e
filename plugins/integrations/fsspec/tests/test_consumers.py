"""The libraries that people read and write with."""

from __future__ import annotations

import io

import numpy as np
import pytest


@pytest.fixture
def frame():
    import pandas as pd

    generator = np.random.default_rng(7)
    return pd.DataFrame(
        {
            "number": np.arange(5000),
            "value": generator.normal(size=5000),
            "text": [f"row {n % 17}" for n in range(5000)],
        }
    )


@pytest.fixture
def storage(every_base):
    return every_base.options or None


class TestPandas:
    def test_parquet(self, every_base, storage, frame):
        import pandas as pd

        uri = f"{every_base.uri}/frame.parquet"
        frame.to_parquet(uri, storage_options=storage)
        assert every_base.fs.isfile(f"{every_base.path}/frame.parquet")
        pd.testing.assert_frame_equal(pd.read_parquet(uri, storage_options=storage), frame)
        some = pd.read_parquet(uri, columns=["value"], storage_options=storage)
        pd.testing.assert_frame_equal(some, frame[["value"]])

    @pytest.mark.parametrize("name", ["frame.csv", "frame.csv.gz"])
    def test_csv(self, every_base, storage, frame, name):
        import pandas as pd

        uri = f"{every_base.uri}/{name}"
        frame.to_csv(uri, index=False, storage_options=storage)
        assert every_base.fs.isfile(f"{every_base.path}/{name}")
        pd.testing.assert_frame_equal(pd.read_csv(uri, storage_options=storage), frame)

    def test_options_that_the_store_has_not_are_refused(self, files, frame):
        with pytest.raises(ValueError, match="unknown option regin"):
            frame.to_csv(f"{files.uri}/x.csv", storage_options={"regin": "x"})


class TestArrow:
    def test_a_dataset_of_partitions(self, every_base, frame):
        import pyarrow as pa
        import pyarrow.compute as pc
        import pyarrow.dataset as ds

        table = pa.Table.from_pandas(frame, preserve_index=False)
        path = f"{every_base.path}/table"
        ds.write_dataset(
            table,
            path,
            filesystem=every_base.fs,
            format="parquet",
            partitioning=ds.partitioning(pa.schema([("text", pa.string())]), flavor="hive"),
        )
        dataset = ds.dataset(path, filesystem=every_base.fs, partitioning="hive")
        assert len(dataset.files) == 17
        found = dataset.to_table().sort_by("number")
        assert (
            found.column("value").equals(table.column("value"))
            or found["value"].to_pylist() == table["value"].to_pylist()
        )
        few = dataset.to_table(filter=(pc.field("text") == "row 3") & (pc.field("number") < 100), columns=["number"])
        assert sorted(few["number"].to_pylist()) == [n for n in range(100) if n % 17 == 3]

    def test_one_column_of_a_wide_file_takes_a_part_of_its_bytes(self, mem, requests):
        import pyarrow as pa
        import pyarrow.parquet as pq

        generator = np.random.default_rng(1)
        table = pa.table({f"c{number}": generator.normal(size=20_000) for number in range(50)})
        with mem.fs.open(f"{mem.path}/wide.parquet", "wb") as file:
            pq.write_table(table, file, compression="none")
        del requests[:]
        with mem.fs.open(f"{mem.path}/wide.parquet", block_size=64 * 1024) as file:
            found = pq.read_table(file, columns=["c7"])
        assert found.equals(table.select(["c7"]))
        assert sum(length for _, _, length in requests) < mem.fs.info(f"{mem.path}/wide.parquet")["size"] / 8


class TestZarr:
    def test_arrays(self, every_base, storage):
        import zarr

        values = np.arange(600 * 500, dtype="f4").reshape(600, 500)
        uri = f"{every_base.uri}/array.zarr"
        written = zarr.create_array(uri, shape=values.shape, chunks=(100, 100), dtype="f4", storage_options=storage)
        written[:] = values
        assert every_base.fs.exists(f"{every_base.path}/array.zarr/zarr.json")
        found = zarr.open_array(uri, mode="r", storage_options=storage)
        assert np.array_equal(found[:], values)
        assert np.array_equal(found[150:160, 77:430], values[150:160, 77:430])

    def test_groups(self, every_base, storage):
        import zarr

        uri = f"{every_base.uri}/group.zarr"
        group = zarr.open_group(uri, mode="w", storage_options=storage)
        group.create_array("one", data=np.arange(10))
        group.attrs["name"] = "value"
        assert every_base.fs.exists(f"{every_base.path}/group.zarr/zarr.json")
        found = zarr.open_group(uri, mode="r", storage_options=storage)
        assert list(found.array_keys()) == ["one"]
        assert found.attrs["name"] == "value"
        assert found["one"][3] == 3


def test_xarray_over_zarr(base):
    # xarray takes a URL whose scheme has a plus for a local path, so it gets the store.
    import xarray as xr
    from zarr.storage import FsspecStore

    data = xr.Dataset({"t": (("x", "y"), np.arange(12.0).reshape(3, 4))}, coords={"x": [10, 20, 30]})
    data.to_zarr(FsspecStore.from_url(f"{base.uri}/data.zarr"), consolidated=False)
    assert base.fs.exists(f"{base.path}/data.zarr/zarr.json")
    store = FsspecStore.from_url(f"{base.uri}/data.zarr", read_only=True)
    with xr.open_zarr(store, consolidated=False) as found:
        xr.testing.assert_identical(found.load(), data)


def test_h5py(every_base):
    import h5py

    values = np.arange(400 * 1000, dtype="i4").reshape(400, 1000)
    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.create_dataset("values", data=values, chunks=(50, 1000))
    with every_base.fs.open(f"{every_base.path}/x.h5", "wb") as file:
        file.write(memory.getbuffer())
    with every_base.fs.open(f"{every_base.path}/x.h5", block_size=16 * 1024) as raw, h5py.File(raw) as file:
        assert np.array_equal(file["values"][123], values[123])
        assert np.array_equal(file["values"][:], values)


def test_h5py_reads_little_more_than_the_chunk_that_a_row_is_in(mem, requests):
    import h5py

    memory = io.BytesIO()
    with h5py.File(memory, "w") as file:
        file.create_dataset("values", data=np.zeros((1000, 1000), "f4"), chunks=(50, 1000))
    mem.fs.pipe_file(f"{mem.path}/x.h5", memory.getvalue())
    with mem.fs.open(f"{mem.path}/x.h5", block_size=8 * 1024, cache_type="blockcache") as raw, h5py.File(raw) as file:
        file["values"][500]
    assert sum(length for _, _, length in requests) < 50 * 1000 * 4 + 100_000


def test_numpy(every_base):
    fs, path = every_base.fs, every_base.path
    values = np.arange(1000.0).reshape(10, 100)
    with fs.open(f"{path}/x.npz", "wb") as file:
        np.savez_compressed(file, values=values, more=np.int8(3))
    with fs.open(f"{path}/x.npz") as file, np.load(file) as found:
        assert np.array_equal(found["values"], values)
        assert found["more"] == 3
    with fs.open(f"{path}/x.npy", "wb") as file:
        np.save(file, values)
    with fs.open(f"{path}/x.npy") as file:
        assert np.array_equal(np.load(file), values)


def test_duckdb(base, frame):
    import duckdb

    frame.to_parquet(f"{base.uri}/one.parquet")
    frame.to_parquet(f"{base.uri}/two.parquet")
    with duckdb.connect() as connection:
        connection.register_filesystem(base.fs)
        found = connection.sql(f"SELECT sum(number) FROM read_parquet('{base.uri}/*.parquet')").fetchall()
        assert found == [(2 * frame["number"].sum(),)]
        connection.sql(f"COPY (SELECT 42 AS answer) TO '{base.uri}/out.parquet' (FORMAT parquet)")
        connection.sql(f"COPY (SELECT 42 AS answer) TO '{base.uri}/out.csv'")
        assert connection.sql(f"SELECT answer FROM '{base.uri}/out.parquet'").fetchall() == [(42,)]
    assert base.fs.cat_file(f"{base.path}/out.csv").splitlines() == [b"answer", b"42"]


def test_universal_pathlib(every_base):
    import upath

    base = upath.UPath(every_base.uri, **every_base.options)
    assert type(base).__name__ == "PenstockPath"
    path = base / "sub" / "x.txt"
    path.write_text("text")
    assert path.read_text() == "text"
    assert (path.exists(), path.is_file(), path.parent.is_dir(), path.suffix) == (True, True, True, ".txt")
    assert path.stat().st_size == 4
    assert [str(found) for found in base.rglob("*.txt")] == [str(path)]
    assert [found.name for found in (base / "sub").iterdir()] == ["x.txt"]
    assert path.relative_to(base).parts == ("sub", "x.txt")
    with path.open("wb") as file:
        file.write(b"bytes")
    path.rename(base / "sub" / "y.txt")
    assert (base / "sub" / "y.txt").read_bytes() == b"bytes"
    (base / "sub" / "y.txt").unlink()
    assert not path.exists()
    assert str(base).startswith(every_base.uri)
    assert upath.UPath(path, "x") == path / "x"
    with pytest.raises(ValueError, match="incompatible"):
        path / upath.UPath("memory://x")
