"""What is no plain decoder, refused in one clear line before anything is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    BertConfig,
    BertForMaskedLM,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MT5Config,
    MT5ForConditionalGeneration,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
)

import mwanda
from mwanda import InputError
from tests.pruning.pipeline.helpers import Tiny, tensors, windows_object
from tests.support.models import VOCABULARY, tiny_tokenizer
from tests.support.text import write_corpus

ENCODER: dict[str, Any] = {
    "vocab_size": VOCABULARY, "hidden_size": 16, "intermediate_size": 32,
    "num_hidden_layers": 2, "num_attention_heads": 2,
}  # fmt: skip
BOTH: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 16, "encoder_layers": 2, "decoder_layers": 2,
    "encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 32,
    "decoder_ffn_dim": 32,
}  # fmt: skip
T5: dict[str, Any] = {
    "vocab_size": VOCABULARY, "d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2,
}  # fmt: skip
MODELS: dict[str, tuple[Any, Any, str]] = {
    "mT5": (MT5ForConditionalGeneration, MT5Config(**T5), "the encoder-decoder MT5ForCond"),
    "NLLB": (M2M100ForConditionalGeneration, M2M100Config(**BOTH), "the encoder-decoder M2M100"),
    "XLM-R": (XLMRobertaForMaskedLM, XLMRobertaConfig(**ENCODER), "XLMRobertaForMaskedLM"),
    "BERT": (BertForMaskedLM, BertConfig(**ENCODER), "BertForMaskedLM"),
}


def refused(source: Any, out: Path | None = None) -> str:
    with pytest.raises(InputError) as caught:
        mwanda.prune(
            source, out=out, calibration=windows_object(), criterion="wanda", allocation="uniform"
        )
    assert out is None or not out.exists()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


@pytest.mark.parametrize("name", MODELS)
def test_encoders_and_encoder_decoders(tmp_path: Path, name: str) -> None:
    kind, config, found = MODELS[name]
    model = kind(config)
    model.save_pretrained(tmp_path / "source")
    tiny_tokenizer().save_pretrained(tmp_path / "source")
    write_corpus(tmp_path / "test", ["de"], lines=4)
    texts = mwanda.read_texts(tmp_path / "test", sentences=2)
    with pytest.raises(InputError) as planned:
        mwanda.plan(tmp_path / "source", recipe=mwanda.Recipe.build({"criterion": "magnitude"}))
    with pytest.raises(InputError) as scored:
        mwanda.evaluate(tmp_path / "source", texts)
    with pytest.raises(InputError) as scored_in_memory:
        mwanda.evaluate(model, texts, tokenizer=tiny_tokenizer())
    folder, memory = refused(tmp_path / "source", tmp_path / "out"), refused(model)
    assert str(planned.value) == str(scored.value) == folder
    assert str(scored_in_memory.value) == memory
    for message in (folder, memory):
        assert "expected a decoder with a causal language-model head" in message
        assert found in message
        assert "encoder and encoder-decoder models cannot be pruned here" in message


def stored(tiny: Tiny, folder: Path, extra: dict[str, torch.Tensor], *without: str) -> Path:
    shutil.copytree(tiny("llama"), folder)
    weights = {n: t for n, t in tensors(folder).items() if n not in without} | extra
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


LINEAR = "model.layers.1.mlp.down_proj"
PACKED = torch.zeros((6, 80), dtype=torch.int32)
KINDS: dict[str, tuple[dict[str, torch.Tensor], str]] = {
    "GPTQ": ({"qweight": PACKED, "qzeros": PACKED[:1].clone(), "g_idx": PACKED[0].clone()}, "GPTQ"),
    "AWQ": ({"qweight": PACKED, "qzeros": PACKED[:1].clone()}, "GPTQ or AWQ"),
    "fp8": (
        {
            "weight": torch.zeros((48, 80)).to(torch.float8_e4m3fn),
            "weight_scale_inv": torch.ones((1, 1)),
        },
        "float8_e4m3fn",
    ),
    "bitsandbytes, 4 bits": (
        {
            "weight": torch.zeros((1920, 1), dtype=torch.uint8),
            "weight.absmax": torch.ones(60),
            "weight.quant_state.bitsandbytes__nf4": torch.zeros(9, dtype=torch.uint8),
        },
        "bitsandbytes",
    ),
    "bitsandbytes, 8 bits": (
        {"weight": torch.zeros((48, 80), dtype=torch.int8), "SCB": torch.ones(48)},
        "bitsandbytes",
    ),
    "compressed": ({"weight_packed": PACKED}, "compressed-tensors"),
    "integers": ({"weight": torch.zeros((48, 80), dtype=torch.int8)}, "int8"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_quantised_tensors_without_a_word_in_the_config(
    tiny: Tiny, tmp_path: Path, kind: str
) -> None:
    made, says = KINDS[kind]
    extra = {f"{LINEAR}.{leaf}": tensor for leaf, tensor in made.items()}
    source = stored(tiny, tmp_path / "source", extra, f"{LINEAR}.weight")
    message = refused(source, tmp_path / "out")
    assert "quantised weights" in message
    assert says in message
    assert LINEAR in message
    assert "prune the original model, then quantise the result" in message


@pytest.mark.parametrize("method", ["fp8", "gptq", "awq", "bitsandbytes", "mxfp4"])
def test_quantised_by_the_config(tiny: Tiny, tmp_path: Path, method: str) -> None:
    source = stored(tiny, tmp_path / "source", {})
    path = source / "config.json"
    entry = {"quant_method": method, "load_in_4bit": method == "bitsandbytes"}
    data = json.loads(path.read_text()) | {"quantization_config": entry}
    path.write_text(json.dumps(data))
    assert f"quantised weights ({method})" in refused(source, tmp_path / "out")
