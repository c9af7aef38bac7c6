"""Continuations are the model's own greedy ones, and repetition is noticed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from mwanda.evaluation.generation import PROMPT_TOKENS, continue_texts, repeats
from tests.support.models import BOS, EOS

Tiny = Callable[..., Path]
TEXTS = {
    "de": ["kurz", "Alle Menschen sind frei"],
    "sw": ["Watu wote wamezaliwa huru"],
    "hi": ["x"],
}


@pytest.mark.parametrize(
    ("tokens", "found"),
    [
        ([], False),
        ([7], False),
        ([7, 7], False),
        ([7, 7, 7], True),
        (list(range(24)), False),
        ([1, 2, 3, 4, 5, 6, 7, 7, 7], False),  # three times, but not over half of it
        ([1, 2, 3, 7, 7, 7, 7], True),
        ([9, 8, 1, 2, 1, 2, 1, 2], True),
        ([1, 2, 3] * 2, False),  # twice is a coincidence
        ([1, 2, 3] * 3, True),
        (list(range(8)) * 3, True),
        (list(range(9)) * 3, False),  # longer than a phrase
        ([5, 5, 5, 5, 1], False),  # not at the end
        ([4, *[1, 2] * 5, 1], True),  # cut off in the middle of the phrase
    ],
)
def test_repeats(tokens: list[int], found: bool) -> None:
    assert repeats(tokens) is found


@pytest.mark.parametrize("start", [(BOS,), (), (BOS, 7)])
def test_a_continuation_is_the_greedy_one(tiny: Tiny, start: tuple[int, ...]) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama")).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    found = continue_texts(model, tokenizer, TEXTS, start=start, new_tokens=6)
    assert list(found) == ["de", "sw"]  # Hindi's only text is too short, German's first too
    for tag, text in (("de", TEXTS["de"][1]), ("sw", TEXTS["sw"][0])):
        ids = tokenizer(text, add_special_tokens=False).input_ids[:PROMPT_TOKENS]
        assert found[tag].prompt == tokenizer.decode(ids)
        ids = [*start, *ids]
        new: list[int] = []
        for _ in range(6):
            with torch.no_grad():
                new.append(int(model(torch.tensor([ids + new])).logits[0, -1].argmax()))
            if new[-1] == EOS:
                break
        assert found[tag].text == tokenizer.decode(new, skip_special_tokens=True)
        assert found[tag].as_dict()["repetitive"] is repeats(new)


@pytest.mark.parametrize("eos", [EOS, [EOS, 5], None])
@pytest.mark.parametrize("pad", [0, None])
def test_the_filling_after_an_end_is_no_repetition(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, eos: Any, pad: int | None
) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama")).eval()
    tokenizer = AutoTokenizer.from_pretrained(tiny("llama"))
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = eos, pad
    filling = 0 if pad is not None or eos is None else EOS

    def generate(**given: Any) -> torch.Tensor:
        assert given["pad_token_id"] == filling
        rows = [[10, 11, EOS] + [filling] * 9, [*range(20, 32)]]
        return torch.cat([given["input_ids"], torch.tensor(rows)], dim=1)

    monkeypatch.setattr(model, "generate", generate)
    found = continue_texts(model, tokenizer, TEXTS, start=[BOS])
    assert found["de"].repetitive is (eos is None)
    assert not found["sw"].repetitive
    if eos is not None:
        assert found["de"].text == tokenizer.decode([10, 11])


def test_nothing_to_continue(tiny: Tiny) -> None:
    assert (
        continue_texts(None, AutoTokenizer.from_pretrained(tiny("llama")), {"de": ["x"]}, start=())
        == {}
    )
