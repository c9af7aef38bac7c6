"""A text begins as its tokenizer begins it, whatever that is."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    PreTrainedTokenizerFast,
    XGLMConfig,
    XGLMTokenizer,
)

import mwanda
from mwanda.evaluation.texts import TextSet
from mwanda.evaluation.token_batches import cut
from mwanda.pruning.folder.manifest import read_manifest
from mwanda.text.start import shown_start, start_of
from mwanda.text.tokens import token_ids
from mwanda.text.window_files import load
from mwanda.text.windows import draw
from tests.evaluation.tasks.test_evaluate import log_likelihood
from tests.support.models import tiny_model, tiny_tokenizer
from tests.support.text import write_corpus

TEMPLATES = {
    "<bos> $A": (1,),
    "<eos> $A": (2,),
    "<pad> <bos> $A": (0, 1),
    "<bos> $A <eos>": (1,),
    "<pad> <eos> $A <eos>": (0, 2),
    "$A <eos>": (),
    "$A": (),
}


def begun(template: str) -> PreTrainedTokenizerFast:
    """A token per byte, with a template of its own."""
    tokenizer = tiny_tokenizer(bos=False)
    specials = [("<pad>", 0), ("<bos>", 1), ("<eos>", 2)]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[one for one in specials if one[0] in template]
    )
    return tokenizer


@pytest.mark.parametrize("template", TEMPLATES)
def test_the_start_is_what_the_tokenizer_puts_first(tmp_path: Path, template: str) -> None:
    tokenizer = begun(template)
    assert start_of(tokenizer) == TEMPLATES[template]
    tokenizer.save_pretrained(tmp_path)
    assert start_of(AutoTokenizer.from_pretrained(tmp_path)) == TEMPLATES[template]
    assert len(token_ids(tokenizer, "abc")) == 3


def test_it_is_said_as_it_is() -> None:
    assert shown_start((), "before every text") == "none"
    assert shown_start((7,), "before every text") == "before every text: id 7"
    assert shown_start((7, 9), "before every text") == "before every text: ids 7, 9"


def unknowing(template: str) -> PreTrainedTokenizerFast:
    """Knows two letters only; all else is the token that may also begin a text."""
    inner = Tokenizer(models.WordLevel({"<s>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="<s>"))
    inner.pre_tokenizer = pre_tokenizers.Whitespace()
    inner.post_processor = processors.TemplateProcessing(
        single=template, special_tokens=[("<s>", 0), ("</s>", 1)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, unk_token="<s>", bos_token="<s>")


@pytest.mark.parametrize(("template", "start"), [("<s> $A </s>", (0,)), ("$A </s>", ())])
def test_a_tokenizer_that_knows_few_letters(template: str, start: tuple[int, ...]) -> None:
    assert start_of(unknowing(template)) == start


class _ByText:
    """Begins a text by the language it seems to be in, and drops letters that it does not know."""

    def __init__(self, languages: Mapping[str, int], known: str) -> None:
        self.languages, self.known = languages, known

    def __call__(
        self, text: str, *, add_special_tokens: bool = True, verbose: bool = True
    ) -> dict[str, Any]:
        own = [50 + self.known.index(letter) for letter in text if letter in self.known]
        first = next((n for letter, n in self.languages.items() if letter in text), 40)
        return {"input_ids": [9, first, *own, 10] if add_special_tokens else own}


def test_what_depends_on_the_text_is_left_out_and_said(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="mwanda"):
        assert start_of(_ByText({}, "abЖя文")) == (9, 40)
        assert not caplog.messages
        assert start_of(_ByText({"文": 41}, "abЖя文")) == (9,)
    assert "begins texts differently" in caplog.text
    assert start_of(_ByText({}, "b")) == (9, 40)


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_window_begins_so(tmp_path: Path, template: str) -> None:
    from mwanda.text.sources import open_source

    start, tokenizer = TEMPLATES[template], begun(template)
    write_corpus(tmp_path, ["de"], lines=40)
    source = open_source(tmp_path)
    drawn = draw(source, tokenizer, ["de"], windows=4, length=16, seed=0)
    tokens = drawn.tokens["de"]
    assert tokens.shape == (4, 16)
    assert [tuple(row) for row in tokens[:, : len(start)].tolist()] == [start] * 4
    assert not ((tokens[:, len(start) :] < 3).any())  # and with nothing of it inside
    plain = draw(source, tiny_tokenizer(bos=False), ["de"], windows=4, length=16, seed=0)
    flat = plain.tokens["de"].flatten()
    assert torch.equal(tokens[:, len(start) :].flatten(), flat[: 4 * (16 - len(start))])
    shown = {0: "none", 1: "first token of every window: id {}",
             2: "first tokens of every window: ids {}, {}"}  # fmt: skip
    assert drawn.bos == shown[len(start)].format(*start)
    with pytest.raises(
        mwanda.InputError, match=f"length: expected at least {max(2, 1 + len(start))}"
    ):
        draw(source, tokenizer, ["de"], windows=1, length=max(1, len(start)), seed=0)


@pytest.mark.parametrize("start", [(), (7,), (7, 8), (7, 8, 9)])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 30])
@pytest.mark.parametrize("limit", [4, 5, 9])
def test_each_token_is_scored_once_and_none_of_the_start(
    start: tuple[int, ...], count: int, limit: int
) -> None:
    ids = list(range(100, 100 + count))
    pieces = list(cut(0, ids, start, limit))
    scored = [token for piece in pieces for token in piece.ids[piece.first :]]
    assert scored == (ids if start else ids[1:])
    for piece in pieces:
        assert len(piece.ids) <= limit
        assert tuple(piece.ids[: len(start)]) == start
        assert piece.first >= max(1, len(start))


@pytest.fixture
def xglm(tmp_path: Path) -> Path:
    folder = tmp_path / "xglm"
    letters = "abcdefghijklmnopqrstuvwxyzäöüéåı.ABCDEFGHIJKLMNOPQRSTUVWXYZ▁0123456789"
    vocabulary = [("<s>", 0.0), ("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    tokenizer = XGLMTokenizer(vocab=[*vocabulary, *((letter, -3.0) for letter in letters)])
    tokenizer.save_pretrained(folder)
    config = XGLMConfig(
        vocab_size=96, d_model=32, ffn_dim=48, num_layers=2, attention_heads=4,
        max_position_embeddings=64,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("kind", ["xglm", "two", "suffix"])
def test_evaluation_and_prune_begin_as_the_tokenizer_does(
    tmp_path: Path, xglm: Path, kind: str
) -> None:
    folder, template = xglm, {"two": "<pad> <bos> $A", "suffix": "<bos> $A <eos>"}.get(kind)
    if template is not None:
        folder = tiny_model("llama", tmp_path / kind)
        begun(template).save_pretrained(folder)
    tokenizer, model = (
        kind.from_pretrained(folder) for kind in (AutoTokenizer, AutoModelForCausalLM)
    )
    start = {"xglm": [2], "two": [0, 1], "suffix": [1]}[kind]
    text = "huset vid"
    ids = [*start, *token_ids(tokenizer, text)]
    with torch.no_grad():
        logits = model.eval()(torch.tensor([ids])).logits[0].log_softmax(-1)
    places = range(len(start), len(ids))
    nll = -sum(float(logits[place - 1, ids[place]]) for place in places)
    result = mwanda.evaluate(folder, TextSet("made", {"sv": [text]}, None, ""))
    assert result.languages["sv"].nll == pytest.approx(nll, rel=1e-5)
    assert result.languages["sv"].tokens == len(places)
    shown = "before every text: id" + ("s 0, 1" if kind == "two" else f" {start[0]}")
    assert result.settings["bos"] == shown
    write_corpus(tmp_path / "text", ["de"], lines=60)
    mwanda.prune(folder, out=tmp_path / "out", calibration=tmp_path / "text", windows=2,
                 window_length=32, criterion="wanda", allocation="uniform")  # fmt: skip
    known = read_manifest(tmp_path / "out").calibration
    assert known is not None
    words = (
        "tokens of every window: ids 0, 1"
        if kind == "two"
        else f"token of every window: id {start[0]}"
    )
    assert known.bos == f"first {words}"


def test_answers_are_scored_without_what_the_tokenizer_puts_at_the_end(tmp_path: Path) -> None:
    from mwanda.evaluation.tasks.harness import wrapped

    folder = tiny_model("llama", tmp_path)
    model = AutoModelForCausalLM.from_pretrained(folder).eval()
    plain = wrapped(model, begun("<bos> $A"), 2)
    lm = wrapped(model, begun("<bos> $A <eos>"), 2)
    two = wrapped(model, begun("<pad> <bos> $A"), 2)
    assert lm.tok_encode("ab") == plain.tok_encode("ab") == [1, *token_ids(tiny_tokenizer(), "ab")]
    assert two.tok_encode("ab")[:2] == [0, 1]
    assert lm._encode_pair("Der", " Hund") == plain._encode_pair("Der", " Hund")
    assert lm.max_length == 128
    assert log_likelihood(model, begun("<bos> $A"), "Der", " Hund") == pytest.approx(
        lm._loglikelihood_tokens([(("Der", " Hund"), *lm._encode_pair("Der", " Hund"))],
                                 disable_tqdm=True)[0][0], rel=1e-4,
    )  # fmt: skip


def test_files_of_windows_with_one_or_several_can_be_read(tmp_path: Path) -> None:
    from mwanda.text.sources import open_source
    from mwanda.text.window_files import save

    write_corpus(tmp_path / "text", ["de"], lines=40)
    source = open_source(tmp_path / "text")
    for place, template in enumerate(TEMPLATES):
        drawn = draw(source, begun(template), ["de"], windows=2, length=16, seed=0)
        save(drawn, tmp_path / f"{place}.safetensors")
        again = load(tmp_path / f"{place}.safetensors")
        assert (again.bos, again.draws) == (drawn.bos, drawn.draws)
