"""A folder that the same prune wrote earlier is known again, and nothing else is taken for it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import mwanda
from mwanda import RunOptions
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.pruning.prune_folder import finished_before
from mwanda.pruning.recipe.asked import Recipe
from mwanda.pruning.recipe.resolved import resolve
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

FIELDS: dict[str, Any] = {"criterion": "wanda", "allocation": "uniform", "windows": 2,
                          "window_length": 32, "background": "others"}  # fmt: skip


def test_only_the_same_prune_of_the_same_model_on_the_same_text(
    tiny: Tiny, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path / "text", ["de", "sw"], lines=60)
    write_corpus(tmp_path / "others", ["fr", "hi"], lines=60, seed=1)
    model = shutil.copytree(tiny("llama"), tmp_path / "model")
    out, text = tmp_path / "out", tmp_path / "text"

    def found(source: Path = model, **fields: Any) -> bool:
        recipe = resolve(Recipe.build(FIELDS | fields))
        made = finished_before(str(source), out, text, recipe, RunOptions())
        return made is not None

    assert not found()  # nothing is there
    mwanda.prune(model, out=out, calibration=text, recipe=FIELDS)
    again = finished_before(str(model), out, text, resolve(Recipe.build(FIELDS)), RunOptions())
    assert again is not None
    assert (again.folder, again.manifest) == (out, read_manifest(out))
    assert found(shutil.copytree(model, tmp_path / "moved"))
    assert not found(seed=1)
    assert not found(languages=["de"])
    assert not found(sparsity=0.4)
    assert not found(background="none")
    assert not found(tiny("qwen3"))
    weights = out / "model.safetensors"
    kept = weights.read_bytes()
    weights.write_bytes(kept[:-1] + bytes([kept[-1] ^ 1]))
    assert not found()
    weights.unlink()
    assert not found()
    weights.write_bytes(kept)
    assert found()
    write_corpus(text, ["de", "sw"], lines=60, seed=7)
    assert not found()
