"""What the README says."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from penstock_mpi.plugin import MpiOptions

from penstock.options import describe

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_its_scripts_are_shell():
    scripts = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    assert len(scripts) >= 4
    for script in scripts:
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


def test_it_tells_of_every_option():
    told = re.findall(r"^\| `(\w+)` \|", README, re.MULTILINE)
    assert told == [option.name for option in describe(MpiOptions)]
    variables = {name for option in describe(MpiOptions) for name in option.env}
    assert variables == set(re.findall(r"PENSTOCK_MPI_[A-Z]+", README))
