"""The project's checks, each in an environment of its own; without arguments all that a change must pass.

``nox -l`` lists them. Packages are found by their ``pyproject.toml``: a new plugin needs no line here. Tests run
against wheels, so that what is tested is what users install.
"""

from __future__ import annotations

import functools
import itertools
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import nox

nox.needs_version = ">=2025.2"
nox.options.reuse_venv = "yes"
nox.options.error_on_missing_interpreters = True

ROOT = Path(__file__).parent
CORE = ROOT / "core"
PLUGINS = sorted(path.parent for path in ROOT.glob("plugins/**/pyproject.toml"))
#: Adapters to frameworks and engines: only sessions of their own install what they adapt to.
INTEGRATIONS = [path for path in PLUGINS if path.parent.name in ("integrations", "launchers")]
LIGHT = [path for path in PLUGINS if path not in INTEGRATIONS]
CONSTRAINTS = ROOT / "constraints.txt"
BENCHMARKS = sorted(path.stem for path in ROOT.glob("benchmarks/*.py") if "__main__" in path.read_text())
TOOLS = ("jsonschema", "pytest-rerunfailures", "pytest-timeout", "pytest-xdist", "trustme")
#: What fails is run once more, and is named if it passes then: thousands of tests with servers and threads share
#: a few cores here. What the nightly session starts has no such patience, and leaves nothing out.
QUICK = ("-m", "not slow", "--reruns", "1", "-raR", "--tb=native")
if "PENSTOCK_NIGHT" in os.environ:
    QUICK = ("--timeout", "1800", "--tb=native")
#: Tests that a session of their own runs; integration runs all others.
KIT = ("tests/test_kit_kills_mutants.py",)
PACKAGES = ("tests/test_import_rules.py", "tests/test_packaging.py", "tests/test_readme.py")
THIRD_PARTY = ("tests/test_third_party.py",)
NETNS = "tests/netns"

# Neither the checkout nor the user's own packages may stand in for what a session installed.
os.environ.pop("PYTHONPATH", None)
os.environ["PYTHONNOUSERSITE"] = "1"
os.environ["PIP_DISABLE_PIP_VERSION_CHECK"] = "1"
# Where these are set, pytest computes whole differences: of random bytes, which broken stores give, for minutes.
for name in ("CI", "BUILD_NUMBER"):
    os.environ.pop(name, None)


def install(session: nox.Session, *what: str) -> None:
    session.install("-q", "-c", str(CONSTRAINTS), *what)


@functools.cache
def wheelhouse() -> Path:
    """Where the wheels of this run lie, emptied first; within a session of sessions those of that one."""
    if shared := os.environ.get("PENSTOCK_WHEELS"):
        return Path(shared)
    where = ROOT / ".nox" / "wheels"
    shutil.rmtree(where, ignore_errors=True)
    where.mkdir(parents=True)
    return where


def wheel_of(session: nox.Session, project: Path) -> str:
    """Build a project's wheel, once in a run."""
    where = wheelhouse() / re.sub(r"\W+", "-", str(project.relative_to(ROOT)))
    if not where.exists():
        install(session, "build", "hatchling")
        session.run("python", "-m", "build", "--wheel", "--no-isolation", "-o", str(where), str(project), silent=True)
    (wheel,) = where.glob("*.whl")
    return str(wheel)


@functools.cache
def shared_packages() -> Path:
    """Where lies what all test sessions need of others, which takes pip longest: installed once, seen from each.

    Nothing of ours is there, and nothing that a session would not install itself.
    """
    if shared := os.environ.get("PENSTOCK_SHARED"):
        return Path(shared)
    where = ROOT / ".nox" / "shared"
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(where)], check=True)
    pip = [str(where / "bin" / "python"), "-m", "pip"]
    core = nox.project.load_toml(CORE / "pyproject.toml")["project"]
    needs = [*core["dependencies"], *core["optional-dependencies"]["testing"], *TOOLS]
    subprocess.run([*pip, "install", "-q", "-c", str(CONSTRAINTS), *needs], check=True)
    return next(where.glob("lib/python*/site-packages"))


def install_wheels(session: nox.Session, *projects: Path, alone: bool = False) -> None:
    """Install wheels as they are now, also into an environment that has older ones of the same version; ``alone``
    together with all that they need.
    """
    wheels = [wheel_of(session, project) for project in (CORE, *projects)]
    own = next(Path(session.virtualenv.location).glob("lib/python*/site-packages"))
    has_older = any(own.glob("penstock*"))
    if not alone:
        (own / "shared.pth").write_text(f"{shared_packages()}\n")
    install(session, f"penstock[testing] @ file://{wheels[0]}", *wheels[1:], *TOOLS)
    if has_older:
        session.install("-q", "--no-deps", "--force-reinstall", *wheels)


def install_alone(session: nox.Session, *projects: Path) -> None:
    """Install wheels without what they depend on."""
    if projects:
        wheels = [wheel_of(session, project) for project in projects]
        session.install("-q", "--no-deps", "--force-reinstall", *wheels)


def install_test_needs(session: nox.Session, *projects: Path) -> None:
    """Install what the tests of these need besides: servers, mostly; their ``test`` groups (PEP 735) say it."""
    for project in projects:
        metadata = nox.project.load_toml(project / "pyproject.toml")
        if "test" in metadata.get("dependency-groups", {}):
            needs = nox.project.dependency_groups(metadata, "test")
            if "heavy" in settings(project):
                # Large frameworks want versions of their own of what others share.
                session.install("-q", *needs)
            else:
                install(session, *needs)


def need(session: nox.Session, **programs: str) -> None:
    """See that programs are on the PATH, each from a package of Debian; root installs what is missing."""
    missing = {name: package for name, package in programs.items() if shutil.which(name) is None}
    if not missing:
        return
    packages = sorted(set(missing.values()))
    if os.geteuid() or shutil.which("apt-get") is None:
        session.error(f"{', '.join(missing)} is needed here; install {' '.join(packages)} (Debian's names)")
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    session.run("apt-get", "update", "-qq", external=True, silent=True)
    session.run("apt-get", "install", "-y", "-qq", *packages, external=True, silent=True, env=quiet)


def settings(project: Path) -> dict[str, Any]:
    """What a project says in ``[tool.penstock]``: ``live`` is the environment of its ``live`` session, and
    ``live-programs`` the programs that it takes, each with Debian's package; ``beside`` names the directories below
    plugins/ whose packages its tests need too; ``heavy`` keeps it out of the default sessions. ``heavy-tests`` names a
    directory of more tests that are kept out: they need the group ``heavy`` and, without its needs, ``heavy-alone``.
    """
    return dict(nox.project.load_toml(project / "pyproject.toml").get("tool", {}).get("penstock", {}))


def install_for_tests(session: nox.Session, plugin: Path) -> None:
    """One plugin, the siblings it names, and what its tests need."""
    install_wheels(session, *(ROOT / "plugins" / name for name in settings(plugin).get("beside", ())), plugin)
    install_test_needs(session, plugin)


def pytest(session: nox.Session, *arguments: str) -> None:
    # As the command pytest does it, which may be among the shared packages: without this directory on the path.
    session.run("python", "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Style: ruff's rules and its format."""
    install(session, "ruff")
    session.run("ruff", "check", "-q", ".")
    session.run("ruff", "format", "-q", "--check", ".")


@nox.session
def types(session: nox.Session) -> None:
    """mypy --strict over every package and the typing examples."""
    install_wheels(session, *LIGHT, alone=True)
    install_alone(session, *INTEGRATIONS)
    install(session, "mypy", "types-PyYAML")
    for project in (CORE, *PLUGINS):
        session.run("mypy", str(project / "src"))
    if (ROOT / "tests" / "typing").exists():
        session.run("mypy", str(ROOT / "tests" / "typing"))


@nox.session
def core(session: nox.Session) -> None:
    """Core's own tests. The backends are there because the command copies between them."""
    install_wheels(session, *LIGHT)
    install_test_needs(session, CORE)
    # Many of them wait for the processes that they start.
    pytest(session, *QUICK, "-n", str(2 * len(os.sched_getaffinity(0))), "core/tests")


@nox.session
def plugins(session: nox.Session) -> None:
    """Each plugin's session, kit, packages and third_party, two at once: they wait for what they install and start."""
    for project in (CORE, *PLUGINS):
        wheel_of(session, project)
    paths = [path for path in PLUGINS if "heavy" not in settings(path)]
    sizes = {f"conformance({path.name})": size_of(path / "tests") for path in paths}
    sizes |= {"kit": size_of(ROOT / "tests"), "packages": size_of(ROOT / "tests"), "third_party": 0}
    environment = {**os.environ, "PENSTOCK_WHEELS": str(wheelhouse()), "PENSTOCK_SHARED": str(shared_packages())}

    def run(name: str) -> tuple[str, bool]:
        session.log(f"{name} begins")
        command = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", name, "--", *session.posargs]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)
        print(done.stdout + done.stderr, end="", flush=True)
        return name, done.returncode == 0

    with ThreadPoolExecutor(2) as pool:
        # What takes long begins first, and the number of tests says about how long.
        done = list(pool.map(run, sorted(sizes, key=lambda name: -sizes[name])))
    if failed := [name for name, passed in done if not passed]:
        session.error(f"failed: {', '.join(failed)}")


def size_of(directory: Path) -> int:
    """Bytes of the Python files below a directory."""
    return sum(path.stat().st_size for path in directory.rglob("*.py"))


@nox.session(default=False)
@nox.parametrize("plugin", [nox.param(path, id=path.name) for path in PLUGINS if "heavy" not in settings(path)])
def conformance(session: nox.Session, plugin: Path) -> None:
    """One plugin alone beside core: the kit, and what only it has."""
    install_for_tests(session, plugin)
    pytest(session, *QUICK, "-n", "auto", str((plugin / "tests").relative_to(ROOT)))


@nox.session(default=False)
@nox.parametrize(
    "plugin", [nox.param(path, id=path.name) for path in PLUGINS if {"heavy", "heavy-tests"} & settings(path).keys()]
)
def integrations(session: nox.Session, plugin: Path) -> None:
    """An adapter to a framework that takes gigabytes."""
    install_for_tests(session, plugin)
    said = settings(plugin)
    if "heavy-tests" in said:
        groups = nox.project.load_toml(plugin / "pyproject.toml")
        session.install("-q", *nox.project.dependency_groups(groups, "heavy"))
        session.install("-q", "--no-deps", *said.get("heavy-alone", ()))
    pytest(session, str((plugin / said.get("heavy-tests", "tests")).relative_to(ROOT)))


@nox.session(default=False)
@nox.parametrize("plugin", [nox.param(path, id=path.name) for path in PLUGINS if "live" in settings(path)])
def live(session: nox.Session, plugin: Path) -> None:
    """One plugin against a production server, too large for every day."""
    said = settings(plugin)
    need(session, **said.get("live-programs", {}))
    install_for_tests(session, plugin)
    os.environ.update(said["live"])
    pytest(session, str((plugin / "tests").relative_to(ROOT)))


@nox.session(default=False)
def kit(session: nox.Session) -> None:
    """The kit must catch every broken store, format and launcher."""
    install_wheels(session)
    # It divides its work by itself; processes of pytest would each do all of it.
    pytest(session, *QUICK, *KIT)


@nox.session(default=False)
def packages(session: nox.Session) -> None:
    """The rules of imports and sizes; each distribution alone; what the README says."""
    install_wheels(session, *LIGHT)
    install_alone(session, *INTEGRATIONS)
    install(session, "build", "hatchling")
    pytest(session, *QUICK, *PACKAGES)


@nox.session(default=False)
def third_party(session: nox.Session) -> None:
    """A backend of somebody else, built and installed beside core."""
    install_wheels(session)
    install(session, "build", "hatchling")
    pytest(session, *QUICK, *THIRD_PARTY)


@nox.session
def integration(session: nox.Session) -> None:
    """Whole runs of the command, and whatever else of tests/ no other session runs."""
    need(session, nginx="nginx")
    install_wheels(session, *LIGHT)
    install_test_needs(session, CORE)
    others = [
        f"--ignore={path}" for path in (*KIT, *PACKAGES, *THIRD_PARTY, NETNS, "tests/third_party", "tests/mutants")
    ]
    # Their runs wait more than they work; what the tests of a file share is made once.
    pytest(session, *QUICK, "-n", "2", "--dist", "loadfile", *others, "tests")


@nox.session(default=False)
def netns(session: nox.Session) -> None:
    """Runs on hosts with addresses of their own, which are hurt in mid-run: network namespaces, so as root on Linux."""
    if os.geteuid():
        session.error("network namespaces are made by root: run it as root, or in a container with CAP_SYS_ADMIN")
    need(session, ip="iproute2", tc="iproute2", losetup="mount", **{"mkfs.ext4": "e2fsprogs"})
    agents = ROOT / "plugins" / "launchers" / "grpc"
    install_wheels(session, *(ROOT / "plugins" / name for name in ("file", "direct", "s3")), agents)
    install_test_needs(session, agents)
    pytest(session, "-v", NETNS)


@nox.session
def demo(session: nox.Session) -> None:
    """The README's first command, in a directory with nothing but the sources."""
    where = Path(session.create_tmp()).resolve() / "checkout"
    shutil.rmtree(where, ignore_errors=True)
    hidden = shutil.ignore_patterns(".*", "__pycache__", "penstock-2*")
    shutil.copytree(ROOT, where, ignore=hidden)
    command = readme_commands()[0]
    session.chdir(where)
    session.run("bash", "-euc", command, env={"PIP_CONSTRAINT": str(CONSTRAINTS)}, external=True)
    if not list(where.glob("penstock-2*/report.html")):
        session.error(f"no report was written by: {command}")


def readme_commands() -> list[str]:
    """The two commands that the README gives on a line each: a run, and the tests."""
    commands = re.findall(r"^python3 -m venv .*$", (ROOT / "README.md").read_text(), re.MULTILINE)
    if len(commands) != 2:
        raise ValueError(f"README.md holds {len(commands)} commands that begin with python3 -m venv, not 2")
    return commands


@nox.session(default=False, python=False)
def nightly(session: nox.Session) -> None:
    """Every test, the slow ones too, with many more random examples.

    These are the sessions of tests as they are, each in an environment of its own, as plugins of others disturb some;
    and those for which a change need not wait.
    """
    night = {"PENSTOCK_NIGHT": "1", "HYPOTHESIS_PROFILE": "nightly"}
    names = ["core", "plugins", "integration", "integrations"]
    if os.geteuid():
        session.warn("netns is left out: it takes root")
    else:
        names.append("netns")
    command = [sys.executable, "-m", "nox", "-f", str(ROOT / "noxfile.py"), "-s", *names, "--", *session.posargs]
    session.run(*command, env=night, external=True)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Benchmarks: ``nox -s bench -- NAME... [options]``; the peers of each stand in its script header."""
    options = [*itertools.dropwhile(lambda word: not word.startswith("-"), session.posargs)]
    names = session.posargs[: len(session.posargs) - len(options)] or BENCHMARKS
    if unknown := set(names) - set(BENCHMARKS):
        session.error(f"no benchmark named {', '.join(sorted(unknown))}; there are: {', '.join(BENCHMARKS)}")
    install_wheels(session, *LIGHT)
    install_alone(session, *INTEGRATIONS)
    for name in names:
        script = ROOT / "benchmarks" / f"{name}.py"
        if "# /// script" in script.read_text():
            # Peers want versions of their own.
            session.install("-q", *nox.project.load_toml(script)["dependencies"])
        session.run("python", str(script), *options)


@nox.session(default=False)
def readme(session: nox.Session) -> None:
    """Write the README's tables anew, from the plugins and commands that there are."""
    install_wheels(session, *LIGHT)
    session.run("python", "tests/test_readme.py")


@nox.session(default=False, python=False)
def dev(session: nox.Session) -> None:
    """An environment in .venv with every package editable and all tools, for editors and quick runs."""
    session.run(sys.executable, "-m", "venv", ".venv")
    editable = [part for path in (f"{CORE}[testing]", *LIGHT) for part in ("-e", str(path))]
    tools = ("build", "hatchling", "mypy", "nox", "ruff", "types-PyYAML", *TOOLS)
    session.run(".venv/bin/pip", "install", "-q", "-c", str(CONSTRAINTS), *editable, *tools)
