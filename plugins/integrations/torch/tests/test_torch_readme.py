"""The README's examples run as they stand, and its tables name every option."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from penstock_torch import StorageReader, StorageWriter

README = (Path(__file__).parents[1] / "README.md").read_text()

pytestmark = [
    # dcp says so whenever a program of one process saves or loads.
    pytest.mark.filterwarnings(
        "ignore:torch.distributed is disabled, unavailable or uninitialized, assuming the intent:UserWarning"
    ),
    # torchdata's own call of something that torch has deprecated.
    pytest.mark.filterwarnings("ignore:'set_vital' is deprecated, please do not call:UserWarning"),
]


def test_the_examples_run_one_after_the_other(tmp_path):
    blocks = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 3
    names = {"PLACE": f"file://{tmp_path}"}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), names)


@pytest.mark.parametrize("kind", [StorageWriter, StorageReader])
def test_the_tables_name_every_option_with_its_default(kind):
    (table,) = re.findall(rf"^\| `{kind.__name__}\(.*?\n\n", README, re.MULTILINE | re.DOTALL)
    rows = dict(re.findall(r"^\| `(\w+)` \| (.*?) \|", table, re.MULTILINE))
    options = dict(inspect.signature(kind).parameters)
    del options["checkpoint_id"]
    assert rows.keys() == options.keys()
    units = {"MiB": 1 << 20, "KiB": 1 << 10}
    for name, option in options.items():
        number, _, unit = rows[name].strip("`").partition(" ")
        if number.isdigit():
            assert int(number) * units.get(unit, 1) == option.default
        else:
            assert option.default in (None, False)
