"""A backend of somebody else, as its users get it: wheels of core and acme, alone in a fresh environment."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from penstock.cli.newplugin import write_plugin

ROOT = Path(__file__).parent.parent
ACME = ROOT / "tests" / "third_party" / "acme"
ENVIRONMENT = {
    name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PENSTOCK", "PYTEST"))
}
ENVIRONMENT |= {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

BROKEN = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"

[project]
name = "broken-storage"
version = "3.1.4"

[project.entry-points."penstock.stores"]
broken = "broken_storage"

[tool.hatch.build.targets.wheel]
packages = ["broken_storage"]
"""


def run(*command, cwd, code=0, **environment):
    """What a command prints, after the check of its exit code."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=ENVIRONMENT | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == code, f"{command} ended with {done.returncode}\n{done.stdout}"
    return done.stdout


def wheel_of(project, out):
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, project, cwd=out.parent)
    (wheel,) = out.glob("*.whl")
    return wheel


class Place:
    """A fresh environment with core's wheel and acme's, and directories to work in."""

    def __init__(self, folder):
        self.folder = folder
        self.bin = folder / "venv" / "bin"
        venv.create(folder / "venv", with_pip=True)
        core = wheel_of(ROOT / "core", folder / "core")
        self.pip(
            "-c", ROOT / "constraints.txt", f"penstock[testing] @ {core.as_uri()}", wheel_of(ACME, folder / "acme")
        )

    def pip(self, *arguments):
        run(self.bin / "python", "-I", "-m", "pip", "install", "-q", *arguments, cwd=self.folder)

    def beside(self, name, project):
        """A directory that holds another distribution, for PYTHONPATH."""
        target = self.folder / f"{name}-site"
        self.pip("--no-deps", "--target", target, wheel_of(project, self.folder / name))
        return str(target)

    def penstock(self, *arguments, code=0, **environment):
        return run(self.bin / "penstock", *arguments, cwd=self.folder, code=code, **environment)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    return Place(tmp_path_factory.mktemp("third-party"))


@pytest.fixture(scope="module")
def broken(place):
    project = place.folder / "broken-project"
    (project / "broken_storage").mkdir(parents=True)
    (project / "pyproject.toml").write_text(BROKEN)
    (project / "broken_storage" / "__init__.py").write_text("raise RuntimeError('libbroken.so is missing')\n")
    return place.beside("broken", project)


@pytest.fixture(scope="module")
def rival(place):
    project = place.folder / "rival-project"
    write_plugin("rival", project)
    plugin = project / "src" / "penstock_rival" / "plugin.py"
    plugin.write_text(plugin.read_text().replace('schemes=("rival",)', 'schemes=("acme",)'))
    settings = project / "pyproject.toml"
    settings.write_text(settings.read_text().replace("rival = ", "acme = ").replace("0.1.0", "2.0.0"))
    return place.beside("rival", project)


def suite(place, project, **environment):
    """Run a distribution's tests where its sources are not; what pytest says at last."""
    here = place.folder / f"{project.name}-suite"
    here.mkdir()
    shutil.copy(project / "pyproject.toml", here)
    shutil.copytree(project / "tests", here / "tests", ignore=shutil.ignore_patterns("__pycache__"))
    return run(
        place.bin / "python", "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=here, **environment
    ).splitlines()[-1]


def test_core_and_acme_come_from_their_wheels(place):
    program = "import penstock, penstock_acme; print(penstock.__file__, penstock_acme.__file__)"
    for path in run(place.bin / "python", "-c", program, cwd=place.folder).split():
        assert Path(path).is_relative_to(place.folder / "venv")


def test_its_ten_lines_run_the_whole_kit(place):
    lines = (ACME / "tests" / "test_contract.py").read_text().splitlines()
    code = [line for line in lines if line and not line.startswith(("import", "from", '"""'))]
    assert len(code) <= 10
    last = suite(place, ACME)
    passed = re.fullmatch(r"(\d+) passed in .*", last)
    assert passed, f"nothing may be skipped: {last}"
    assert int(passed[1]) > 200


def test_it_is_listed_and_described(place):
    records = json.loads(place.penstock("plugins", "--json"))
    (acme,) = [record for record in records if record["name"] == "acme"]
    assert (acme["distribution"], acme["version"]) == ("penstock-acme", "0.1.0")
    assert not acme.get("problem")
    shown = place.penstock("plugins", "show", "acme", ACME_FSYNC="yes")
    assert "fsync" in shown
    assert "$ACME_FSYNC" in shown


def test_every_command_takes_its_uris(place):
    base = f"acme://{place.folder}/objects"
    place.penstock("put", "-n", "3", "-s", "100KiB", "-t", "dir/made-{}", f"{base}/")
    place.penstock("cp", f"{base}/dir/made-2", f"{base}/two")
    made = place.folder / "objects"
    assert (made / "two").read_bytes() == (made / "dir" / "made-2").read_bytes()
    assert (made / "two").stat().st_size == 100 * 1024
    assert sorted(re.findall(r"two|made-\d", place.penstock("ls", "-r", f"{base}/"))) == [
        "made-0",
        "made-1",
        "made-2",
        "two",
    ]
    assert "acme:///absolute/path" in place.penstock("ls", "acme://host/path", code=2)


def test_a_run_measures_it_like_any_other(place):
    workload = place.folder / "workload.yaml"
    workload.write_text(
        f"""
target: acme://{place.folder}/run
total_operations: 300
concurrency: 4
cleanup: true
prepare: {{ensure_objects: [{{path: data/, count: 20, size: 4KiB}}]}}
workload: [{{op: get, path: "data/*", weight: 2}}, {{op: put, path: new/, size: 4KiB}}, {{op: stat, path: "data/*"}}]
"""
    )
    result = json.loads(place.penstock("run", workload, "--json"))
    assert result["status"] == "done"
    assert {name: row["errors"] for name, row in result["operations"].items()} == {"GET": 0, "PUT": 0, "STAT": 0}
    assert result["totals"]["ALL"]["count"] == 300
    assert not (place.folder / "run").exists()


def test_a_broken_plugin_is_named_and_harms_nobody(place, broken):
    listing = place.penstock("plugins", code=1, PYTHONPATH=broken)
    (line,) = [line for line in listing.splitlines() if line.startswith("broken ")]
    for part in ("broken-storage", "3.1.4", "RuntimeError: libbroken.so is missing"):
        assert part in line
    assert re.search(r"^acme .* penstock-acme", listing, re.MULTILINE)
    place.penstock("ls", f"acme://{place.folder}/", PYTHONPATH=broken)
    refused = place.penstock("ls", "broken://anything/", code=1, PYTHONPATH=broken)
    for part in ("broken-storage 3.1.4", "RuntimeError: libbroken.so is missing"):
        assert part in refused


def test_two_distributions_of_one_name_are_both_named(place, rival):
    refused = place.penstock("ls", f"acme://{place.folder}/", code=1, PYTHONPATH=rival)
    assert "penstock-acme 0.1.0" in refused
    assert "penstock-rival 2.0.0" in refused
    listing = place.penstock("plugins", code=1, PYTHONPATH=rival)
    assert len(re.findall(r"^acme ", listing, re.MULTILINE)) == 2
    place.penstock("ls", "mem://", PYTHONPATH=rival)


def test_a_disabled_plugin_is_as_good_as_absent(place, broken):
    refused = place.penstock("ls", f"acme://{place.folder}/", code=2, PENSTOCK_DISABLE_PLUGINS="acme")
    assert "acme is disabled by PENSTOCK_DISABLE_PLUGINS" in refused
    listing = place.penstock("plugins", code=1, PENSTOCK_DISABLE_PLUGINS="broken", PYTHONPATH=broken)
    assert "libbroken" not in listing


def test_a_new_plugin_passes_the_kit_at_once(place):
    said = place.penstock("new-plugin", "rocket")
    assert "penstock-rocket" in said
    project = place.folder / "penstock-rocket"
    site = place.beside("rocket", project)
    assert re.fullmatch(r"2\d\d passed in .*", suite(place, project, PYTHONPATH=site))
    (rocket,) = [
        record
        for record in json.loads(place.penstock("plugins", "--json", PYTHONPATH=site))
        if record["name"] == "rocket"
    ]
    assert rocket["distribution"] == "penstock-rocket"


def test_acme_is_what_new_plugin_writes(tmp_path):
    written = {path.relative_to(tmp_path): path.read_text() for path in write_plugin("acme", tmp_path)}
    kept = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "."],
        cwd=ACME,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    names = [Path(name) for name in kept] or [path.relative_to(ACME) for path in ACME.rglob("*") if path.is_file()]
    assert written == {name: (ACME / name).read_text() for name in names if "__pycache__" not in name.parts}
