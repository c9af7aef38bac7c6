"""Mixtures of experts pruned from folder to folder and in memory, against the float64 oracle."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import InputError, RunOptions
from mwanda.pruning.folder.experts_table import block_table, expert_summary, language_table
from mwanda.pruning.folder.manifest_records import ExpertsRecord
from mwanda.pruning.statistics.routed import Routing
from tests.model.run.experts.helpers import all_masks, granite, model_masks, pruned
from tests.pruning.pipeline.helpers import (
    WEIGHTS,
    Tiny,
    memory_masks,
    same_masks,
    tensors,
    token_windows,
    windows_object,
)
from tests.support import experts as oracle
from tests.support.experts import EXPERT_FAMILIES
from tests.support.models import HIDDEN, tiny_tokenizer
from tests.support.text import write_corpus
from tests.support.walk import plain, streamed

TIE = 1e-6


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_masks_are_the_oracles(tiny: Tiny, tmp_path: Path, family: str) -> None:
    source = tiny(family)
    expected = oracle.prune(source, token_windows(), WEIGHTS, minimum=20)
    assert expected.margin > TIE
    for compute in ("float64", "float32"):
        out = tmp_path / compute
        result = pruned(source, out, compute=compute, expert_tokens=20)
        same_masks(all_masks(out), expected.masks)
    assert result.manifest.linears.keys() == expected.masks.keys()
    assert bool(result.manifest.experts.fallbacks) is (family != "mixtral")


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_masks_without_the_first_tokens_are_the_oracles(
    tiny: Tiny, tmp_path: Path, family: str
) -> None:
    source = tiny(family)
    expected = oracle.prune(source, token_windows(), WEIGHTS, minimum=20, skip=2)
    assert expected.margin > TIE
    fields = {"expert_tokens": 20, "skip_first_tokens": 2}
    result = pruned(source, tmp_path / "out", compute="float64", **fields)
    same_masks(all_masks(tmp_path / "out"), expected.masks)
    counts = result.manifest.experts.counts()
    tokens = sum(n or 0 for language in counts.values() for n in language["de"])
    assert tokens % (token_windows()["de"][:, 2:].numel()) == 0


@pytest.mark.parametrize("family", EXPERT_FAMILIES)
def test_the_folder_has_the_sources_own_tensors(tiny: Tiny, tmp_path: Path, family: str) -> None:
    source = tiny(family, max_shard_size="60KB")
    out = tmp_path / "out"
    result = mwanda.prune(
        source,
        out=out,
        calibration=windows_object(),
        criterion="wanda",
        options=RunOptions(max_shard_size=60_000),
    )
    before, after = tensors(source), tensors(out)
    index = json.loads((out / "model.safetensors.index.json").read_text())["weight_map"]
    known = json.loads((source / "model.safetensors.index.json").read_text())["weight_map"]
    assert index.keys() == known.keys() == before.keys()
    changed = {record.tensor for record in result.manifest.linears.values()}
    assert len(changed) == len(result.manifest.linears)
    inside = "block_sparse_moe.experts.1.w3" if family == "mixtral" else "mlp.experts.1.up_proj"
    record = result.manifest.linears["model.layers.0.mlp.experts.1.up_proj"]
    assert record.tensor == f"model.layers.0.{inside}.weight"
    for name, tensor in after.items():
        assert tensor.shape == before[name].shape
        kept = torch.equal(tensor, before[name])
        assert kept is (name not in changed)
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name]))
    assert not mwanda.verify(out).problems
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("allocation", "level", "mode"),
    [
        ("owl", "block", "sequential"),
        ("owl", "linear", "dense"),
        ("cwl", "block", "dense"),
        ("measured", "block", "sequential"),
        ("measured", "linear", "dense"),
        ("measured", "role", "dense"),
        ("owl", "role", "dense"),
    ],
)
def test_a_model_in_memory_is_masked_as_its_folder(
    tiny: Tiny, tmp_path: Path, allocation: str, level: str, mode: str
) -> None:
    fields: dict[str, Any] = {"criterion": "m-wanda", "allocation": allocation, "mode": mode}
    fields["allocation_level"] = level
    model = AutoModelForCausalLM.from_pretrained(tiny("olmoe"))
    before = {name: p.clone() for name, p in model.named_parameters() if ".experts." in name}
    result = mwanda.prune(
        model, calibration=windows_object(), language_weights=WEIGHTS, expert_tokens=20, **fields
    )
    folder = pruned(tiny("olmoe"), tmp_path / "out", expert_tokens=20, **fields)
    same_masks(memory_masks(model) | model_masks(model), all_masks(tmp_path / "out"))
    assert result.manifest.experts == folder.manifest.experts
    linears = result.manifest.linears
    units = {"block": 3, "role": 3 * (4 + 3), "linear": len(linears)}[level]
    assert len(result.manifest.signals) == units
    for signal in result.manifest.signals:
        numbers = signal.errors["de"] if allocation == "measured" else [signal]
        assert all(math.isfinite(number) for number in numbers)
    assert abs(result.manifest.totals.sparsity - 0.5) < 1 / 24
    gates = {r.sparsity for n, r in linears.items() if re.search(r"layers\.1\..*gate_proj$", n)}
    assert (len(gates) == 1) is (level != "linear")
    for name, parameter in model.named_parameters():
        if name in before:
            assert torch.equal(parameter, torch.where(parameter == 0, 0, before[name]))


def test_an_expert_that_no_compared_token_reached_gets_the_target(tiny: Tiny) -> None:
    """In a batch of another shape products round otherwise, which must not look like an error."""
    model = AutoModelForCausalLM.from_pretrained(tiny("olmoe"))
    result = mwanda.prune(
        model,
        calibration=windows_object(token_windows({"de": (16, 3), "sw": (16, 3)})),
        allocation="measured",
        allocation_level="linear",
        expert_tokens=1,
    )
    linears = list(result.manifest.linears.values())
    signals = zip(linears, result.manifest.signals, strict=True)
    none = [linear for linear, signal in signals if not any(map(any, signal.errors.values()))]
    assert 0 < len(none) < len(linears)
    columns = {linear.shape[1] for linear in none}
    assert {round(linear.sparsity, 9) for linear in none} == {int(n * 0.5) / n for n in columns}


def test_bfloat16_that_is_widened_for_the_forward(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("mixtral", dtype=torch.bfloat16)
    pruned(source, tmp_path / "out")
    before, after = tensors(source), tensors(tmp_path / "out")
    assert {tensor.dtype for tensor in after.values()} == {torch.bfloat16}
    for name, tensor in after.items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name]))


def test_experts_that_saw_no_token(tiny: Tiny, tmp_path: Path) -> None:
    """Few tokens do not reach twelve experts: the others go by magnitude, and it says so."""
    source, out = tiny("olmoe"), tmp_path / "out"
    windows = windows_object({"de": torch.tensor([[5, 6]]), "sw": torch.tensor([[70, 71]])})
    result = pruned(source, out, calibration=windows, expert_tokens=1, compute="float64")
    record = result.manifest.experts
    counts = record.counts()["model.layers.0.mlp.experts"]
    unseen = [n for n in range(12) if counts["de"][n] == counts["sw"][n] == 0]
    assert unseen
    for number in unseen:
        for leaf in ("gate_proj", "up_proj", "down_proj"):
            name = f"model.layers.0.mlp.experts.{number}.{leaf}"
            assert record.fallbacks[name] == 0
            weight = tensors(source)[f"{name}.weight"]
            mask = tensors(out)[f"{name}.weight"] != 0
            kept = weight.abs().sort(dim=1, descending=True).values[:, weight.shape[1] // 2 - 1]
            assert torch.equal(mask, weight.abs() >= kept[:, None])
    read = mwanda.verify(out).manifest.experts
    assert read == record
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "## Experts" in card
    assert "were pruned by magnitude" in card
    seen = all_masks(out)
    expected = oracle.prune(source, windows.tokens, WEIGHTS, minimum=1)
    same_masks(seen, expected.masks)


def test_experts_stored_as_one_tensor(tmp_path: Path) -> None:
    """Granite keeps its experts fused on disk too: each is written into its own stretch."""
    source, out = granite(tmp_path / "granite"), tmp_path / "out"
    result = pruned(source, out, exclude=["experts.1.up_proj"])
    stored = "model.layers.0.block_sparse_moe.input_linear.weight"
    before, after = tensors(source), tensors(out)
    assert before.keys() == after.keys()
    assert stored in before
    record = result.manifest.linears["model.layers.0.block_sparse_moe.experts.2.up_proj"]
    assert (record.tensor, record.box) == (stored, ((2, 3), (40, 80), (0, HIDDEN)))
    zeros = (after[stored] == 0).sum(dim=2)
    assert set(zeros.reshape(-1).tolist()) == {0, HIDDEN // 2}
    assert not zeros[1, 40:].any()  # what was left out
    for name, tensor in after.items():
        assert torch.equal(tensor, torch.where(tensor == 0, 0, before[name]))
    assert not mwanda.verify(out).problems
    torch.testing.assert_close(streamed(out), plain(out), rtol=1e-5, atol=1e-5)
    narrow = tmp_path / "bf16"
    pruned(source, narrow, dtype="bfloat16")
    half = tensors(narrow)[stored]
    assert half.dtype == torch.bfloat16
    assert torch.equal(half, torch.where(half == 0, 0, before[stored].bfloat16()))
    assert not mwanda.verify(narrow).problems
    after[stored][2, 41] = 1.0
    save_file(after, out / "model.safetensors", metadata={"format": "pt"})
    assert any("experts.2.up_proj" in problem for problem in mwanda.verify(out).problems)


def test_an_incomplete_set_of_experts_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    source = tmp_path / "source"
    AutoModelForCausalLM.from_pretrained(tiny("mixtral")).save_pretrained(source)
    tiny_tokenizer().save_pretrained(source)
    stored = tensors(source)
    del stored["model.layers.1.block_sparse_moe.experts.2.w2.weight"]
    save_file(stored, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"\[4, 48, 40\] of model\.layers\.1.*found \[3, 48, 40\]"):
        pruned(source, tmp_path / "out")


def test_a_reconstruction_leaves_experts_out_or_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    source, out = tiny("mixtral"), tmp_path / "out"
    with pytest.raises(
        InputError, match=r"reconstruction admm: .*experts\.0\.gate_proj and 35 more"
    ):
        pruned(source, out, reconstruction="admm")
    made = pruned(source, out, reconstruction="admm", exclude=[r"\.experts\."]).manifest
    assert all("self_attn" in name for name in made.linears)
    assert made.experts is None


def test_a_mixture_is_evaluated(tiny: Tiny, tmp_path: Path) -> None:
    source, out = tiny("qwen3_moe"), tmp_path / "out"
    pruned(source, out)
    write_corpus(tmp_path / "test", ["de", "sw"], lines=6, seed=9)
    texts = mwanda.read_texts(tmp_path / "test", sentences=3, seed=2)
    compared = mwanda.Comparison.of(mwanda.evaluate(source, texts), mwanda.evaluate(out, texts))
    assert all(rise.rise != 0 for rise in compared.rises)


def test_a_plan_counts_what_is_pruned(tiny: Tiny, tmp_path: Path) -> None:
    recipe = mwanda.Recipe.build({"criterion": "magnitude"})
    plan = mwanda.plan(tiny("mixtral"), recipe=recipe)
    made = mwanda.prune(tiny("mixtral"), out=tmp_path / "out", recipe=recipe).manifest
    assert (plan.linears, plan.weights) == (made.totals.linears, made.totals.weights)
    assert plan.removed == made.totals.pruned
    assert made.experts is None  # no text, so nobody knows who serves whom


def test_one_expert_alone_that_a_language_does_not_reach(tiny: Tiny, tmp_path: Path) -> None:
    source = tiny("olmoe")
    windows = windows_object({"de": torch.tensor([[5, 6]]), "sw": torch.tensor([[70, 71]])})
    tags: set[tuple[str, ...]] = set()
    for number in range(6):
        record = pruned(
            source,
            tmp_path / str(number),
            calibration=windows,
            include=[rf"experts\.{number}\.", "layers.0.self_attn"],
        ).manifest.experts
        tags |= {tuple(languages) for languages in record.routing.values()}
        assert [row[0][:2] for row in language_table(record)[1]] == ["de", "sw"]
    assert len(tags) > 1  # in some blocks only one of them is known


def test_tables_say_who_serves_whom() -> None:
    routing: Routing = {
        "model.layers.3.mlp.experts": {"de": [30, 10, 0, None], "sw": [0, 5, 0, None]},
        "model.layers.4.mlp.experts": {"de": [10, 10, 20, 0], "sw": [1, 1, 2, 1]},
    }
    fallbacks = {"model.layers.3.mlp.experts.1.up_proj": 15}
    record = ExpertsRecord.of(routing, fallbacks, 16)
    assert record is not None
    assert record.counts() == routing
    assert record.routing["model.layers.3.mlp.experts"]["sw"] == "0 5 0 -"
    assert expert_summary(record).startswith("7 experts in 2 blocks; 1 saw no token; 1 saw fewer")
    _, rows = language_table(record)
    assert [row[1] for row in rows] == ["5 of 7", "5 of 7"]
    assert "3.0 100%" in rows[0][2]
    assert rows[1][3].startswith("3.1 100%")
    _, rows = block_table(record)
    assert rows == [["3", "3", "1", "1", "0: 100% de"], ["4", "4", "0", "0", "3: 100% sw"]]
    assert ExpertsRecord.of({}, {}, 16) is None
