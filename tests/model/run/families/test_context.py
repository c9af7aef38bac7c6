"""The longest input of every class that can be pruned is known exactly, under whatever name."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn
from transformers import AutoModelForCausalLM, BloomConfig, MptConfig, XLMRobertaConfig

import mwanda
from mwanda import InputError
from mwanda.model.classes import tried_classes
from mwanda.model.run.context import context_length, context_of
from tests.evaluation.test_likelihood import text_set
from tests.support.models import VOCABULARY, tiny_tokenizer
from tests.support.shrink import tiny_config
from tests.support.text import write_corpus
from tests.support.walk import UNTRIED

HARD = (
    "Bart BertGeneration BertLMHead BigBird BigBirdPegasus BioGpt Blenderbot BlenderbotSmall CTRL "
    "Camembert CodeGen Data2VecText Electra Ernie GPT2 GPTBigCode GPTJ GPTNeo Git MBart Marian "
    "MegatronBert Mpt Mvp OPT OpenAIGPT PLBart Pegasus RemBert RoCBert RoFormer Roberta "
    "RobertaPreLayerNorm TrOCR Whisper XLMRoberta XLMRobertaXL Xmod"
)
"""Classes whose forward fails on one token more than their context."""

TRIED = [row for row in tried_classes().of("proven", "works") if row.name not in UNTRIED]


def small(model_type: str, **fields: Any) -> Any:
    config = tiny_config(model_type)
    for name, value in fields.items():
        setattr(config, name, value)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()


@torch.no_grad()
def runs(model: Any, length: int) -> bool:
    ids = torch.randint(3, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))
    try:
        logits = model(input_ids=ids, use_cache=False).logits
    except (IndexError, RuntimeError, ValueError):
        return False
    return bool(torch.isfinite(logits).all())


@pytest.mark.filterwarnings("ignore")  # a class may warn of whatever it likes
@pytest.mark.parametrize("row", TRIED, ids=lambda row: row.name)
def test_a_window_of_exactly_the_context_runs(row: Any) -> None:
    model = small(row.model_type)
    context = context_of(model)
    hard = any(
        row.name in (f"{name}ForCausalLM", f"{name}LMHeadModel", f"{name}Model", f"{name}Decoder")
        for name in HARD.split()
    )
    if context is None:
        assert runs(model, 200)
        return
    assert runs(model, context)
    assert runs(model, context + 1) is not hard


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("model_type", "fields", "expected"),
    [
        ("xlm-roberta", {"pad_token_id": 1, "max_position_embeddings": 66}, 64),
        ("camembert", {"pad_token_id": 1}, 62),
        ("opt", {}, 64),
        ("biogpt", {}, 64),
        ("mpt", {}, 64),
        ("whisper", {}, 64),
        ("xglm", {}, 64),
        ("bloom", {}, None),
    ],
)
def test_the_context_of_some_that_count_otherwise(
    model_type: str, fields: dict[str, Any], expected: int | None
) -> None:
    model = small(model_type, **fields)
    assert context_of(model) == expected
    assert expected is None or runs(model, expected)


def test_the_name_and_the_place_do_not_matter() -> None:
    def config(**fields: Any) -> Any:
        made = SimpleNamespace(**fields)
        made.get_text_config = lambda decoder: getattr(made, "text_config", made)
        return made

    for name in ("n_positions", "n_ctx", "max_seq_len", "seq_length", "max_sequence_length",
                 "model_max_length"):  # fmt: skip
        assert context_length(config(**{name: 77})) == 77
    assert context_length(config(max_position_embeddings=32768, seq_length=8192)) == 32768
    assert context_length(config(text_config=SimpleNamespace(n_ctx=5), n_ctx=9)) == 5
    assert context_length(config(text_config=SimpleNamespace(), n_ctx=9)) == 9
    for nothing in (None, 0, -1, True, "2048"):
        assert context_length(config(max_position_embeddings=nothing)) is None
    # A window of attention and the length rotary positions were first trained on are no limit.
    rope = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 8}
    long = config(max_position_embeddings=32, sliding_window=4, rope_scaling=rope)
    assert context_length(long) == 32

    class Backbone(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.config = SimpleNamespace(n_positions=40)
            self.wpe = nn.Embedding(30, 4)
            self.wte = nn.Embedding(20, 4)
            self.relative_positions = nn.Embedding(10, 4)

    assert context_length(config(n_positions=50), Backbone()) == 30


def saved(folder: Path, config: Any) -> Path:
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        (MptConfig(vocab_size=VOCABULARY, d_model=32, n_heads=4, n_layers=2, max_seq_len=64), 64),
        (XLMRobertaConfig(
            vocab_size=VOCABULARY, hidden_size=32, num_hidden_layers=2, num_attention_heads=4,
            intermediate_size=64, max_position_embeddings=66, is_decoder=True, pad_token_id=1,
            architectures=["XLMRobertaForCausalLM"],
        ), 64),
        (BloomConfig(vocab_size=VOCABULARY, hidden_size=32, n_layer=2, n_head=4), None),
    ],
    ids=["mpt", "xlm-roberta", "bloom"],
)  # fmt: skip
def test_windows_and_evaluation_follow_the_context(
    tmp_path: Path, config: Any, limit: int | None
) -> None:
    source, text = saved(tmp_path / "model", config), tmp_path / "text"
    write_corpus(text, ["de"], lines=80)
    sizes = {"calibration": str(text), "windows": 2, "sparsity": 0.5, "criterion": "wanda"}
    length = limit or 300
    mwanda.prune(source, out=tmp_path / "out", window_length=length, **sizes)
    if limit is not None:
        with pytest.raises(InputError, match=f"--window-length.*context of {limit} tokens"):
            mwanda.prune(source, out=tmp_path / "longer", window_length=limit + 1, **sizes)
    # A text that is longer than the context is scored in strides.
    result = mwanda.evaluate(tmp_path / "out", text_set({"de": ["abcde " * 60]}))
    assert result.languages["de"].tokens == 360
