"""The rules of the house, read from the code: who may import whom, what only some may touch, and the sizes.

The tables come first. Below them each rule is a function that yields what breaks it, and each is shown to fail on
a small tree that breaks it.
"""

from __future__ import annotations

import ast
import itertools
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent

#: Rooms of core, lowest first. A module may import its own room and any room of a row above its own; never its
#: neighbours in the row, never upward. ``penstock`` is the package's public face.
ROWS = (
    "errors clocks buffers quantities globs environment scheduling",
    "keys urls options records service",
    "store formats payload launchers commands",
    "hookspecs",
    "plugins sinks writers metering memory posix payloads http parts stats launching",
    "layers",
    "opening",
    "client oplog",
    "analysis samples",
    "aio workload report",
    "testing engine",
    "replay tuning",
    "cli penstock",
    "__main__",
)

#: What plugins may import of core, by where they live: the first row that fits. But for TRAINING no plugin imports
#: another's package.
PLUGINS_MAY_IMPORT = {
    "plugins/training": "penstock errors store sinks buffers formats samples hookspecs commands options quantities "
    "globs urls oplog payloads clocks stats cli workload report layers metering records",
    "plugins/*": "errors store service hookspecs urls options keys buffers posix http parts",
    "plugins/formats/*": "errors formats hookspecs options",
    "plugins/launchers/*": "errors launchers launching hookspecs options commands clocks",
    "plugins/integrations/*": "penstock errors store sinks buffers formats samples options urls",
}

#: The one package of ours that other plugins may build on, and which.
TRAINING = {"plugins/integrations/*": "penstock_training"}

#: Packages and the only places (core rooms, or files) that may import them at all.
ONLY_IN = {
    "pytest": "testing",
    "_pytest": "testing",
    "hypothesis": "testing",
    "click": "cli commands",
    "rich": "cli report",
    "yaml": "workload tuning",
    "hdrh": "stats report",
    "prometheus_client": "report",
    "time": "clocks",
}

#: Plugins that add commands to core's take what those are made of, too; and what is timed there reads the clocks.
PLUGINS_MAY_ALSO_IMPORT = {
    "plugins/training": "click clocks",
    "plugins/launchers/grpc": "click clocks",
    "plugins/launchers/mpi": "clocks",
}

#: Packages too slow to import for ``penstock --help``, and the modules that must not do so at their top.
HEAVY = (
    "numpy zstandard rich yaml structlog anyio cattrs hypothesis pytest boto3 botocore azure google requests urllib3"
)
LIGHT = (
    "errors clocks buffers quantities globs environment keys urls options records store formats payload launchers "
    "commands hookspecs plugins sinks writers metering memory posix http parts layers opening client penstock service "
    "scheduling"
)
LIGHT_FILES = ("*/cli/__init__.py", "*/cli/lazy.py", "*/cli/common.py", "*/plugin.py")

#: Who may read the clocks. Everybody else is given times.
CLOCK_READERS = (
    "metering http engine replay tuning stats oplog memory layers/retry layers/timing client/buckets client/health "
    "cli/progress"
)

#: First-party backends. Core's code names none of them, but for these places: the table of packages, what a bare
#: path means, and examples in texts for the user, as are docstrings and ``help=``.
BACKEND_NAMES = re.compile(
    r"\b(?:file|direct|s3|az|gs|gcs)(?:\+[a-z]+)?://|\bpenstock[-_](?:file|direct|s3|azure|gcs)\b"
    r"|\A(?:direct|s3|az|azure|gs|gcs|boto3)\Z"
)
MAY_NAME_BACKENDS = {
    "plugins": "PACKAGES",
    "urls": "*",
    "workload/config": "*",
    "workload/checks": "*",
    "workload/older/places": "_BUCKETS",
}

#: Public functions that take ``**kwargs`` because the method of another library that they override does.
MAY_TAKE_KWARGS = {
    "cli/lazy": "main",
    "filesystem": "__init__",
    "checkpoint/reader": "read_metadata set_up_storage_reader",
    "checkpoint/writer": "set_up_storage_writer",
}

MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60


class Module(NamedTuple):
    """One source file. ``home`` is its distribution's directory, ``place`` its path below the package, no suffix."""

    path: str
    home: str
    package: str
    place: str
    text: str
    tree: ast.Module

    @property
    def is_core(self) -> bool:
        return self.home == "core"

    @property
    def room(self) -> str:
        return self.place.partition("/")[0]

    def at(self, node: ast.AST) -> str:
        return f"{self.path}:{getattr(node, 'lineno', 1)}"


def modules_of(root: Path) -> list[Module]:
    found = []
    for project in sorted([root / "core", *root.glob("plugins/**/src")]):
        src = project / "src" if project.name == "core" else project
        home = str(src.parent.relative_to(root))
        for path in sorted(src.rglob("*.py")):
            package, *rest = path.relative_to(src).with_suffix("").parts
            place = "/".join(rest) if rest != ["__init__"] else package
            text = path.read_text()
            found.append(Module(str(path.relative_to(root)), home, package, place, text, ast.parse(text)))
    return found


def imports(module: Module, *, top_only: bool = False) -> Iterator[tuple[ast.stmt, str]]:
    """Every imported name in full; imports for types alone do not count as top-level ones."""
    for node in _top(module.tree) if top_only else ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from ((node, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            yield from ((node, f"{base}.{alias.name}") for alias in node.names)


def _top(tree: ast.Module) -> Iterator[ast.stmt]:
    """Statements that run at import, also within ``if`` and ``try``, and in the bodies of classes."""
    pending = list(tree.body)
    while pending:
        node = pending.pop(0)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            pending += node.orelse
            continue
        yield node
        if isinstance(node, ast.If | ast.Try | ast.With | ast.ClassDef):
            pending += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]
            pending += [child for handler in getattr(node, "handlers", []) for child in handler.body]


def rooms_imported(module: Module) -> Iterator[tuple[ast.stmt, str]]:
    rooms = set(" ".join(ROWS).split())
    for node, name in imports(module):
        package, _, rest = name.partition(".")
        if package == "penstock":
            room = rest.partition(".")[0]
            yield node, room if room in rooms or "." in rest else "penstock"


def relative_imports(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.ImportFrom) and node.level:
                yield f"{module.at(node)} a relative import; write the package's name"


def imports_go_down(modules: list[Module]) -> Iterator[str]:
    rank = {room: number for number, row in enumerate(ROWS) for room in row.split()}
    for module in modules:
        if not module.is_core:
            continue
        if module.room not in rank:
            yield f"{module.path} the room {module.room} stands in no row of ROWS"
            continue
        for node, room in rooms_imported(module):
            if room != module.room and rank.get(room, 99) >= rank[module.room]:
                yield f"{module.at(node)} {module.room} may not import {room}"


def plugins_keep_to_the_contract(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if module.is_core:
            continue
        rows = [row for place, row in PLUGINS_MAY_IMPORT.items() if _same_depth(module.home, place)]
        if not rows:
            yield f"{module.path} no row of PLUGINS_MAY_IMPORT covers {module.home}"
            continue
        for node, room in rooms_imported(module):
            if room not in rows[0].split():
                yield f"{module.at(node)} a plugin here may not import penstock.{room}"


def _same_depth(home: str, pattern: str) -> bool:
    return home.count("/") == pattern.count("/") and fnmatch(home, pattern)


def plugins_do_not_know_each_other(modules: list[Module]) -> Iterator[str]:
    packages = {module.package for module in modules if not module.is_core}
    for module in modules:
        for node, name in imports(module):
            package = name.partition(".")[0]
            base = next((name for place, name in TRAINING.items() if _same_depth(module.home, place)), None)
            if package not in (module.package, base) and (package in packages or package.startswith("penstock_")):
                yield f"{module.at(node)} {module.package} may not import {package}"


def only_some_import(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for node, name in imports(module):
            package = name.partition(".")[0]
            allowed = ONLY_IN.get(package)
            if package in PLUGINS_MAY_ALSO_IMPORT.get(module.home, "").split():
                continue
            if allowed is not None and not (module.is_core and module.room in allowed.split()):
                yield f"{module.at(node)} {package} is imported by {allowed or 'nobody'} alone"


def light_modules_stay_light(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        light = module.is_core and module.room in LIGHT.split()
        if not light and not any(fnmatch(f"/{module.path}", f"*{pattern}") for pattern in LIGHT_FILES):
            continue
        for node, name in imports(module, top_only=True):
            if name.partition(".")[0] in HEAVY.split():
                yield f"{module.at(node)} imports {name} at its top; import it where it is used"


def clocks_are_read_in_few_places(modules: list[Module]) -> Iterator[str]:
    readers = CLOCK_READERS.split()
    for module in modules:
        for node in ast.walk(module.tree):
            if isinstance(node, ast.Attribute) and node.attr in ("now", "utcnow", "today"):
                owner = ast.unparse(node.value)
                if owner.endswith(("datetime", "date")):
                    yield f"{module.at(node)} reads a clock: {owner}.{node.attr}"
        may = module.is_core and (module.room in readers or module.place in readers)
        may = may or "clocks" in PLUGINS_MAY_ALSO_IMPORT.get(module.home, "").split()
        for node, room in rooms_imported(module):
            if room == "clocks" and not may:
                yield f"{module.at(node)} may not import penstock.clocks"


def core_names_no_backend(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        exempt = MAY_NAME_BACKENDS.get(module.place, "")
        if not module.is_core or exempt == "*":
            continue
        skipped = _docstrings(module.tree) | _helps(module.tree) | _assigned(module.tree, exempt)
        for node in ast.walk(module.tree):
            if not isinstance(node, ast.Constant) or not isinstance(node.value, str) or id(node) in skipped:
                continue
            if match := BACKEND_NAMES.search(node.value):
                yield f"{module.at(node)} names a backend: {match[0]}"


def _docstrings(tree: ast.Module) -> set[int]:
    return {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if node.body and isinstance(node.body[0], ast.Expr)
    }


def _helps(tree: ast.Module) -> set[int]:
    return {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.keyword) and node.arg == "help"
        for inner in ast.walk(node.value)
    }


def _assigned(tree: ast.Module, name: str) -> set[int]:
    return {
        id(inner)
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign) and name and name in ast.unparse(node).partition("=")[0]
        for inner in ast.walk(node)
    }


def sizes_stay_small(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        lines = module.text.count("\n")
        if lines > MAX_FILE_LINES:
            yield f"{module.path} has {lines} lines"
        for node in ast.walk(module.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                length = (node.end_lineno or 0) - node.lineno + 1
                if length > MAX_FUNCTION_LINES:
                    yield f"{module.at(node)} {node.name} has {length} lines"


def public_functions_name_their_arguments(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        for node in _public_functions(module.tree):
            if node.args.kwarg is not None and node.name not in MAY_TAKE_KWARGS.get(module.place, "").split():
                yield f"{module.at(node)} {node.name} takes **{node.args.kwarg.arg}"


def _public_functions(scope: ast.Module | ast.ClassDef) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in scope.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if not node.name.startswith("_") or node.name == "__init__":
                yield node
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from _public_functions(node)


def all_is_there_and_true(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        public = not any(part.startswith("_") for part in module.place.removesuffix("/__init__").split("/"))
        has_code = any(not isinstance(node, ast.Expr) for node in module.tree.body)
        if not public or not has_code:
            continue
        listed = _listed(module.tree)
        if listed is None:
            yield f"{module.path} has no __all__"
            continue
        defined = _defined(module.tree)
        if "__getattr__" not in defined:
            yield from (
                f"{module.path} __all__ names {name}, which is not there" for name in set(listed) - set(defined)
            )
        if sorted(set(listed)) != sorted(listed):
            yield f"{module.path} __all__ names something twice"
        for name, node in defined.items():
            made_here = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
            if module.is_core and module.room == "cli" and getattr(node, "decorator_list", ()):
                continue  # a command belongs to the group that its decorator put it in
            if made_here and name not in listed and not name.startswith(("_", "penstock_")):
                yield f"{module.at(node)} {name} is public and not in __all__"


def _listed(tree: ast.Module) -> list[str] | None:
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return [item.value for item in ast.walk(node) if isinstance(item, ast.Constant)]
    return None


def _defined(tree: ast.Module) -> dict[str, ast.stmt]:
    names: dict[str, ast.stmt] = {}
    inner = {id(child) for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for child in node.body}
    for node in _top(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.setdefault(node.name, node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name): node for alias in node.names}
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {name.id: node for target in targets for name in ast.walk(target) if isinstance(name, ast.Name)}
    return names


def modules_introduce_themselves(modules: list[Module]) -> Iterator[str]:
    for module in modules:
        if not module.tree.body:
            continue
        if not ast.get_docstring(module.tree):
            yield f"{module.path} has no docstring"
        code = [node for node in module.tree.body if not isinstance(node, ast.Expr)]
        annotated = any(isinstance(node, ast.AnnAssign | ast.arguments) for node in ast.walk(module.tree))
        if annotated and not (isinstance(code[0], ast.ImportFrom) and code[0].module == "__future__"):
            yield f"{module.path} does not begin with: from __future__ import annotations"


Rule = Callable[[list[Module]], Iterator[str]]
RULES: dict[str, Rule] = {
    rule.__name__: rule
    for rule in (
        relative_imports,
        imports_go_down,
        plugins_keep_to_the_contract,
        plugins_do_not_know_each_other,
        only_some_import,
        light_modules_stay_light,
        clocks_are_read_in_few_places,
        core_names_no_backend,
        sizes_stay_small,
        public_functions_name_their_arguments,
        all_is_there_and_true,
        modules_introduce_themselves,
    )
}


@pytest.fixture(scope="module")
def house() -> list[Module]:
    return modules_of(ROOT)


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_the_house_keeps_the_rule(rule, house):
    assert "\n".join(rule(house)) == ""


def test_the_house_was_read(house):
    places = {module.place for module in house if module.is_core}
    assert {"penstock", "store", "layers/prefix"} <= places
    assert {module.home for module in house} >= {"core", *(str(p.parent.relative_to(ROOT)) for p in _projects())}


def _projects() -> list[Path]:
    return list(ROOT.glob("plugins/**/pyproject.toml"))


def test_no_room_stands_twice():
    rooms = " ".join(ROWS).split()
    assert len(rooms) == len(set(rooms))


HEAD = '"""Doc."""\n\nfrom __future__ import annotations\n\n'
CORE, ACME = "core/src/penstock/", "plugins/acme/src/penstock_acme/"
LEGAL = {
    CORE + "__init__.py": HEAD + 'from penstock.opening import open_store\n\n__all__ = ["open_store"]\n',
    CORE + "opening.py": HEAD + "from penstock.store import Sink\n\n"
    '__all__ = ["open_store"]\n\n\ndef open_store(uri: str) -> Sink:\n    """As in s3://bucket."""\n    import numpy\n',
    CORE + "store.py": HEAD + 'from penstock.errors import E\n\n__all__ = ["Sink"]\n\n\nclass Sink:\n    pass\n',
    CORE + "errors.py": HEAD + '__all__ = ["E"]\n\n\nclass E(Exception):\n    pass\n',
    CORE + "clocks.py": HEAD + 'import time\n\n__all__ = ["sleep"]\n\nsleep = time.sleep\n',
    CORE + "plugins.py": HEAD + '__all__ = ["PACKAGES"]\n\nPACKAGES = {"s3": "penstock-s3"}\n',
    CORE + "testing/__init__.py": HEAD + "import pytest\n\nfrom penstock.store import Sink\n\n__all__ = []\n",
    CORE + "stats/_private.py": HEAD.replace("Doc", "No list"),
    ACME + "plugin.py": HEAD
    + "from penstock.store import Sink\n\n__all__ = []\n\n\ndef penstock_store_types() -> None:\n"
    "    import boto3\n",
    ACME + "store.py": HEAD + "import boto3\n\nfrom penstock_acme.plugin import x\n\n__all__ = []\n",
    "plugins/formats/npz/src/penstock_npz/codec.py": HEAD + "import penstock.errors\n\n__all__ = []\n",
}
PLANTED = [
    (relative_imports, "store.py", "from . import errors\n"),
    (imports_go_down, "errors.py", "from penstock.store import Sink\n"),
    (imports_go_down, "store.py", "import penstock.opening\n"),
    (imports_go_down, "store.py", "from penstock import opening\n"),
    (imports_go_down, "store.py", "from penstock import open_store\n"),
    (imports_go_down, "store.py", "def f():\n    from penstock.formats import F\n"),
    (imports_go_down, "store.py", "if TYPE_CHECKING:\n    from penstock.plugins import PluginHost\n"),
    (imports_go_down, "stats/x.py", "from penstock.workload.config import load\n"),
    (imports_go_down, "testing/x.py", "from penstock.cli import main\n"),
    (imports_go_down, "newroom.py", "x = 1\n"),
    (plugins_keep_to_the_contract, ACME + "x.py", "from penstock.metering import Metered\n"),
    (plugins_keep_to_the_contract, ACME + "x.py", "import penstock\n"),
    (plugins_keep_to_the_contract, ACME + "x.py", "from penstock import open_store\n"),
    (plugins_keep_to_the_contract, ACME + "x.py", "from penstock import clocks\n"),
    (plugins_keep_to_the_contract, "plugins/formats/npz/src/penstock_npz/x.py", "from penstock.store import Sink\n"),
    (plugins_keep_to_the_contract, "plugins/new/kind/of/src/penstock_kind/x.py", "x = 1\n"),
    (plugins_do_not_know_each_other, ACME + "x.py", "import penstock_npz.codec\n"),
    (plugins_do_not_know_each_other, "store.py", "def f():\n    import penstock_acme\n"),
    (plugins_do_not_know_each_other, "store.py", "from penstock_absent import x\n"),
    (only_some_import, "store.py", "import pytest\n"),
    (only_some_import, "layers/x.py", "def f():\n    from hypothesis import given\n"),
    (only_some_import, ACME + "x.py", "import pytest\n"),
    (only_some_import, "metering.py", "import time\n"),
    (only_some_import, ACME + "x.py", "from time import sleep\n"),
    (only_some_import, "workload/x.py", "import rich.progress\n"),
    (light_modules_stay_light, "store.py", "import numpy as np\n"),
    (light_modules_stay_light, "client/x.py", "try:\n    import anyio.abc\nexcept ImportError:\n    pass\n"),
    (light_modules_stay_light, "cli/__init__.py", "from rich.console import Console\n"),
    (light_modules_stay_light, ACME + "plugin.py", "import boto3\n"),
    (light_modules_stay_light, ACME + "plugin.py", "from azure.storage import blob\n"),
    (clocks_are_read_in_few_places, "store.py", "from penstock.clocks import sleep\n"),
    (clocks_are_read_in_few_places, "layers/faults.py", "from penstock import clocks\n"),
    (clocks_are_read_in_few_places, "engine/x.py", "import datetime\nx = datetime.datetime.now()\n"),
    (clocks_are_read_in_few_places, ACME + "x.py", "x = datetime.utcnow()\n"),
    (core_names_no_backend, "opening.py", 'x = "s3"\n'),
    (core_names_no_backend, "opening.py", 'def f(uri):\n    return uri.startswith("s3+https://")\n'),
    (core_names_no_backend, "cli/x.py", 'x = f"file://{x}"\n'),
    (core_names_no_backend, "plugins.py", 'x = "penstock-s3"\n'),
    (core_names_no_backend, "engine/x.py", 'import_module("penstock_direct.plugin")\n'),
    (sizes_stay_small, "store.py", "x = 1\n" * 500),
    (sizes_stay_small, "store.py", "def f():\n" + "    x = 1\n" * 60),
    (public_functions_name_their_arguments, "store.py", "def f(**kwargs): ...\n"),
    (public_functions_name_their_arguments, "store.py", "class C:\n    async def f(self, **options): ...\n"),
    (public_functions_name_their_arguments, "store.py", "class C:\n    def __init__(self, **options): ...\n"),
    (all_is_there_and_true, "keys.py", "x = 1\n"),
    (all_is_there_and_true, "layers/__init__.py", "x = 1\n"),
    (all_is_there_and_true, "keys.py", '__all__ = ["gone"]\n'),
    (all_is_there_and_true, "keys.py", "__all__ = []\ndef public(): ...\n"),
    (all_is_there_and_true, "keys.py", '__all__ = ["x", "x"]\nx = 1\n'),
    (modules_introduce_themselves, "keys.py", None),
    (modules_introduce_themselves, "urls.py", None),
]


@pytest.fixture
def plant(tmp_path):
    def make(extra: dict[str, str]) -> list[Module]:
        files = LEGAL | {path if "/src/" in path else CORE + path: text for path, text in extra.items()}
        for name, text in files.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return modules_of(tmp_path)

    return make


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_tree_that_keeps_the_rules_passes(rule, plant):
    assert list(rule(plant({}))) == []


@pytest.mark.parametrize(("rule", "path", "code"), PLANTED, ids=itertools.count())
def test_a_violation_is_found_and_its_place_named(rule, path, code, plant):
    full = path if "/src/" in path else CORE + path
    before = LEGAL.get(full, HEAD)
    found = list(rule(plant({path: before + code if code is not None else "def f(x: int): ...\n"})))
    assert found
    assert all(line.startswith(full) for line in found)


def test_every_rule_has_a_planted_violation():
    assert {rule for rule, _, _ in PLANTED} == set(RULES.values())


@pytest.mark.parametrize(
    "command", ["import penstock", "from penstock.cli import main; main(['--help'], standalone_mode=False)"]
)
def test_starting_imports_nothing_heavy(command):
    script = f"import sys\n{command}\nprint('loaded:', *sorted(sys.modules), file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    loaded = set(done.stderr.partition("loaded:")[2].split())
    assert loaded & set(HEAVY.split()) == set()
    # Help says what the commands of plugins do, and their plugin modules know it.
    known = [f"{name}." for name in loaded if name.endswith(".plugin")]
    ours = [name for name in loaded if name.startswith("penstock_")]
    assert [name for name in ours if not any(plugin.startswith(f"{name}.") for plugin in known)] == []
