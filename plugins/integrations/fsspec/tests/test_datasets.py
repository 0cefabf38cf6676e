"""Hugging Face datasets, read whole, streamed, and written."""

from __future__ import annotations

import subprocess
import sys

import pytest

#: In a process of its own: the library reads its settings, and makes its directories, when it is imported.
SCRIPT = """
import sys
import datasets
import fsspec
import pandas as pd

uri, options = sys.argv[1], dict(part.split("=", 1) for part in sys.argv[2:])
fs, path = fsspec.core.url_to_fs(uri, **options)
frame = pd.DataFrame({"number": range(100), "text": [f"row {n}" for n in range(100)]})
frame.to_parquet(f"{uri}/train.parquet", storage_options=options)
frame.to_csv(f"{uri}/train.csv", index=False, storage_options=options)

whole = datasets.load_dataset("parquet", data_files=f"{uri}/train.parquet", split="train", storage_options=options)
assert whole["text"][7] == "row 7" and len(whole) == 100
table = datasets.load_dataset("csv", data_files=f"{uri}/*.csv", split="train", storage_options=options)
assert table[99]["number"] == 99
stream = datasets.load_dataset(
    "parquet", data_files=f"{uri}/train.parquet", split="train", streaming=True, storage_options=options
)
assert [row["number"] for row in stream.take(5)] == [0, 1, 2, 3, 4]
whole.save_to_disk(f"{uri}/saved", storage_options=options)
again = datasets.load_from_disk(f"{uri}/saved", storage_options=options)
assert again["number"][:] == list(range(100))
whole.to_parquet(f"{uri}/again.parquet", storage_options=options)
assert len(pd.read_parquet(f"{uri}/again.parquet", storage_options=options)) == 100
assert fs.exists(f"{path}/saved/dataset_info.json") and fs.exists(f"{path}/again.parquet")
print("all right")
"""


@pytest.mark.parametrize(
    "where", ["files", pytest.param("mem", marks=pytest.mark.slow), pytest.param("s3", marks=pytest.mark.slow)]
)
def test_hugging_face_datasets(where, request, tmp_path):
    every_base = request.getfixturevalue(where)
    options = [f"{name}={value}" for name, value in every_base.options.items()]
    environment = {"HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_TELEMETRY": "1", "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-c", SCRIPT, every_base.uri, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert (done.stdout.strip().splitlines()[-1:], done.returncode) == (["all right"], 0), done.stderr
