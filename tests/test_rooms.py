"""Who may import whom: read off the source, imports for type checkers and inside functions too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mwanda

ROOT = Path(mwanda.__file__).parent

FLOORS: tuple[tuple[str, ...], ...] = (
    ("errors",),
    ("system",),
    ("text", "model", "methods"),
    ("pruning",),
    ("pruned", "evaluation"),
    ("study",),
    ("cli",),
    ("", "__main__"),
)
"""Rooms from the ground up; "" is the package's own file. A room imports from floors below it."""

MATHS = (
    "criteria", "allocation", "patterns", "reconstruction", "input_statistics", "gram", "wide",
)  # fmt: skip
ASKS = ("methods.wide", "system.device")
"""The one file of the maths that asks what a device can do."""
FILES = {"os", "io", "pathlib", "shutil", "tempfile", "subprocess", "socket", "json", "pickle"}


def modules() -> dict[str, Path]:
    """Dotted name under mwanda -> file; a package is its ``__init__``."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()
PURE = sorted(
    name for name in MODULES if name.startswith("methods.") and name.split(".")[1] in MATHS
)


def imported(text: str, known: Mapping[str, Path] = MODULES) -> Iterator[str]:
    """Every module that a file imports, wherever in it."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = ("mwanda." if node.level else "") + (node.module or "")
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full.removeprefix("mwanda.") in known else module


def own_imports(text: str) -> set[str]:
    """Those of mwanda's own, without its name."""
    found = (module for module in imported(text) if module.split(".")[0] == "mwanda")
    return {module.partition(".")[2] for module in found}


def floor(module: str) -> int:
    room = module.split(".")[0]
    places = [number for number, rooms in enumerate(FLOORS) if room in rooms]
    assert places, f"{module} is in no room: put it into FLOORS"
    return places[0]


def climbs(name: str, text: str) -> list[str]:
    """What a module imports from its own floor's other rooms, or from above."""
    room = name.split(".")[0]
    others = (module for module in own_imports(text) if module.split(".")[0] != room)
    return sorted(module for module in others if floor(module) >= floor(name))


@pytest.mark.parametrize("name", MODULES)
def test_imports_run_one_way(name: str) -> None:
    assert not climbs(name, MODULES[name].read_text(encoding="utf-8"))


def test_an_import_turned_round_is_seen() -> None:
    assert climbs("text.windows", "def f():\n    from mwanda.model.source import open_model\n")
    assert climbs("pruned.verify", "from mwanda.evaluation.gate import Gate\n")
    late = "if TYPE_CHECKING:\n    from mwanda.study.study_plan import StudyPlan\n"
    assert climbs("model.source", late) == ["study.study_plan"]


def test_no_file_imports_itself_through_others() -> None:
    graph = {
        name: own_imports(path.read_text(encoding="utf-8")) - {name}
        for name, path in MODULES.items()
    }
    TopologicalSorter(graph).prepare()
    with pytest.raises(CycleError):
        TopologicalSorter(
            graph | {"errors": {"system.tables"}, "system.tables": {"errors"}}
        ).prepare()


@pytest.mark.parametrize("name", PURE)
def test_the_maths_imports_torch_and_itself_only(name: str) -> None:
    for module in imported(MODULES[name].read_text(encoding="utf-8")):
        root, _, own = module.partition(".")
        if root == "mwanda":
            assert own in PURE or (name, own) == ASKS, module
        else:
            assert root in {"torch", "scipy"} or root in sys.stdlib_module_names, module
            assert root not in FILES, module


@pytest.mark.parametrize("name", PURE)
def test_the_maths_opens_no_file(name: str) -> None:
    tree = ast.parse(MODULES[name].read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert calls.isdisjoint({"open", "torch.load", "torch.save", "eval", "exec", "print"})


def test_there_is_maths_to_look_at() -> None:
    assert len(PURE) >= 9
    assert {name.split(".")[1] for name in PURE} == {*MATHS}


def test_hooks_are_in_one_file() -> None:
    users = {n for n, p in MODULES.items() if "register_forward" in p.read_text(encoding="utf-8")}
    assert users == {"pruning.statistics.capture"}


@pytest.mark.parametrize("module", ["mwanda", "mwanda.errors"])
def test_a_light_import_stays_light(module: str) -> None:
    heavy = ["torch", "transformers", "datasets", "pyarrow", "numpy", "pydantic"]
    code = (
        f"import sys, {module}\n"
        f"loaded = [name for name in {heavy!r} if name in sys.modules]\n"
        "sys.exit(f'loaded {loaded}' if loaded else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


def test_every_public_name_is_there() -> None:
    assert len(mwanda.__all__) > 30
    for name in mwanda.__all__:
        assert getattr(mwanda, name).__name__ == name
    with pytest.raises(AttributeError, match="purne"):
        mwanda.purne  # noqa: B018
