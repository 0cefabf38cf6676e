"""The distributions as users get them: each is built, looked into, and installed without the checkout."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = {
    str(path.relative_to(ROOT)): path
    for path in (ROOT / "core", *sorted(found.parent for found in ROOT.glob("plugins/**/pyproject.toml")))
}
#: What penstock's host finds; integrations are found by the frameworks that they are for, if by anybody.
PLUGINS = [name for name in PROJECTS if name != "core" and not name.startswith("plugins/integrations/")]
#: Groups of entry points by which frameworks find integrations.
FRAMEWORKS = {"fsspec.specs", "universal_pathlib.implementations"}

#: The hosts that may stand in a URL of a distribution: those of licences, schemas, namespaces, and the origin of
#: assets that are carried along; and of the service that a backend is for.
HOSTS = {"www.apache.org", "www.w3.org", "json-schema.org", "github.com"}
HOSTS |= {"s3.amazonaws.com", "storage.googleapis.com", "www.googleapis.com"}
HOSTS |= {"ACCOUNT.blob.core.windows.net", "storage.azure.com", "127.0.0.1"}
#: Those of examples, which nobody has (RFC 2606).
HOSTS |= {"rgw.example.com"}
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "PENSTOCK"))}
ENVIRONMENT |= {"PYTHONNOUSERSITE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}

every_project = pytest.mark.parametrize("name", PROJECTS)


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run([*map(str, command)], cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


#: Builds as the frontend ``build`` does, but many in one process: the source distribution, and the wheel from that.
BUILD = """
import os
import sys
import tarfile
from hatchling.build import build_sdist, build_wheel

for project, out in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
    os.chdir(project)
    source = build_sdist(out)
    with tarfile.open(os.path.join(out, source)) as archive:
        archive.extractall(os.path.join(out, "unpacked"), filter="data")
    os.chdir(os.path.join(out, "unpacked", source.removesuffix(".tar.gz")))
    build_wheel(out)
"""


class Built:
    """The wheel and the source distribution of one project, as texts and names."""

    def __init__(self, project: Path, out: Path) -> None:
        self.project = project
        self.settings = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        (self.wheel,) = out.glob("*.whl")
        (self.source,) = out.glob("*.tar.gz")
        with zipfile.ZipFile(self.wheel) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}
        with tarfile.open(self.source) as archive:
            self.source_names = [name.partition("/")[2] for name in archive.getnames()]

    def info(self, name: str) -> str:
        (found,) = [path for path in self.files if path.endswith(f".dist-info/{name}")]
        return self.files[found].decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    outs = {name: tmp_path_factory.mktemp("dist") for name in PROJECTS}
    pairs = [place for name, project in PROJECTS.items() for place in (project, outs[name])]
    run(sys.executable, "-c", BUILD, *pairs, cwd=tmp_path_factory.getbasetemp())
    return {name: Built(project, outs[name]) for name, project in PROJECTS.items()}


def test_the_projects_are_those_below_plugins_and_core():
    assert "core" in PROJECTS
    assert len(PROJECTS) > 2


@every_project
class TestWheel:
    def test_it_holds_one_package_with_its_types_and_no_tests(self, name, built):
        tops = {path.partition("/")[0] for path in built[name].files}
        package = built[name].settings["name"].replace("-", "_")
        assert {top for top in tops if not top.endswith(".dist-info")} == {package}
        assert f"{package}/py.typed" in built[name].files
        code = [path for path in built[name].files if "/templates/" not in path]
        assert not [path for path in code if re.search(r"(^|/)(tests?|conftest\.py|test_[^/]*)(/|$)", path)]

    def test_its_modules_are_those_of_the_checkout(self, name, built):
        src = built[name].project / "src"
        want = {str(path.relative_to(src)) for path in src.rglob("*.py")}
        assert {path for path in built[name].files if path.endswith(".py")} == want

    def test_its_metadata(self, name, built):
        one = built[name]
        metadata = email.message_from_string(one.info("METADATA"))
        assert metadata["Name"] == one.settings["name"]
        assert metadata["Version"] == one.settings["version"]
        assert metadata["License-Expression"] == "Apache-2.0"
        assert metadata["Requires-Python"] == ">=3.11"
        assert metadata["Summary"]
        assert len(str(metadata.get_payload()).strip()) > 100, "its README is its description"
        for need in metadata.get_all("Requires-Dist"):
            assert "==" not in need.partition(";")[0], "ranges, not pins"
            assert "@" not in need

    def test_it_holds_the_licence(self, name, built):
        (text,) = [data for path, data in built[name].files.items() if path.endswith("/LICENSE")]
        assert text == (ROOT / "LICENSE").read_bytes()

    def test_its_entry_points_are_modules_of_its_own(self, name, built):
        settings = built[name].settings
        offered = settings.get("entry-points", {})
        assert offered or name not in PLUGINS
        for group, entries in offered.items():
            assert group.startswith("penstock.") or group in FRAMEWORKS
            for entry, value in entries.items():
                assert f"{entry} = {value}" in built[name].info("entry_points.txt")
                module = value.partition(":")[0].replace(".", "/")
                assert {f"{module}.py", f"{module}/__init__.py"} & set(built[name].files)

    def test_it_names_no_host_and_no_path_of_the_machine_that_built_it(self, name, built):
        here = [str(ROOT), str(Path.home()), str(built[name].wheel.parent), "/tmp/"]
        for path, data in built[name].files.items():
            text = data.decode(errors="replace")
            hosts = set(re.findall(r"https?://([\w-]+(?:\.[\w-]+)+)", text))
            assert hosts <= HOSTS, f"{path} names {hosts - HOSTS}"
            if not path.endswith(".dist-info/RECORD"):
                assert [place for place in here if len(place) > 1 and place in text] == [], path

    def test_the_source_distribution_holds_the_tests_and_no_rubbish(self, name, built):
        names = built[name].source_names
        assert {"pyproject.toml", "README.md", "LICENSE", "PKG-INFO"} <= set(names)
        assert not [path for path in names if "__pycache__" in path or (path.startswith(".") and path != ".gitignore")]
        assert any(path.startswith("tests/test_") for path in names)

    def test_the_changelog_knows_the_version(self, name, built):
        changes = (built[name].project / "CHANGELOG.md").read_text()
        assert f"## {built[name].settings['version']}" in changes


ALONE = """
import sys
import penstock
from penstock.errors import UnknownSchemeError
from penstock.opening import open_store
from penstock.plugins import PACKAGES, PluginHost
from penstock.sinks import Collect

assert penstock.__file__.startswith(sys.prefix), penstock.__file__
store, sink = open_store("mem://name/dir"), Collect()
store.put("k", b"value")
store.get("k", sink)
assert sink.view() == b"value"
host = PluginHost(disabled=())
assert [record.problem for record in host.records() if record.problem] == []
for scheme, package in PACKAGES.items():
    try:
        host.store_type(scheme)
    except UnknownSchemeError as error:
        assert f"pip install {package}" in str(error)
    else:
        raise AssertionError(f"{scheme} is here, and only core was installed")
"""
BESIDE = """
import sys
from importlib.metadata import entry_points
from penstock.plugins import PluginHost

records = PluginHost(disabled=()).records()
for distribution in sys.argv[1:]:
    mine = [record for record in records if record.distribution == distribution]
    assert [(record.name, record.problem) for record in mine if record.problem] == []
    assert {(record.group, record.name) for record in mine} == {
        (entry.group, entry.name) for group in {record.group for record in mine}
        for entry in entry_points(group=group) if entry.dist.name == distribution
    }
    assert mine, distribution
sdks = {"boto3", "botocore", "azure", "google"} & set(sys.modules)
assert not sdks, f"listing plugins imported {sdks}"
"""


@pytest.fixture(scope="module")
def clean(built, tmp_path_factory):
    """An environment with core's wheel and what it depends on; nothing of the checkout is on its path."""
    where = tmp_path_factory.mktemp("clean") / "venv"
    venv.create(where, with_pip=True)
    install(where, built["core"].wheel)
    return where


def install(where: Path, *wheels: Path) -> None:
    run(where / "bin/python", "-I", "-m", "pip", "install", "-q", "-c", ROOT / "constraints.txt", *wheels, cwd=where)


def test_core_alone_serves_memory_and_names_the_package_of_the_others(clean):
    run(clean / "bin/python", "-I", "-c", ALONE, cwd=clean)


def test_core_alone_has_its_command(clean):
    assert "Usage: penstock" in run(clean / "bin/penstock", "--help", cwd=clean)
    assert run(clean / "bin/python", "-I", "-m", "penstock", "--version", cwd=clean).startswith("penstock 0.")


def test_each_plugin_beside_core_loads(clean, built):
    run(clean / "bin/python", "-I", "-c", ALONE, cwd=clean)
    install(clean, *(built[name].wheel for name in PLUGINS))
    distributions = [built[name].settings["name"] for name in PLUGINS]
    run(clean / "bin/python", "-I", "-c", BESIDE, *distributions, cwd=clean)
