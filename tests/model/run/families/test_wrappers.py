"""Models with a vision tower: the text decoder inside is pruned, the rest stays bit for bit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    CONFIG_MAPPING,
    AutoModelForImageTextToText,
    Gemma3ForCausalLM,
    PreTrainedConfig,
)

import mwanda
from mwanda import RunOptions
from mwanda.model.opening import open_decoder
from mwanda.model.source import open_model
from tests.pruning.pipeline.helpers import memory_masks, same_masks, tensors, windows_object
from tests.support.models import VOCABULARY, redraw, tiny_tokenizer
from tests.support.walk import load, plain, prove, streamed

TEXT: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8,
    "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
PATCHES: dict[str, Any] = {
    "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2,
    "image_size": 16, "patch_size": 8,
}  # fmt: skip
QWEN: dict[str, Any] = {
    "depth": 2, "num_heads": 2, "patch_size": 4, "temporal_patch_size": 2, "spatial_merge_size": 2,
}  # fmt: skip
ROTARY = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}
WRAPPERS: dict[str, dict[str, Any]] = {
    "gemma3": {"text_config": TEXT, "vision_config": PATCHES, "mm_tokens_per_image": 4},
    "llava": {
        "text_config": {"model_type": "llama"} | TEXT,
        "vision_config": {"model_type": "clip_vision_model"} | PATCHES,
    },
    "qwen2_vl": {
        "text_config": TEXT | {"rope_parameters": ROTARY},
        "vision_config": QWEN | {"embed_dim": 16, "hidden_size": 32, "mlp_ratio": 2},
    },
    "qwen2_5_vl": {
        "text_config": TEXT | {"rope_parameters": ROTARY},
        "vision_config": QWEN
        | {"hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32, "window_size": 16},
    },
    "qwen3_vl": {
        "text_config": TEXT | {"rope_parameters": ROTARY},
        "vision_config": QWEN
        | {
            "hidden_size": 16, "intermediate_size": 24, "out_hidden_size": 32,
            "num_position_embeddings": 16, "deepstack_visual_indexes": [0],
        },
    },
}  # fmt: skip


def config(name: str) -> PreTrainedConfig:
    special = {"image_token_id": 290, "video_token_id": 291, "vision_start_token_id": 292}
    return CONFIG_MAPPING[name](**WRAPPERS[name], **special, vision_end_token_id=293)


@pytest.mark.parametrize("name", WRAPPERS)
def test_the_text_decoder_is_pruned_and_the_rest_stays(tmp_path: Path, name: str) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForImageTextToText.from_config(config(name))
        redraw(model, 0)
    model.save_pretrained(source)
    tiny_tokenizer().save_pretrained(source)
    manifest = prove(source, out)
    assert all("language_model" in linear for linear in manifest.linears)
    assert len(manifest.linears) == 2 * 7
    stored, pruned = tensors(source), {record.tensor for record in manifest.linears.values()}
    towers = [key for key in stored if "vis" in key]
    assert len(towers) > 10
    assert not pruned.intersection(towers)
    with (
        open_model(source) as opened,
        open_decoder(opened, RunOptions()) as decoder,
        decoder.outside(head=True),
    ):
        held = {key for key, value in decoder.model.named_parameters() if not value.is_meta}
    assert any("embed_tokens" in key for key in held)
    assert not any("vis" in key for key in held if "projector" not in key)
    # The same in memory, where the wrapper is what the user holds.
    whole = load(source)
    mwanda.prune(whole, calibration=windows_object(), criterion="wanda", allocation="uniform")
    written = load(out).state_dict()
    for key, tensor in whole.state_dict().items():
        assert torch.equal(tensor, written[key])


def test_the_masks_are_those_of_the_text_model_alone(tmp_path: Path) -> None:
    wrapper: Any = AutoModelForImageTextToText.from_config(config("gemma3"))
    redraw(wrapper, 0)
    text = Gemma3ForCausalLM(wrapper.config.text_config)
    text.model.load_state_dict(wrapper.model.language_model.state_dict())
    text.lm_head.load_state_dict(wrapper.lm_head.state_dict())
    for model in (wrapper, text):
        mwanda.prune(model, calibration=windows_object(), criterion="wanda", allocation="uniform")
    same_masks(memory_masks(text), memory_masks_of_text(wrapper))


def memory_masks_of_text(wrapper: Any) -> dict[str, torch.Tensor]:
    found = memory_masks(wrapper.model.language_model)
    return {f"model.{name}": mask for name, mask in found.items()}


@pytest.mark.parametrize("name", ["gemma3", "llava", "qwen2_vl"])
@pytest.mark.parametrize("inner", [True, False])
def test_a_stored_head_that_differs_is_used(tmp_path: Path, name: str, inner: bool) -> None:
    """Whichever of the wrapper's two configs ties it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model: Any = AutoModelForImageTextToText.from_config(config(name))
        redraw(model, 0)
    head = model.get_output_embeddings()
    head.weight = torch.nn.Parameter(head.weight.detach() * 3 + 0.1)
    model.save_pretrained(tmp_path)
    tiny_tokenizer().save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    told = json.loads(path.read_text())
    told["tie_word_embeddings"], told["text_config"]["tie_word_embeddings"] = not inner, inner
    path.write_text(json.dumps(told))
    torch.testing.assert_close(streamed(tmp_path), plain(tmp_path), rtol=1e-4, atol=1e-4)
