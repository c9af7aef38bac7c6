"""What the tests of the pipeline share: windows of tokens, and reading what was written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import AutoModelForCausalLM

from mwanda.text.window_files import LanguageDraw, Windows
from tests.support.models import VOCABULARY
from tests.support.oracle import Inputs, linears_of, matrix, measure

Tiny = Callable[..., Path]
WEIGHTS = {"de": 3.0, "sw": 1.0}
SHARE = {"de": 0.75, "sw": 0.25}
"""The same, summing to 1."""

TIE = 1e-6
"""Two scores nearer than that could change places by rounding alone."""

COUNTS = {"de": (5, 24), "sw": (2, 20)}


def token_windows(
    counts: Mapping[str, tuple[int, int]] = COUNTS, seed: int = 1
) -> dict[str, torch.Tensor]:
    """Random tokens ``[windows, length]``, each language with a part of the vocabulary its own."""
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for place, (tag, shape) in enumerate(counts.items()):
        low = 3 + 60 * place
        found[tag] = torch.randint(low, min(low + 180, VOCABULARY), shape, generator=generator)
    return found


def windows_file(folder: Path, **options: Any) -> Path:
    """Windows as another tool would write them: tensors by language, nothing more."""
    path = folder / "windows.safetensors"
    save_file(token_windows(**options), path)
    return path


def windows_object(tokens: Mapping[str, torch.Tensor] | None = None) -> Windows:
    """The same windows in memory."""
    found = dict(tokens or token_windows())
    draws = {
        tag: LanguageDraw(tag, ids.shape[0], ids.numel(), 0, 0, 0, 0, "", "", None)
        for tag, ids in found.items()
    }
    return Windows(found, draws, "made up", None, "as given", None)


def tensors(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor of a folder's shards."""
    found: dict[str, torch.Tensor] = {}
    for shard in sorted(folder.glob("*.safetensors")):
        with safe_open(shard, framework="pt") as file:
            found |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return found


def shard_bytes(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.safetensors"))}


def masks_of(folder: Path) -> dict[str, torch.Tensor]:
    """Linear -> nonzero positions ``[out, in]``, as plain transformers sees the folder."""
    model = AutoModelForCausalLM.from_pretrained(folder)
    return {name: matrix(module) != 0 for name, module in linears_of(model)}


def dense_inputs(folder: Path, skip: int = 0) -> tuple[Any, dict[str, Inputs]]:
    """The model in float64 and what goes into each linear of it, unpruned."""
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float64).eval()
    names = [name for name, _ in linears_of(model)]
    return model, measure(model, names, token_windows(), SHARE, skip)


def memory_masks(model: Any) -> dict[str, torch.Tensor]:
    return {name: matrix(module) != 0 for name, module in linears_of(model)}


def same_masks(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> None:
    """Every entry of every mask."""
    assert one.keys() == other.keys()
    different = {name: int((one[name] ^ other[name]).sum()) for name in one}
    assert not any(different.values()), {n: c for n, c in different.items() if c}
