"""Background text: which languages, in which windows, and that nothing of those named changes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from mwanda.errors import InputError
from mwanda.text.background import chosen, open_background, with_background
from mwanda.text.given import GivenText
from mwanda.text.languages import MULTIPLE, canonical, display_name, script_of
from mwanda.text.shared_sentences import text_hashes, unpack_hashes
from mwanda.text.window_files import Windows, load, save
from mwanda.text.window_sizes import BACKGROUND_PIECES, UDHR
from mwanda.text.windows import draw
from tests.text.helpers import BOS, byte_tokenizer

TOKENIZER = byte_tokenizer(bos=True)
LETTERS = {"de": "d", "fr": "f", "sw": "s", "pt-BR": "p", "sr-Latn": "l", "sr": "c"}
TEXTS = {tag: [f"{letter * 40}\n" * 4] for tag, letter in LETTERS.items()}
CONTEXT = 1 + 4 * 10
"""Pieces of 10 letters, or line feeds."""


def named(*tags: str) -> Windows:
    return draw(GivenText(TEXTS), TOKENIZER, tags, windows=2, length=8, seed=0)


def pooled(*tags: str, windows: int = 5, seed: int = 0) -> Windows:
    return with_background(
        named(*tags), GivenText(TEXTS, name="texts"), TOKENIZER,
        windows=windows, seed=seed, context=CONTEXT,
    )  # fmt: skip


def languages_in(tokens: torch.Tensor) -> list[str]:
    """Of every piece, the letter it is made of."""
    pieces = tokens[:, 1:].reshape(-1, 10)
    return ["".join(sorted(set(TOKENIZER.decode(piece).split()[0]))) for piece in pieces]


def test_a_hundred_languages_in_all_scripts_are_bundled() -> None:
    source = open_background(UDHR)
    tags = source.languages()
    assert len(tags) >= 170
    assert [canonical(tag) for tag in tags] == tags
    assert len({script_of(tag) for tag in tags}) >= 35
    told = (
        Path(open_background.__code__.co_filename).parent / "bundled/udhr/SOURCE.md"
    ).read_text()
    for tag in tags:
        assert f"| {tag} | declaration/" in told
        assert len("".join(one.text for one in source.documents(tag))) > 1000


def test_languages_not_named_are_pooled_in_pieces() -> None:
    made = pooled("de", "pt-BR")
    tokens = made.tokens[MULTIPLE]
    assert made.languages == ["de", "pt-BR"]
    assert made.background == ("fr", "sr", "sr-Latn", "sw")
    assert made.background_source == "texts"
    assert tokens.shape == (5, CONTEXT)
    assert (tokens[:, 0] == BOS).all()
    found = languages_in(tokens)
    assert {letter: found.count(letter) for letter in set(found)} == dict.fromkeys("fcls", 5)
    told = made.draws[MULTIPLE]
    assert (told.windows, told.tokens, told.documents) == (5, tokens.numel(), 4)
    known = text_hashes(TEXTS["sw"][0])
    assert known
    assert set(known) <= unpack_hashes(told.sentence_hashes)
    assert display_name(MULTIPLE) == "Multiple languages"


def test_another_region_of_a_named_language_is_no_background() -> None:
    source = GivenText(dict.fromkeys(("pt", "pt-PT", "zh", "zh-Hant", "fr"), TEXTS["fr"]))
    made = with_background(named("pt-BR"), source, TOKENIZER, windows=3, context=CONTEXT)
    assert made.background == ("fr", "zh", "zh-Hant")


def test_named_windows_are_as_without_and_the_seed_says_the_order() -> None:
    alone, made, again, other = named("de"), pooled("de"), pooled("de"), pooled("de", seed=1)
    assert torch.equal(alone.tokens["de"], made.tokens["de"])
    assert torch.equal(made.tokens[MULTIPLE], again.tokens[MULTIPLE])
    assert not torch.equal(made.tokens[MULTIPLE], other.tokens[MULTIPLE])


def test_of_more_languages_than_pieces_some_are_taken() -> None:
    made = pooled("de", windows=1)
    assert len(made.background) == len(languages_in(made.tokens[MULTIPLE])) == BACKGROUND_PIECES


@pytest.mark.parametrize("others", ["fr", "fr,sw", "fr,sw,sr"])
def test_a_few_languages_fill_one_window(others: str) -> None:
    source = GivenText({tag: TEXTS[tag] for tag in others.split(",")})
    made = with_background(named("de"), source, TOKENIZER, windows=1, context=CONTEXT)
    assert made.tokens[MULTIPLE].shape == (1, CONTEXT)


def test_fewer_windows_than_were_asked_for_are_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "mwanda")
    made = pooled("de", windows=2)  # 5 languages, one piece each, of which 4 fill a window
    assert len(made.tokens[MULTIPLE]) == 1
    assert "background: 1 of the 2 windows asked for, filled by 4 languages" in caplog.messages
    caplog.clear()
    assert len(pooled("de", windows=5).tokens[MULTIPLE]) == 5
    assert not caplog.messages


def test_without_another_language_there_is_no_background(caplog: pytest.LogCaptureFixture) -> None:
    made = with_background(named("de"), GivenText({"de": ["x"]}), TOKENIZER)
    assert made.tokens.keys() == {"de"}
    assert "no language beside those named" in caplog.text


def test_too_little_text_is_refused() -> None:
    with pytest.raises(InputError, match="expected 4 pieces of 63 tokens or more, found less"):
        with_background(named("de"), GivenText({"fr": ["kurz"]}), TOKENIZER)


@pytest.mark.parametrize("windows", [0, -3])
def test_a_number_of_windows_that_is_none_is_refused(windows: int) -> None:
    with pytest.raises(InputError, match=f"--background-windows: .* from 1, found {windows}"):
        pooled("de", windows=windows)


def test_a_language_without_text_for_a_piece_is_left_out_and_named(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO", "mwanda")
    english = ["the cat of the house was in the garden, and it is that which they have seen"]
    texts = {"de": TEXTS["de"], "fr": ["kurz"], "sw": english, "it": TEXTS["fr"]}
    made = with_background(
        named("de"), GivenText(texts, name="texts"), TOKENIZER, windows=5, context=CONTEXT
    )
    assert made.background == ("it",)
    assert "left out, with text for less than a piece of 10 tokens: fr, sw\n" in caplog.text


def test_a_file_keeps_it_with_the_languages_read(tmp_path: Path) -> None:
    made = pooled("de", "fr")
    save(made, tmp_path / "w.safetensors")
    whole, one = load(tmp_path / "w.safetensors"), load(tmp_path / "w.safetensors", ["fr"])
    for known, languages in ((whole, ["de", "fr"]), (one, ["fr"])):
        assert known.languages == languages
        assert known.background == made.background
        assert torch.equal(known.tokens[MULTIPLE], made.tokens[MULTIPLE])
        assert known.draws[MULTIPLE] == made.draws[MULTIPLE]
    without = chosen(whole, ["de"], background=False)
    assert without.tokens.keys() == without.draws.keys() == {"de"}
    assert (without.background, without.background_source) == ((), None)
