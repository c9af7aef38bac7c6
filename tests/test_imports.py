"""Who may import whom: read off the source, so that a late import inside a function counts too."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import mwanda

ROOT = Path(mwanda.__file__).parent
MODULES = {
    ".".join(("mwanda", *path.relative_to(ROOT).with_suffix("").parts)): path
    for path in sorted(ROOT.rglob("*.py"))
}

LAYERS: tuple[tuple[str, ...], ...] = (
    (
        "arguments",
        "errors",
        "faults",
        "durable",
        "heap",
        "late",
        "mask_overlap",
        "progress",
        "threads",
    ),
    ("device", "extras", "options", "text"),
    ("ranks", "finite", "surroundings"),
    ("statistics", "criteria", "allocation", "patterns", "reconstruction", "model", "archive"),
    ("method_kinds", "activations", "journal"),
    ("registry",),
    (
        "recipe",
        "recipe_conflicts",
        "recipe_file",
        "recipe_method",
        "recipe_values",
        "mask_overlap",
        "masks",
        "updates",
        "passes",
        "units",
    ),
    ("forward_memory", "manifest", "memory", "work", "outcome"),
    ("saved",),
    ("blocks",),
    ("signals",),
    ("pipeline", "evaluation", "tasks", "made_with", "card", "zeros", "kernel"),
    ("jobs", "report", "study", "zeros_callback"),
    ("cli", "demo"),
    ("__main__", "__init__"),
)
"""A module imports from its own layer and those above it in this list, never from below."""

MATHS = ("criteria", "allocation", "patterns", "reconstruction")
SUMS = ("mwanda.statistics.sums", "mwanda.statistics.gram")
PURE = sorted(name for name in MODULES if name.split(".")[1] in MATHS or name in SUMS)
FILES = {"os", "io", "pathlib", "shutil", "tempfile", "subprocess", "socket", "json", "pickle"}


def imports(path: Path) -> Iterator[str]:
    """Every module a file imports, wherever in it, but not for type checkers only."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            skipped |= set(ast.walk(node))
        if node in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            module = node.module or ""
            for alias in node.names:
                full = f"{module}.{alias.name}"
                yield full if full in MODULES or f"{full}.__init__" in MODULES else module


def layer(module: str) -> int:
    part = module.split(".")[1] if "." in module else "__init__"
    places = [index for index, names in enumerate(LAYERS) if part in names]
    assert places, f"{module} is in no layer: put it into LAYERS"
    return places[0]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_imports_one_that_comes_later(name: str) -> None:
    own = [module for module in imports(MODULES[name]) if module.split(".")[0] == "mwanda"]
    later = [module for module in own if layer(module) > layer(name)]
    assert not later


@pytest.mark.parametrize("name", PURE)
def test_the_maths_imports_torch_and_itself_only(name: str) -> None:
    for module in imports(MODULES[name]):
        root = module.split(".")[0]
        if root == "mwanda":
            assert module in PURE, module
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
    assert {name.split(".")[1] for name in PURE} == {*MATHS, "statistics"}


def test_hooks_are_in_one_file() -> None:
    users = {n for n, p in MODULES.items() if "register_forward" in p.read_text(encoding="utf-8")}
    assert users == {"mwanda.statistics.capture"}


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
    for name in mwanda.__all__:
        assert getattr(mwanda, name).__name__ == name
    assert set(mwanda._PLACES) == set(mwanda.__all__)
    with pytest.raises(AttributeError, match="no attribute 'purne'"):
        mwanda.purne  # noqa: B018
