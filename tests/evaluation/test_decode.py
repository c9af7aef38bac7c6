"""Prompts of several lengths, generated together, give what each gives alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

from mwanda.evaluation.decode import continue_ids
from mwanda.evaluation.generation import PROMPT_TOKENS, continue_texts
from tests.support.models import EOS

PROMPTS = [[1, 20, 30, 40], [1, 50], [1, 60, 61, 62, 63, 64, 65]]
BOUNDS = [5, 9, 7]


@pytest.fixture(scope="module")
def loaded(tiny: Callable[..., Path]) -> tuple[Any, Any]:
    folder = tiny("llama")
    return (AutoModelForCausalLM.from_pretrained(folder).eval(),
            AutoTokenizer.from_pretrained(folder))  # fmt: skip


def alone(model: Any, prompt: list[int], bound: int) -> list[int]:
    new: list[int] = []
    while len(new) < bound:
        with torch.no_grad():
            token = int(model(torch.tensor([prompt + new])).logits[0, -1].argmax())
        if token == EOS:
            break
        new.append(token)
    return new


@pytest.mark.parametrize(
    "asked",
    [{"repetition_penalty": 9.0}, {"no_repeat_ngram_size": 1}, {"min_new_tokens": 9},
     {"do_sample": True, "temperature": 9.0}, {"num_beams": 3, "num_return_sequences": 2}],
)  # fmt: skip
def test_what_a_generation_config_asks_for_changes_nothing(
    loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch, asked: dict[str, Any]
) -> None:
    model, tokenizer = loaded
    given = GenerationConfig(eos_token_id=EOS, **asked)
    monkeypatch.setattr(model, "generation_config", given)
    prompts = [[1, *[20, 30] * 4], *PROMPTS]
    found = continue_ids(model, tokenizer, prompts, [9] * 4)
    assert found == [alone(model, prompt, 9) for prompt in prompts]
    shown = continue_texts(model, tokenizer, {"de": ["Alle Menschen sind frei"]}, start=[1])["de"]
    ids = tokenizer("Alle Menschen sind frei", add_special_tokens=False).input_ids[:PROMPT_TOKENS]
    assert shown.text == tokenizer.decode(alone(model, [1, *ids], 24), skip_special_tokens=True)
    assert model.generation_config is given


@pytest.mark.parametrize("batch", [1, 2, 8])
def test_every_row_is_its_own_greedy_one(loaded: tuple[Any, Any], batch: int) -> None:
    model, tokenizer = loaded
    told: list[int] = []
    found = continue_ids(model, tokenizer, PROMPTS, BOUNDS, batch=batch, done=told.append)
    assert found == [alone(model, p, b) for p, b in zip(PROMPTS, BOUNDS, strict=True)]
    assert sum(told) == sum(map(len, found))


def test_a_line_feed_ends_a_row(loaded: tuple[Any, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = loaded
    whole = alone(model, PROMPTS[1], BOUNDS[1])
    feed = whole[2]
    real = tokenizer.decode
    monkeypatch.setattr(
        tokenizer, "decode", lambda ids, **more: "x\n" if ids == [feed] else real(ids, **more)
    )
    (found,) = continue_ids(model, tokenizer, PROMPTS[1:2], BOUNDS[1:2], one_line=True)
    assert found == whole[: whole.index(feed) + 1]
