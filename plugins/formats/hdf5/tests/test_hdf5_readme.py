"""What the README shows runs, and its table of options is the code's."""

from __future__ import annotations

import re
from pathlib import Path

from penstock.options import describe
from penstock.samples import choose_format

README = (Path(__file__).parents[1] / "README.md").read_text()


def test_every_example_runs(capsys):
    examples = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    assert examples
    for example in examples:
        exec(compile(example, "README.md", "exec"), {})
    assert capsys.readouterr().out


def test_every_option_stands_in_the_table():
    rows = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`)? ?\|", README, re.MULTILINE)
    options = describe(choose_format("", "hdf5").kind.options)
    assert [name for name, _ in rows] == [option.name for option in options]
    for (_, shown), option in zip(rows, options, strict=True):
        number, _, unit = shown.partition(" ")
        told = str(int(number) * {"KiB": 1024, "MiB": 1024**2}[unit]) if unit else shown
        assert told == option.default
