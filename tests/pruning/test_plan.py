"""A plan says what the prune then does, and leaves no trace."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook

import mwanda
from mwanda import InputError, Recipe, RunOptions
from mwanda.model.stored.layout import read_header
from mwanda.model.stored.reader import Checkpoint
from mwanda.pruning import prune_folder
from mwanda.pruning.recipe.resolved import resolve
from mwanda.pruning.schedule import Schedule
from tests.pruning.pipeline.helpers import tensors, token_windows, windows_file
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

TOKENS = sum(ids.numel() for ids in token_windows().values())


@contextmanager
def counted(kind: str) -> Iterator[list[int]]:
    """Tokens that went through every module of a class with real weights, call by call."""
    calls: list[int] = []

    def note(module: torch.nn.Module, args: Any) -> None:
        if type(module).__name__ == kind:
            assert not any(parameter.is_meta for parameter in module.parameters())
            calls.append(args[0].shape[0] * args[0].shape[1])

    handle = register_module_forward_pre_hook(note)
    try:
        yield calls
    finally:
        handle.remove()


@contextmanager
def bytes_read() -> Iterator[list[int]]:
    """Bytes of every read of a checkpoint's tensors."""
    sizes: list[int] = []
    original = Checkpoint.read_bytes

    def noting(self: Checkpoint, name: str, start: int, into: memoryview) -> None:
        sizes.append(len(into))
        original(self, name, start, into)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Checkpoint, "read_bytes", noting)
        yield sizes


@pytest.mark.parametrize(
    "fields",
    [
        {"criterion": "wanda", "allocation": "uniform"},
        {},
        {"mode": "dense"},
        {"mode": "dense", "criterion": "wanda", "allocation": "uniform"},
        {"criterion": "magnitude"},
        {"criterion": "magnitude", "allocation": "owl"},
        {"criterion": "wanda", "allocation": "uniform", "skip_blocks": [1]},
        {"allocation": "cwl", "skip_blocks": [2], "include": ["mlp"]},
        {"criterion": "wanda", "allocation": "alpha"},
        {"criterion": "wanda", "allocation": "dlp", "pattern": "unstructured-matrix"},
        {"criterion": "wanda", "allocation": "measured"},
        {"criterion": "magnitude", "allocation": "measured", "skip_blocks": [1]},
        {
            "mode": "sequential",
            "allocation": {"name": "measured", "windows": 0, "steps": 1},
            "allocation_level": "linear",
            "include": ["mlp"],
        },
        {"sparsity": 0.1, "allocation": {"name": "measured", "windows": 3}},
        {"criterion": "wanda", "allocation": "owl", "allocation_level": "linear"},
        {"pattern": "2:4"},
        {"reconstruction": "admm"},
        {"reconstruction": "sparsegpt", "mode": "dense", "criterion": "magnitude"},
        {"reconstruction": "admm", "mode": "dense", "allocation": "uniform"},
        {"reconstruction": "sparsegpt", "allocation": "alpha", "criterion": "m-wanda"},
        {"sparsity": 0},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_the_numbers_are_those_of_the_prune(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any]
) -> None:
    source, windows = tiny("llama"), windows_file(tmp_path)
    recipe = resolve(Recipe.build(fields))
    options = RunOptions(batch_tokens=48, activation_memory=5000, journal=False)
    before = sorted(tmp_path.rglob("*"))
    plan = mwanda.plan(source, recipe=recipe, calibration=windows, options=options)
    assert sorted(tmp_path.rglob("*")) == before
    # A norm sits in every block twice and an MLP once; nothing outside the blocks has one.
    with counted("LlamaMLP") as calls, bytes_read() as read:
        result = mwanda.prune(
            source, out=tmp_path / "out", calibration=windows, recipe=recipe, options=options
        )
    manifest, written = result.manifest, tensors(tmp_path / "out")
    assert plan.blocks == 3
    assert plan.linears == len(manifest.linears)
    assert plan.weights == manifest.totals.weights
    assert plan.removed == pytest.approx(manifest.totals.pruned, abs=plan.weights // 48)
    assert plan.model_weights == manifest.totals.model_weights
    assert plan.passes * TOKENS + plan.compared == sum(calls)
    assert plan.tokens == (TOKENS if recipe.needs_text else 0)
    assert plan.languages == (("de", "sw") if recipe.needs_text else ())
    assert plan.dtype == manifest.dtype
    assert plan.compute_dtype == manifest.compute_dtype
    assert plan.bytes_read == sum(read)
    assert plan.bytes_written == sum(tensor.nbytes for tensor in written.values())
    shards = list((tmp_path / "out").glob("*.safetensors"))
    assert plan.bytes_written == sum(i.nbytes for path in shards for i in read_header(path)[0])
    spilled = plan.disk - plan.bytes_written
    if Schedule.of(recipe, saved=False).keeps_grams:
        spilled -= sum(r.shape[1] ** 2 * 4 for r in manifest.linears.values())
    assert spilled == pytest.approx(result.spilled, abs=5000)
    assert (plan.flops > 0) is bool(calls)
    assert (plan.compute_seconds > 0) is bool(calls)
    limit = result.limit
    assert limit is not None
    assert (limit.flops, limit.bytes_read) == (plan.flops, plan.bytes_read)
    assert limit.bytes_written == plan.bytes_written
    assert limit.compute_seconds + limit.disk_seconds > 0
    assert limit.share == pytest.approx((limit.compute_seconds + limit.disk_seconds) / limit.wall)


def test_work_in_a_narrower_dtype_reads_the_weights_again(tiny: Tiny, tmp_path: Path) -> None:
    source, windows = tiny("llama"), windows_file(tmp_path)
    options, recipe = RunOptions(compute_dtype="bfloat16"), Recipe.build({})
    plan = mwanda.plan(source, recipe=recipe, calibration=windows, options=options)
    with bytes_read() as read:
        mwanda.prune(
            source, out=tmp_path / "out", calibration=windows, recipe=recipe, options=options
        )
    assert plan.bytes_read == sum(read)


def test_the_operations_are_those_of_the_matrices_and_of_attention(
    tiny: Tiny, tmp_path: Path
) -> None:
    recipe = Recipe.build({"mode": "dense", "criterion": "wanda", "allocation": "uniform"})
    plan = mwanda.plan(tiny("llama"), recipe=recipe, calibration=windows_file(tmp_path))
    matrices = 2 * TOKENS * plan.weights
    attention = 3 * 4 * TOKENS * 24 * 48  # blocks, two products, longest window, heads · width
    assert plan.flops == matrices + attention


@pytest.mark.parametrize("name", ["admm", "sparsegpt"])
def test_a_reconstruction_adds_its_gram_matrices_and_updates(
    tiny: Tiny, tmp_path: Path, name: str
) -> None:
    source, windows = tiny("llama"), windows_file(tmp_path)
    given = {"mode": "dense", "criterion": "wanda", "allocation": "uniform"}
    plain = mwanda.plan(source, recipe=Recipe.build(given), calibration=windows)
    recipe = Recipe.build(given | {"reconstruction": name})
    made = mwanda.prune(source, out=tmp_path / "out", calibration=windows, recipe=recipe)
    shapes = [record.shape for record in made.manifest.linears.values()]
    grams = sum(TOKENS * columns**2 * 9 // 8 for _, columns in shapes)
    updates = sum(
        columns**3 + 2 * rows * columns**2 * (30 + 4)
        if name == "admm"
        else columns**3 * 4 // 3 + rows * columns**2
        for rows, columns in shapes
    )
    assert made.limit is not None
    assert made.limit.flops == plain.flops + grams + updates


@pytest.mark.parametrize("family", ["gpt2", "gemma3", "bloom"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_other_families(tiny: Tiny, tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    source, recipe = tiny(family, dtype=dtype), Recipe.build({"criterion": "magnitude"})
    plan = mwanda.plan(source, recipe=recipe)
    manifest = mwanda.prune(source, out=tmp_path / "out", recipe=recipe).manifest
    assert (plan.linears, plan.weights) == (manifest.totals.linears, manifest.totals.weights)
    assert plan.removed == manifest.totals.pruned
    assert plan.model_weights == manifest.totals.model_weights
    written = tensors(tmp_path / "out")
    assert plan.bytes_written == sum(tensor.nbytes for tensor in written.values())


def test_text_is_counted_by_the_recipe(tiny: Tiny, tmp_path: Path) -> None:
    write_corpus(tmp_path / "text", ["de", "sw", "hi"], lines=20)
    recipe = Recipe.build({"windows": 4, "window_length": 16, "languages": ["de", "hi"]})
    plan = mwanda.plan(tiny("llama"), recipe=recipe, calibration=tmp_path / "text")
    assert plan.languages == ("de", "hi")
    assert plan.tokens == 2 * 4 * 16
    result = mwanda.prune(
        tiny("llama"), out=tmp_path / "out", recipe=recipe, calibration=tmp_path / "text"
    )
    assert result.windows is not None
    assert result.windows.total_tokens == plan.tokens


@pytest.mark.parametrize(
    ("fields", "calibration", "message"),
    [
        ({}, None, "--calibration: expected text for criterion m-wanda"),
        ({"languages": ["fr"]}, "windows", "fr"),
        ({"window_length": 256, "windows": 1}, "text", "context of 128 tokens, found 256"),
        ({"pattern": "3:5"}, "windows", "input widths divisible by 5"),
        ({"skip_blocks": [7]}, "windows", "block numbers from 0 to 2, found 7"),
        ({"include": ["nothing"]}, "windows", "found nothing, which is in none"),
        ({"exclude": ["."]}, "windows", "at least one linear to prune"),
    ],
)
def test_a_plan_refuses_what_the_prune_would(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], calibration: str | None, message: str
) -> None:
    write_corpus(tmp_path / "text", ["de"], lines=20)
    given = {"windows": windows_file(tmp_path), "text": tmp_path / "text", None: None}[calibration]
    recipe = Recipe.build(fields)
    with pytest.raises(InputError, match=message):
        mwanda.plan(tiny("llama"), recipe=recipe, calibration=given)
    with pytest.raises(InputError, match=message):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", recipe=recipe, calibration=given)
    assert not (tmp_path / "out").exists()


def test_no_room_to_measure_the_disk_leaves_the_prune_whole(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(prune_folder, "disk_rates", full)
    options = RunOptions(journal=False)
    out = tmp_path / "out"
    made = mwanda.prune(
        tiny("llama"), out=out, criterion="magnitude", allocation="uniform", options=options
    )
    assert made.limit is None
    assert not mwanda.verify(out, against=tiny("llama")).problems
