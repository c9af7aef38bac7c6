"""Weights that do not fit the dtype they are written in are refused by name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import DataError, InputError, RunOptions
from mwanda.methods.gram import GramSums
from mwanda.methods.registry import find_pattern, find_reconstruction
from mwanda.pruning.block_pruner import update_weight
from mwanda.system.finite import is_finite, narrowed
from tests.pruning.pipeline.helpers import Tiny, tensors, token_windows, windows_object
from tests.support.text import write_corpus

NAN, INF = float("nan"), float("inf")
LINEAR = "model.layers.1.mlp.down_proj.weight"


@given(st.lists(st.sampled_from([0.0, -0.0, 1.0, -3e38, NAN, INF, -INF]), max_size=6))
def test_is_finite(values: list[float]) -> None:
    tensor = torch.tensor(values)
    assert is_finite(tensor) == bool(tensor.isfinite().all())


def test_narrowing() -> None:
    wide = torch.tensor([65504.0, -1e-9])
    assert torch.equal(narrowed("x", wide, torch.float16, "?"), wide.half())
    assert narrowed("x", wide, torch.float32, "?") is wide
    message = r"x: expected values that fit float16, found an overflow: up to 7e\+04; narrow less"
    with pytest.raises(DataError, match=message):
        narrowed("x", torch.tensor([1.0, -7e4]), torch.float16, "narrow less")
    with pytest.raises(DataError, match="found NaN or infinity"):
        narrowed("x", torch.tensor([1.0, NAN]), torch.float16, "narrow less")


def test_a_reconstruction_that_overflows_float16_is_refused() -> None:
    """Two inputs that are nearly the same: the weight that stays takes over the other's part."""
    weight = torch.tensor([[60000.0, 60000.0], [1.0, 2.0]]).half()
    mask = torch.tensor([[True, False], [True, True]])
    gram = GramSums(torch.tensor([[1.0, 0.0], [0.99999, 1.0]]))
    row, pattern = find_reconstruction("admm"), find_pattern("unstructured")

    def update(given: torch.Tensor) -> Any:
        return update_weight("block.q", given, mask, gram, row, {}, pattern, 0.5)

    wanted = rf"linear block\.q, reconstruction {row.name}: expected values that fit float16"
    with pytest.raises(DataError, match=wanted + ".*overflow.*; use more calibration text"):
        update(weight)
    kept = update(weight.bfloat16()).weight
    assert kept.dtype == torch.bfloat16
    assert is_finite(kept)


def changed(tiny: Tiny, folder: Path, dtype: torch.dtype, name: str, value: float) -> Path:
    """A copy of a tiny model in a dtype, with one value of a tensor another."""
    shutil.copytree(tiny("llama"), folder)
    weights = {key: tensor.to(dtype) for key, tensor in tensors(folder).items()}
    weights[name].view(-1)[7] = value
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    config["dtype"] = str(dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps(config))
    return folder


PRUNES: dict[str, dict[str, Any]] = {
    "wanda": {"criterion": "wanda", "allocation": "uniform"},
    "magnitude": {"criterion": "magnitude", "allocation": "uniform"},
    "measured": {"criterion": "m-wanda"},
    "admm": {"criterion": "wanda", "allocation": "uniform", "reconstruction": "admm"},
    "sparsegpt": {"criterion": "magnitude", "allocation": "uniform", "reconstruction": "sparsegpt"},
}


@pytest.mark.parametrize("compute", ["auto", "float32"])
@pytest.mark.parametrize("fields", PRUNES.values(), ids=PRUNES)
def test_weights_beyond_float32_are_refused(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], compute: str
) -> None:
    source = changed(tiny, tmp_path / "source", torch.float64, LINEAR, 1e308)
    options = RunOptions(compute_dtype=compute)
    text = None if fields == PRUNES["magnitude"] else windows_object()
    with pytest.raises(DataError, match=r"expected finite"):
        mwanda.prune(source, out=tmp_path / "out", calibration=text, options=options, **fields)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "name", [LINEAR, "model.layers.1.input_layernorm.weight", "model.embed_tokens.weight"]
)
@pytest.mark.parametrize(
    ("stored", "value", "written"),
    [(torch.bfloat16, 1e5, "float16"), (torch.float64, 1e308, "float32")],
    ids=str,
)
def test_a_written_dtype_that_is_too_narrow_is_refused(
    tiny: Tiny, tmp_path: Path, name: str, stored: torch.dtype, value: float, written: str
) -> None:
    source = changed(tiny, tmp_path / "source", stored, name, value)
    wanted = rf"{name}: expected values that fit {written}, found an overflow: up to .*--dtype"
    with pytest.raises(DataError, match=wanted):
        mwanda.prune(source, out=tmp_path / "out", criterion="magnitude", allocation="uniform",
                     sparsity=0.0, dtype=written)  # fmt: skip
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("fields", [PRUNES["wanda"], PRUNES["measured"]], ids=["wanda", "measured"])
@pytest.mark.parametrize("verb", ["prune", "in memory", "statistics"])
def test_skipping_all_of_a_short_language_is_refused(
    tiny: Tiny, tmp_path: Path, fields: dict[str, Any], verb: str
) -> None:
    """Windows that came out shorter than asked for, too."""
    texts = tmp_path / "texts"
    write_corpus(texts, ["de"], lines=400)
    (texts / "sw.txt").write_text("habari za asubuhi\n")
    source = tiny("llama")
    model = AutoModelForCausalLM.from_pretrained(source)
    tokenizer = AutoTokenizer.from_pretrained(source)
    given: dict[str, Any] = {"windows": 2, "window_length": 64, "skip_first_tokens": 40}
    given["calibration"], given["options"] = texts, RunOptions(allow_short=True)
    saved, out = tmp_path / "s.safetensors", tmp_path / "out"
    work: dict[str, Callable[[], Any]] = {
        "statistics": lambda: mwanda.collect_statistics(source, saved, **given),
        "prune": lambda: mwanda.prune(source, out=out, **given, **fields),
        "in memory": lambda: mwanda.prune(model, tokenizer=tokenizer, **given, **fields),
    }
    wanted = "--skip-first-tokens: expected fewer than .* language sw"
    with pytest.raises(InputError, match=wanted):
        work[verb]()


def test_skipping_all_of_a_short_window_file_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    windows = windows_object(token_windows({"de": (2, 24), "sw": (2, 8)}))
    with pytest.raises(InputError, match=r"fewer than the 8 tokens .* language sw, found 8"):
        mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=windows,
                     skip_first_tokens=8, **PRUNES["wanda"])  # fmt: skip
