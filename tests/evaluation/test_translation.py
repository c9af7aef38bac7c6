"""Prompts, cutting and scores of translations."""

from __future__ import annotations

import pytest
import sacrebleu

from mwanda.errors import InputError
from mwanda.evaluation.translation import (
    Direction,
    bleu_tokenizer,
    cut,
    parse_direction,
    prompt_of,
    score,
    token_bound,
)


def test_a_prompt_is_examples_and_the_sentence() -> None:
    shots = [("One.", "Eins."), ("Two\nlines.", "Zwei  Zeilen.")]
    assert prompt_of(Direction("en", "de"), shots, "Three.") == (
        "English: One.\nGerman: Eins.\n\n"
        "English: Two lines.\nGerman: Zwei Zeilen.\n\n"
        "English: Three.\nGerman:"
    )
    assert prompt_of(Direction("zh-Hant", "sw"), [], "x") == "Chinese (Traditional): x\nSwahili:"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (" Eins.\nEnglish: Two.", "Eins."), ("Eins.", "Eins."), ("\nEins.", ""), ("", ""),
        (" a b \n\n", "a b"),
    ],
)  # fmt: skip
def test_an_output_ends_at_its_first_line_feed(text: str, found: str) -> None:
    assert cut(text) == found


def test_a_bound_is_twice_the_reference_and_more() -> None:
    assert [token_bound(n) for n in (0, 10)] == [16, 36]


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("en-de", ("en", "de")), ("eng-deu_Latn", ("en", "de")), ("zh-Hant:en", ("zh-Hant", "en")),
        ("zh-Hant-en", ("zh-Hant", "en")), ("en-zh-Hant", ("en", "zh-Hant")),
    ],
)  # fmt: skip
def test_directions(text: str, pair: tuple[str, str]) -> None:
    assert parse_direction(text) == Direction(*pair)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("en", "two languages such as en-de"), ("", "two languages such as en-de"),
        ("en-en", "en twice"), ("en-qqqq", "two languages|language tag"),
        ("en:german", "did you mean 'de'"),
    ],
)  # fmt: skip
def test_what_is_no_direction(text: str, says: str) -> None:
    with pytest.raises(InputError, match=says) as caught:
        parse_direction(text)
    assert "--direction" in str(caught.value)


@pytest.mark.parametrize(
    ("tag", "tokenizer"), [("de", "13a"), ("zh-Hant", "zh"), ("th", "char"), ("hi", "13a")]
)
def test_scores_are_sacrebleus(tag: str, tokenizer: str) -> None:
    assert bleu_tokenizer(tag) == tokenizer
    outputs = ["the cat sat on a mat today", "人人生而自由 and some more words", ""]
    references = ["the cat sat on the mat today", "人人生而平等 and some more words", "not empty"]
    bleu, chrf, signatures = score(outputs, references, tag)
    plain = sacrebleu.corpus_bleu(outputs, [references], tokenize=tokenizer)
    assert bleu == plain.score
    assert chrf == sacrebleu.corpus_chrf(outputs, [references], word_order=2).score
    assert f"tok:{tokenizer}|" in signatures["bleu"]
    assert "nw:2|" in signatures["chrf++"]
