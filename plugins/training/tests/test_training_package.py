"""The package as a whole: what importing it costs, and the commands that it adds."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from penstock.cli import main
from penstock.plugins import PluginHost

COMMANDS = {
    "checkpoint": "penstock checkpoint",
    "train": "penstock train",
    "generate.dataset": "penstock generate dataset",
}


@pytest.mark.parametrize("name", COMMANDS)
def test_its_commands_are_found_with_a_summary_and_help(name):
    command = PluginHost(disabled=()).command(name)
    assert command.name == name
    done = CliRunner().invoke(main, [*COMMANDS[name].split()[1:], "--help"])
    assert done.exit_code == 0
    assert f"Usage: {COMMANDS[name]}" in done.stdout


def test_knowing_its_commands_imports_no_numpy():
    code = (
        "import sys; from penstock.plugins import PluginHost; host = PluginHost(disabled=())\n"
        f"for name in {list(COMMANDS)}: host.command(name)\n"
        "assert not {'numpy', 'yaml', 'torch', 'penstock_training.loading'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
