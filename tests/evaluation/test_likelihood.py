"""Log-likelihoods against one text at a time through plain transformers."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, RunOptions
from mwanda.evaluation import head, likelihood
from mwanda.evaluation.texts import TextSet, digest_of
from tests.support.models import BOS, FAMILIES

Tiny = Callable[..., Path]
TEXTS = {
    "de": ["Alle Menschen sind frei.", "a", "Ünïcode 人权", "Würde und Rechte, gleich geboren"],
    "hi": ["सभी मनुष्यों", "x y", "Alle Menschen sind frei."],
}
LONG = "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind begabt."


def text_set(texts: dict[str, list[str]]) -> TextSet:
    return TextSet("made up", texts, None, digest_of(texts))


@torch.no_grad()
def plain_nll(model: Any, ids: list[int]) -> list[float]:
    """−ln p of every token but the first, nats."""
    log_p = model(torch.tensor([ids])).logits[0].double().log_softmax(dim=-1)
    return [-float(log_p[place, token]) for place, token in enumerate(ids[1:])]


def encoded(folder: Path, text: str, bos: bool) -> list[int]:
    ids = AutoTokenizer.from_pretrained(folder)(text, add_special_tokens=False).input_ids
    return ([BOS] if bos else []) + list(ids)


@pytest.mark.parametrize("bos", [True, False])
@pytest.mark.parametrize("family", FAMILIES)
def test_likelihood_is_that_of_one_text_at_a_time(tiny: Tiny, family: str, bos: bool) -> None:
    folder = tiny(family, bos=bos)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    for options in (RunOptions(), RunOptions(batch_tokens=1), RunOptions(activation_memory=0)):
        result = mwanda.evaluate(folder, text_set(TEXTS), options=options)
        for tag, texts in TEXTS.items():
            expected = [plain_nll(model, encoded(folder, text, bos)) for text in texts]
            found = result.languages[tag]
            assert found.sentence_nll == pytest.approx([sum(x) for x in expected], rel=1e-5)
            assert found.tokens == sum(map(len, expected))
            scored = [text for text, one in zip(texts, expected, strict=True) if one]
            assert found.size == sum(len(text.encode()) for text in scored)
            assert found.unscored == len(texts) - len(scored)


def test_the_size_of_a_slice_of_logits_does_not_matter(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mwanda.evaluate(tiny("cohere"), text_set(TEXTS))
    monkeypatch.setattr(head, "TILE", (3, 7))
    monkeypatch.setattr(likelihood, "GROUP_BYTES", 1)
    sliced = mwanda.evaluate(tiny("cohere"), text_set(TEXTS))
    for tag in TEXTS:
        assert sliced.languages[tag].sentence_nll == pytest.approx(
            whole.languages[tag].sentence_nll, rel=1e-6
        )


@pytest.mark.parametrize("limit", [2, 3, 15, 16, 1000])
@pytest.mark.parametrize(("family", "bos"), [("llama", True), ("llama", False), ("gpt2", True)])
def test_a_long_text_goes_in_strides(tiny: Tiny, family: str, bos: bool, limit: int) -> None:
    """Each token is scored once, in the first window that holds it.

    Windows begin every half window, so a token has half a window before it unless the text has
    less.
    """
    folder = tiny(family, bos=bos)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    tokens, prefix = encoded(folder, LONG, bos=False), [BOS] if bos else []
    room = limit - len(prefix)
    stride = max(1, room // 2)
    expected: list[float] = []
    windows: dict[int, list[float]] = {}
    for place in range(0 if bos else 1, len(tokens)):
        start = 0
        while start + room <= place:
            start += stride
        assert place - start >= min(place, room // 2)
        if start not in windows:
            windows[start] = plain_nll(model, prefix + tokens[start : start + room])
        expected.append(windows[start][place - start - 1 + len(prefix)])
    texts = {"de": [LONG, "kurz"]}
    result = mwanda.evaluate(folder, text_set(texts), max_length=limit).languages["de"]
    assert result.sentence_nll[0] == pytest.approx(sum(expected), rel=1e-5)
    short = len(encoded(folder, "kurz", bos)) - 1
    assert result.tokens == len(expected) + short


def test_the_models_context_is_the_longest_input(tiny: Tiny) -> None:
    folder = tiny("gpt2")  # 128 learnt positions: a longer input would fail
    text = LONG * 4
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    result = mwanda.evaluate(folder, text_set({"de": [text]})).languages["de"]
    assert result.tokens == len(text.encode())
    ids = encoded(folder, text, bos=True)
    first = sum(plain_nll(model, ids[:128]))
    assert result.nll > first
    halved = mwanda.evaluate(folder, text_set({"de": [text]}), max_length=64).languages["de"]
    assert halved.tokens == result.tokens
    assert halved.nll != pytest.approx(result.nll, rel=1e-4)


@pytest.mark.parametrize("length", [-1, 0, 1])
def test_an_input_without_context_is_refused(tiny: Tiny, length: int) -> None:
    with pytest.raises(
        InputError, match=f"max_length: expected a whole number from 2, found {length}"
    ):
        mwanda.evaluate(tiny("llama"), text_set(TEXTS), max_length=length)


def test_a_text_of_one_token_without_bos_has_nothing_to_score(tiny: Tiny) -> None:
    result = mwanda.evaluate(tiny("llama", bos=False), text_set({"de": ["a", "ab"]}))
    found = result.languages["de"]
    assert found.sentence_nll[0] == 0
    assert found.tokens == 1
    assert (found.unscored, found.size) == (1, 2)
    assert found.nll_per_sentence == found.nll == found.sentence_nll[1]


def test_a_language_without_anything_to_score_is_refused_before_any_work(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "ActivationStore", None)  # no work
    texts = text_set({"de": ["ab"], "hi": ["a", ""], "sw": ["x"]})
    with pytest.raises(InputError) as error:
        mwanda.evaluate(tiny("llama", bos=False), texts)
    assert [line.split(":")[0] for line in error.value.problems] == ["made up, hi", "made up, sw"]
    assert "2 texts without a token that has a token before it" in str(error.value)


def test_texts_without_anything_to_score_are_told(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    mwanda.evaluate(tiny("llama", bos=False), text_set({"de": ["a", "ab", "", "abc"]}))
    assert "nothing can be scored, left out: de 2 of 4" in caplog.text


def test_a_length_beyond_the_context_is_told(tiny: Tiny, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        usual = mwanda.evaluate(tiny("llama"), text_set(TEXTS))
    assert caplog.text == ""
    with caplog.at_level(logging.WARNING):
        assert mwanda.evaluate(tiny("llama"), text_set(TEXTS), max_length=99999) == usual
    assert re.search(r"max_length 99999: the model's context is \d+ tokens, which", caplog.text)


class Heard(mwanda.Silent):
    """What is reported, stage by stage."""

    runs = 2

    def __init__(self) -> None:
        self.stages: dict[str, tuple[int, list[int]]] = {}

    def stage(
        self, name: str, blocks: int, done: int = 0, unit: str = "block", after: float = 0.0
    ) -> None:
        self.stages[name] = (blocks, [])

    def block(self, tokens: int) -> None:
        [*self.stages.values()][-1][1].append(tokens)


def test_batches_are_reported_as_the_output_layer_goes_on(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    shares, heard = [], Heard()
    plain = likelihood.head_losses

    def losses(*given: Any) -> torch.Tensor:
        def told(share: float) -> None:
            given[-1](share)
            shares.append((share, len(heard.stages["evaluate, output layer"][1])))

        return plain(*given[:-1], told)

    monkeypatch.setattr(head, "TILE", (1024, 16))
    monkeypatch.setattr(likelihood, "head_losses", losses)
    options = RunOptions(progress=heard, batch_tokens=8)
    mwanda.evaluate(tiny("llama"), text_set(TEXTS), options=options)
    count, reported = heard.stages["evaluate, output layer"]
    assert len(reported) == count > 2
    assert not any(reported)  # a rate of tokens would be no block's
    assert [share for share, _ in shares] == sorted(share for share, _ in shares)
    assert all(done == int(share * count) for share, done in shares)  # and not all at the end
    assert 0 < shares[len(shares) // 2][1] < count


def test_what_is_scored_and_for_how_long_is_said_before_it_is(
    tiny: Tiny, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mwanda")
    folder, heard = tiny("llama"), Heard()
    texts = text_set({tag: group[:3] for tag, group in TEXTS.items()})
    mwanda.evaluate(folder, texts, options=RunOptions(progress=heard))
    (said,) = (line for line in caplog.messages if "scoring" in line)
    assert re.fullmatch(rf"scoring {folder}: 2 languages x 3 sentences, \d+ tokens", said)
    monkeypatch.setattr(likelihood, "WORTH_SAYING", 0.0)
    caplog.clear()
    mwanda.evaluate(folder, text_set(TEXTS), options=RunOptions(progress=heard))
    counted, forecast = (line for line in caplog.messages if "scoring" in line)
    assert "2 languages, 3 to 4 sentences each" in counted
    assert re.match(
        r"scoring takes about \d+ s, \d+ s for 2 models; --sentences N .*--cache", forecast
    )


def test_the_forecast_is_of_all_batches_blocks_and_head(
    tiny: Tiny, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "mwanda")

    class Shape:
        structure, head_in_blocks = type("S", (), {"blocks": range(10)}), 30.0

    batches = [[likelihood.Piece(0, [1] * 100, 1)], [likelihood.Piece(1, [1] * 50, 1)]]
    likelihood._forecast(Shape(), batches, 1.0, 2.0, mwanda.Silent())  # type: ignore[arg-type]
    (said,) = caplog.messages  # 10 blocks loaded in 1 s each, and 1.5 batches 40 times at 2 s
    assert said.startswith("scoring takes about 2 min; --sentences N")
