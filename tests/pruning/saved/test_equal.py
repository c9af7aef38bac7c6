"""A prune from saved statistics is the prune from the text they were taken on, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import AutoModelForCausalLM

import mwanda
from mwanda import RunOptions
from mwanda.methods.registry import ALLOCATIONS, CRITERIA
from mwanda.pruning.folder.manifest import Manifest
from mwanda.pruning.folder.mask_file import MaskFile
from tests.pruning.pipeline.helpers import (
    WEIGHTS,
    Tiny,
    memory_masks,
    same_masks,
    shard_bytes,
    tensors,
    windows_object,
)
from tests.pruning.saved.helpers import LANGUAGES, collected, from_file, from_text, three_windows
from tests.support.experts import EXPERT_FAMILIES
from tests.support.models import FAMILIES


def alike(one: Manifest, other: Manifest) -> None:
    """All that a manifest says of the result and of the text."""
    left_out = {"seconds", "statistics_file", "versions"}
    said, wanted = (m.model_dump(exclude=left_out) for m in (one, other))
    assert said == wanted


@pytest.mark.parametrize("family", [*FAMILIES, "opt", "phi3", "falcon-new", *EXPERT_FAMILIES])
def test_every_family(tiny: Tiny, tmp_path: Path, family: str) -> None:
    source, file = tiny(family), tmp_path / "statistics.safetensors"
    collected(source, file)
    text = from_text(source, tmp_path / "text", expert_tokens=20)
    found = from_file(source, tmp_path / "file", file, expert_tokens=20)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    alike(found.manifest, text.manifest)
    assert found.manifest.statistics == "dense"
    assert not mwanda.verify(tmp_path / "file").problems


@pytest.fixture(scope="module")
def experts(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statistics of a mixture of experts."""
    file = tmp_path_factory.mktemp("experts") / "statistics.safetensors"
    collected(tiny("qwen3_moe"), file)
    return file


@pytest.mark.parametrize(
    ("criterion", "allocation"),
    [
        *((criterion, "cwl") for criterion in CRITERIA),
        *(("wanda", name) for name, row in ALLOCATIONS.items() if row.probe is None),
        ("magnitude", "owl"),
        ("m-ria", "alpha"),
    ],
)
def test_every_criterion_and_allocation(
    tiny: Tiny, tmp_path: Path, experts: Path, criterion: str, allocation: str
) -> None:
    fields = {"criterion": criterion, "allocation": allocation, "language_weights": WEIGHTS}
    fields["masks_only"] = True
    text = from_text(tiny("qwen3_moe"), tmp_path / "text.safetensors", **fields)
    found = from_file(tiny("qwen3_moe"), tmp_path / "file.safetensors", experts, **fields)
    alike(found.manifest, text.manifest)  # with the hash of every mask in it
    assert found.manifest.statistics_file.name == experts.name


@pytest.mark.parametrize("allocation", ["cwl", "owl", "alpha"])
def test_a_sparsity_for_every_linear(
    tiny: Tiny, tmp_path: Path, experts: Path, allocation: str
) -> None:
    fields = {"criterion": "wanda", "allocation": allocation, "allocation_level": "linear"}
    text = from_text(tiny("qwen3_moe"), tmp_path / "text", **fields)
    found = from_file(tiny("qwen3_moe"), tmp_path / "file", experts, **fields)
    alike(found.manifest, text.manifest)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_every_dtype_of_the_source_and_of_the_forward(
    tiny: Tiny, tmp_path: Path, dtype: torch.dtype
) -> None:
    """Signals look at weights as the forward had them."""
    source, file = tiny("llama", dtype=dtype), tmp_path / "statistics.safetensors"
    options = RunOptions(compute_dtype="bfloat16", batch_tokens=48)
    collected(source, file, options=options)
    text = from_text(source, tmp_path / "text", allocation="owl", options=options)
    found = from_file(source, tmp_path / "file", file, allocation="owl")
    assert len(set(text.manifest.signals)) > 1
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    assert found.manifest.compute_dtype == "bfloat16"
    alike(found.manifest, text.manifest)


@pytest.mark.parametrize("reconstruction", [None, "admm"])
def test_first_tokens_left_out_and_activity_by_sign(
    tiny: Tiny, tmp_path: Path, reconstruction: str | None
) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    collected(source, file, gram=True, skip_first_tokens=2)
    fields = {"skip_first_tokens": 2, "reconstruction": reconstruction}
    fields["criterion"] = {"name": "m-wanda", "activity": "sign"}
    text = from_text(source, tmp_path / "text", **fields)
    found = from_file(source, tmp_path / "file", file, **fields)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    alike(found.manifest, text.manifest)


@pytest.mark.parametrize("reconstruction", ["admm", "sparsegpt"])
@pytest.mark.parametrize("allocation", ["uniform", "cwl"])
def test_reconstructions(tiny: Tiny, tmp_path: Path, reconstruction: str, allocation: str) -> None:
    source, file = tiny("gemma3"), tmp_path / "statistics.safetensors"
    weighed = {"language_weights": WEIGHTS}
    made = collected(source, file, gram=True, **weighed)
    assert made.record.gram
    fields = {"reconstruction": reconstruction, "allocation": allocation, **weighed}
    text = from_text(source, tmp_path / "text", **fields)
    # The same weights, written otherwise.
    fields["language_weights"] = {"de": 1.5, "sw": 0.5}
    found = from_file(source, tmp_path / "file", file, **fields)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    assert found.manifest.linears == text.manifest.linears


def test_reconstruction_beside_experts(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("mixtral"), tmp_path / "statistics.safetensors"
    collected(source, file, gram=True)
    fields: dict[str, Any] = {"reconstruction": "admm", "exclude": [r"\.experts\."]}
    from_text(source, tmp_path / "text", **fields)
    from_file(source, tmp_path / "file", file, **fields)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")


@pytest.mark.parametrize("languages", [["sw", "fr"], ["fr"]])
def test_some_of_the_languages_weighed_anew(
    tiny: Tiny, tmp_path: Path, languages: list[str]
) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    windows = windows_object(three_windows())
    collected(source, file, calibration=windows)
    fields = {"languages": languages, "language_weights": {"fr": 3.0}}
    text = from_text(source, tmp_path / "text", calibration=windows, **fields)
    found = from_file(source, tmp_path / "file", file, **fields)
    assert found.manifest.calibration.weights["fr"] in (0.75, 1.0)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    alike(found.manifest, text.manifest)
    everything = from_file(source, tmp_path / "all", file)
    assert everything.manifest.linears != found.manifest.linears


def test_some_of_the_linears(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("qwen3_moe"), tmp_path / "statistics.safetensors"
    collected(source, file, exclude=["o_proj"])
    fields = {"skip_blocks": [1], "exclude": ["o_proj", r"experts\.2\."], "allocation": "cwl"}
    text = from_text(source, tmp_path / "text", **fields)
    found = from_file(source, tmp_path / "file", file, **fields)
    assert shard_bytes(tmp_path / "file") == shard_bytes(tmp_path / "text")
    alike(found.manifest, text.manifest)


@pytest.mark.parametrize("family", ["gpt2", "olmoe"])
def test_a_model_in_memory(tiny: Tiny, tmp_path: Path, family: str) -> None:
    source, file = tiny(family), tmp_path / "statistics.safetensors"
    collected(source, file)
    text, found = (AutoModelForCausalLM.from_pretrained(source) for _ in range(2))
    from_text(text, None, allocation="dlp")
    result = from_file(found, None, file, allocation="dlp")
    same_masks(memory_masks(found), memory_masks(text))
    for name, parameter in found.named_parameters():
        assert torch.equal(parameter, text.get_parameter(name))
    assert result.manifest.statistics_file.name == file.name


def test_the_same_model_in_another_dtype(tiny: Tiny, tmp_path: Path) -> None:
    """A bf16 checkpoint loaded in float32 is the model that was looked at."""
    source, file = tiny("llama", dtype=torch.bfloat16), tmp_path / "statistics.safetensors"
    collected(source, file)
    wide = AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32)
    from_file(wide, None, file)
    found = from_file(source, tmp_path / "out", file, dtype="float32")
    assert found.manifest.dtype == "float32"


def test_there_is_no_forward(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    collected(source, file)
    calls: list[str] = []
    handle = register_module_forward_pre_hook(lambda m, _: calls.append(type(m).__name__))
    try:
        from_file(source, tmp_path / "file", file, allocation="owl")
        assert not calls
        from_text(source, tmp_path / "text", allocation="owl")
        assert calls
    finally:
        handle.remove()


def test_what_needs_no_text_looks_at_no_statistics(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    collected(source, file)
    found = from_file(source, tmp_path / "file", file, criterion="magnitude", allocation="uniform")
    assert found.manifest.calibration is found.manifest.statistics_file is None
    assert found.manifest.statistics == "none"


# --- masks alone ---


@pytest.mark.parametrize("family", ["gpt2", "llama", "mixtral"])
@pytest.mark.parametrize("mode", ["dense", "sequential"])
def test_masks_alone_are_those_of_the_folder(
    tiny: Tiny, tmp_path: Path, family: str, mode: str
) -> None:
    source, out = tiny(family), tmp_path / "masks.safetensors"
    text = from_text(source, tmp_path / "text", mode=mode)
    result = from_text(source, out, mode=mode, masks_only=True)
    assert result.folder is None
    assert result.masks == out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["masks.safetensors", "text"]
    found = MaskFile.open(out)
    alike(found.manifest.model_copy(update={"files": text.manifest.files}), text.manifest)
    stored = tensors(tmp_path / "text")
    dense = tensors(source)
    for name, record in found.manifest.linears.items():
        if record.box is None:
            weight, before = stored[record.tensor], dense[record.tensor]
        else:
            box = tuple(slice(*sides) for sides in record.box)
            weight, before = stored[record.tensor][box], dense[record.tensor][box]
        shape = record.shape[::-1] if record.transposed else record.shape
        weight, before = (tensor.reshape(shape) for tensor in (weight, before))
        turned = weight.t() if record.transposed else weight
        assert bool((before != 0).all())
        assert torch.equal(found.mask(name), turned != 0)
    assert len(found.linears) == text.manifest.totals.linears


def test_masks_from_statistics(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    collected(source, file)
    text = from_text(source, tmp_path / "text.safetensors", masks_only=True)
    found = from_file(source, tmp_path / "file.safetensors", file, masks_only=True)
    assert found.manifest.linears == text.manifest.linears
    masks = [MaskFile.open(tmp_path / f"{name}.safetensors") for name in ("text", "file")]
    same_masks(*({name: each.mask(name) for name in each.linears} for each in masks))
    assert masks[0].record.linears_sha256 == masks[1].record.linears_sha256 is not None
    assert list(found.manifest.calibration.weights) == LANGUAGES


def test_the_mode_is_dense_at_any_sparsity(tiny: Tiny, tmp_path: Path) -> None:
    source, file = tiny("llama"), tmp_path / "statistics.safetensors"
    collected(source, file)
    recipe = mwanda.Recipe.build({"sparsity": 0.2})  # sequential and measured, were it from text
    found = mwanda.prune(source, out=tmp_path / "out", statistics=file, recipe=recipe)
    assert found.manifest.recipe["mode"] == found.manifest.statistics == "dense"
