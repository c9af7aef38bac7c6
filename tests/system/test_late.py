"""A module that is loaded late loads once, whole, and only when something of it is used."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from mwanda.system.late import load_late


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    folder = tmp_path / "heavy_thing"
    folder.mkdir()
    (folder / "__init__.py").write_text("from heavy_thing import part\nvalue = part.value + 1\n")
    (folder / "part.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "heavy_thing"
    for name in [name for name in sys.modules if name.startswith("heavy_thing")]:
        del sys.modules[name]


def test_an_import_alone_loads_nothing(package: str) -> None:
    load_late(package)
    import heavy_thing

    assert "heavy_thing.part" not in sys.modules
    assert heavy_thing.value == 2
    assert "heavy_thing.part" in sys.modules
    assert type(heavy_thing) is type(sys)


def test_an_import_of_a_part_loads_the_whole_first(package: str) -> None:
    load_late(package)
    from heavy_thing.part import value

    assert value == 1
    assert sys.modules[package].value == 2


def test_what_fails_to_load_fails_at_its_use(package: str, tmp_path: Path) -> None:
    (tmp_path / package / "__init__.py").write_text("import heavy_thing.gone\n")
    load_late(package)
    import heavy_thing

    with pytest.raises(ImportError, match="gone"):
        _ = heavy_thing.value
    assert package not in sys.modules


def test_what_is_loaded_or_not_installed_is_left_alone() -> None:
    load_late("json", "no_such_module")
    assert type(sys.modules["json"]) is type(sys)
    assert "no_such_module" not in sys.modules


EARLY = [
    ["--help"],
    ["prune", "--help"],
    ["prune", "nothing", "--out", "x"],
    ["prune", ".", "--out", "no/where", "--calibration", "no"],
    ["prune", ".", "--out", "x", "--calibration", "no"],
    ["prune", ".", "--out", "x", "--calibration", "no.safetensors"],
    ["prune", ".", "--out", "x", "--statistics", "no.safetensors"],
    ["prune", ".", "--out", "x", "--sparsity", "2", "--criterion", "wnda", "--dtype", "int4"],
    ["prune", ".", "--out", "x", "--criterion-option", "dispersion_weight=x"],
    ["prune", ".", "--out", "x", "--recipe", "no.yaml"],
    ["prune", ".", "--out", "x", "--languages", "xx1"],
    ["plan", "nothing"],
    ["eval", "nothing", "--text", "no"],
    ["windows", "nothing", "--out", "x.safetensors", "--calibration", "no"],
    ["stats", "nothing", "--out", "x.safetensors", "--calibration", "no"],
    ["stats", "show", "no"],
    ["stats", "merge", "no", "no", "--out", "x.safetensors"],
    ["verify", "no"],
    ["verify", "."],
    ["diff", "no", "."],
    ["pack", "no", "--out", "x.mwz"],
    ["unpack", "no", "--out", "x"],
    ["gguf-check", "no", "."],
]


def test_a_mistake_in_paths_options_or_recipes_needs_no_torch(tmp_path: Path) -> None:
    code = f"""
import sys
from mwanda.cli import main
for words in {EARLY!r}:
    try:
        main(words)
    except SystemExit as left:
        if left.code != (0 if "--help" in words else 2):
            raise RuntimeError((words, left.code))
    loaded = {{"torch._C", "transformers", "datasets", "pyarrow"}} & set(sys.modules)
    if loaded:
        raise RuntimeError((words, loaded))
import torch
print(torch.ones(1).sum().item())
"""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.endswith("1.0\n")
    assert all(line.startswith("error: ") for line in done.stderr.splitlines())
    assert list(tmp_path.iterdir()) == []
