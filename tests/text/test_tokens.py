"""A long text's tokens are those of the whole, and no piece of it is long."""

from __future__ import annotations

import random
import unicodedata
from typing import Any

import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from mwanda.text import tokens
from mwanda.text.shared_sentences import normalised, parts_at_space
from mwanda.text.sources import open_source
from mwanda.text.tokens import first_ids, token_ids
from mwanda.text.windows import draw
from tests.text.test_windows import Listed

SOURCE = open_source("bundled:udhr")
TEXTS = {tag: [d.text for d in SOURCE.documents(tag)] for tag in ("de", "th", "zh", "hi")}


def _byte_level() -> Tokenizer:
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    every = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=1500, initial_alphabet=every, show_progress=False)
    made.train_from_iterator([t for texts in TEXTS.values() for t in texts], trainer)
    return made


def _sentencepiece(prefix: bool) -> Tokenizer:
    """Llama's way, with a space put before every text; without it Gemma's."""
    made = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>"))
    first = [normalizers.Prepend("▁")] if prefix else []
    made.normalizer = normalizers.Sequence([*first, normalizers.Replace(" ", "▁")])
    special = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256))]
    trainer = trainers.BpeTrainer(
        vocab_size=1500, special_tokens=special, show_progress=False, max_token_length=12
    )
    words = [f" {word}" for texts in TEXTS.values() for text in texts for word in text.split(" ")]
    made.train_from_iterator(words, trainer)
    return made


def _unigram() -> Tokenizer:
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    trainer = trainers.UnigramTrainer(
        vocab_size=1500, unk_token="<unk>", special_tokens=["<unk>"], show_progress=False
    )
    made.train_from_iterator([t for texts in TEXTS.values() for t in texts], trainer)
    return made


@pytest.fixture(scope="module")
def tokenizers() -> dict[str, Any]:
    made = {
        "byte level": _byte_level(),
        "with a prefix": _sentencepiece(True),
        "without": _sentencepiece(False),
        "unigram": _unigram(),
    }
    return {name: PreTrainedTokenizerFast(tokenizer_object=one) for name, one in made.items()}


def _long(kind: str) -> str:
    draw_one = random.Random(0)
    if kind in TEXTS:
        separator = "" if kind in ("th", "zh") else " "
        return separator.join(draw_one.choice(TEXTS[kind]) for _ in range(250))
    return {
        "one letter": "a" * 20_000,
        "spaces": " " * 20_000,
        "line ends": "ab\n\n\n   " * 3000,
        "letters": "".join(draw_one.choice("ACGT") for _ in range(20_000)),
        "marks": "👨‍👩‍👧🇩🇪é ﬁ½" * 1500,
    }[kind]


@pytest.mark.parametrize("name", ["byte level", "with a prefix", "without", "unigram"])
@pytest.mark.parametrize(
    "kind", ["de", "th", "zh", "hi", "one letter", "spaces", "line ends", "letters", "marks"]
)
def test_a_long_text_has_the_tokens_of_the_whole(
    tokenizers: dict[str, Any], name: str, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "PIECE", 3000)
    monkeypatch.setattr(tokens, "OVERLAP", 512)
    text, tokenizer = _long(kind), tokenizers[name]
    assert len(text) > 10_000
    whole = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    assert token_ids(tokenizer, text) == whole
    assert first_ids(tokenizer, text, 700) == whole[:700]
    assert first_ids(tokenizer, "kurz", 700) == token_ids(tokenizer, "kurz")


class Watched:
    """A tokenizer that notes how much it is given at once."""

    def __init__(self, tokenizer: Any, *, fast: bool = True) -> None:
        self.tokenizer, self.is_fast, self.given = tokenizer, fast, [0]
        self.bos_token_id = None

    def __call__(self, text: str, **how: Any) -> Any:
        self.given.append(len(text))
        return self.tokenizer(text, **how)


@pytest.mark.parametrize("fast", [True, False])
@pytest.mark.parametrize("kind", ["de", "th"])
def test_no_more_is_tokenised_than_the_windows_need(
    tokenizers: dict[str, Any], kind: str, fast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokens, "PIECE", 3000)
    monkeypatch.setattr(tokens, "OVERLAP", 512)
    text = _long(kind)
    watched = Watched(tokenizers["byte level"], fast=fast)
    drawn = draw(Listed({kind: [text]}), watched, [kind], windows=2, length=64, seed=0)
    assert drawn.draws[kind].tokens == 128
    whole = tokenizers["byte level"](text, add_special_tokens=False, verbose=False)["input_ids"]
    assert drawn.tokens[kind].flatten().tolist() == whole[:128]
    # Where there is no white space, a tokenizer without offsets is given all there is.
    assert max(watched.given) <= 3600 or (kind == "th" and not fast)


def test_a_long_text_is_normalised_as_a_whole() -> None:
    text = ("Ｅｉｎｓ  Zwei\u2028\u0308drei ﬁ \u00a0\u00a8 İ " * 9000)[:-1]
    whole = " ".join(unicodedata.normalize("NFKC", text).casefold().split())
    assert normalised(text) == whole
    assert "".join(parts_at_space(text, 100)) == text
    assert len(list(parts_at_space(text, 100))) > 1000
    assert list(parts_at_space("", 10)) == [""]


def test_pieces_are_joined_where_they_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokens, "OVERLAP", 100)
    monkeypatch.setattr(tokens, "AGREEING", 4)

    def part(begin: int, end: int, other: range = range(0)) -> Any:
        made = object.__new__(tokens._Piece)
        made.starts, made.end = list(range(begin, end)), end
        made.ids = [-at if at in other else at for at in made.starts]
        return made

    # The second sees something else at and after the middle of what both have, which is 150.
    last, entered = tokens._join(part(0, 200), part(100, 300, range(145, 170)))
    assert last == 100 + entered
    assert last + 4 <= 145 or last - 4 >= 170
