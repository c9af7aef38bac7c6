"""What is longer than a model's context is refused where the forward fails on it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, LlamaConfig

from mwanda import InputError
from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.generation import continue_texts
from tests.model.run.families.test_context import saved

TEXT = {"de": ["Alle Menschen sind frei und gleich."]}


def made(folder: Path, config: Any) -> tuple[Any, Any]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        saved(folder, config)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    model.generation_config.eos_token_id = None
    return model, AutoTokenizer.from_pretrained(folder)


def test_a_table_of_positions_ends(tmp_path: Path) -> None:
    config = GPT2Config(vocab_size=300, n_embd=32, n_head=4, n_layer=1, n_positions=24)
    model, tokenizer = made(tmp_path, config)
    made_ids = continue_ids(model, tokenizer, [[5] * 14], [10])
    assert len(made_ids[0]) == 10
    message = (
        r"prompt and continuation within the model's context of 24 tokens, found 35; .*--shots"
    )
    with pytest.raises(InputError, match=message):
        continue_ids(model, tokenizer, [[5] * 25], [10])
    with pytest.raises(InputError, match="context of 24 tokens, found 41"):
        continue_texts(model, tokenizer, TEXT, start=[1], new_tokens=30)


def test_rotary_positions_go_on(tmp_path: Path) -> None:
    config = LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=1,
        num_attention_heads=4, max_position_embeddings=24,
    )  # fmt: skip
    model, tokenizer = made(tmp_path, config)
    assert len(continue_ids(model, tokenizer, [[5] * 25], [10])[0]) == 10
