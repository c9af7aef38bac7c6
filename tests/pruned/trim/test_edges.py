"""A choice by text at its edges, and what a folder names by number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

import mwanda
from mwanda.errors import MwandaError
from mwanda.pruned.trim.choice import _lines
from mwanda.text.sources import open_source
from tests.pruned.trim.test_trim import with_weights
from tests.pruned.trim.vocabularies import learn, save


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = save(learn("byte-fallback"), tmp_path_factory.mktemp("model"))
    return with_weights(folder, tied=False)


def test_a_text_too_short_to_be_tried_on_is_refused(model: Path, tmp_path: Path) -> None:
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "de.txt").write_text("Hallo welt.\n")
    ask: dict[str, Any] = {"by": "text", "text": str(tmp_path / "text")}
    with pytest.raises(MwandaError, match="de without a line to try it on"):
        mwanda.trim(model, tmp_path / "out", "de", **ask)
    assert not (tmp_path / "out").exists()
    assert mwanda.trim(model, tmp_path / "out", "de", allow_loss=True, **ask).plan.kept


@pytest.mark.parametrize(("budget", "multiple", "kept"), [(390, 64, 384), (370, 1, 370)])
def test_a_budget_is_kept_in_whole_multiples(
    model: Path, budget: int, multiple: int, kept: int
) -> None:
    plan = mwanda.plan_trim(
        model, "de", by="text", text="bundled:udhr", budget=budget, multiple=multiple
    )
    assert plan.kept == kept


def test_line_feeds_stay_with_their_line(tmp_path: Path) -> None:
    """A tokenizer may have them in one token with what stands before."""
    row = json.dumps({"text": "\nOne.\n\nTwo.\n \nThree"})
    (tmp_path / "de.jsonl").write_text(row + "\n")
    assert [*_lines(open_source(str(tmp_path)), "de")] == ["One.\n\n", "Two.\n", "Three"]


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_a_token_that_is_named_by_its_number_stays(model: Path, tmp_path: Path, name: str) -> None:
    source, out = shutil.copytree(model, tmp_path / "source"), tmp_path / "out"
    data = json.loads((model / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary: dict[str, int] = data["model"]["vocab"]
    text, number = next((t, i) for t, i in reversed(vocabulary.items()) if "Ж" in t or "п" in t)
    path = source / name
    known = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    path.write_text(json.dumps({**known, "pad_token_id": number}), encoding="utf-8")
    mwanda.trim(source, out, "de")
    made = json.loads((out / "tokenizer.json").read_text(encoding="utf-8"))["model"]["vocab"]
    assert json.loads((out / name).read_text(encoding="utf-8"))["pad_token_id"] == made[text]


def test_damage_is_named_beside_the_whole_source(model: Path, tmp_path: Path) -> None:
    trimmed, pruned = tmp_path / "trimmed", tmp_path / "pruned"
    mwanda.trim(model, trimmed, "de")
    mwanda.prune(trimmed, out=pruned, criterion="magnitude", allocation="uniform")
    assert mwanda.verify(pruned, against=model).problems == ()
    shard = pruned / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    found = mwanda.verify(pruned, against=model)
    assert found.other_base is None
    with pytest.raises(MwandaError, match="contents changed since it was written"):
        found.raise_for_problems(pruned)


def test_masks_of_linears_that_were_not_pruned_are_named(model: Path, tmp_path: Path) -> None:
    how: dict[str, Any] = {"criterion": "magnitude", "allocation": "uniform"}
    masks, out = tmp_path / "masks.safetensors", tmp_path / "out"
    mwanda.prune(model, out=masks, masks_only=True, **how)
    mwanda.prune(model, out=out, exclude=["q_proj"], **how)
    problems = mwanda.verify(out, masks=masks).problems
    assert [one.split(":")[0] for one in problems if one.endswith("not pruned here")] == [
        f"model.layers.{block}.self_attn.q_proj" for block in (0, 1)
    ]


def test_small_rows_have_scales_as_small_as_float16_has() -> None:
    from mwanda.pruned.quantised_forms import form_of

    torch.manual_seed(0)
    rows = torch.randn(8, 128) * 5e-4
    back = form_of("INT8").read_back(rows)
    assert float((back - rows).norm() / rows.norm()) < 0.012
