"""What a trim costs adds up from its tokens and from the rows that are gone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers.processors import TemplateProcessing

import mwanda
from mwanda.errors import InputError
from mwanda.model.source import load_tokenizer
from tests.pruned.trim.test_trim import with_weights
from tests.pruned.trim.vocabularies import learn, save, texts


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_weights(save(learn("unigram"), tmp_path_factory.mktemp("m")), tied=True)


@pytest.mark.parametrize("by", ["script", "text"])
def test_the_parts_add_up(model: Path, tmp_path: Path, by: str) -> None:
    lossy = {"by": "text", "text": "bundled:udhr/first", "budget": 128, "allow_loss": True}
    mwanda.trim(model, tmp_path / "t", "de", **(lossy if by == "text" else {}))
    lines = {"de": [*texts("de")][-6:]}
    loss = mwanda.trim_loss(model, tmp_path / "t", lines)["de"]
    before, after = (mwanda.evaluate(f, lines).languages["de"] for f in (model, tmp_path / "t"))
    assert loss.whole == pytest.approx(before.nll_per_sentence)
    rise = after.nll_per_sentence - before.nll_per_sentence
    assert loss.total == pytest.approx(rise, abs=1e-3)
    assert loss.softmax < 0
    if by == "script":
        assert loss.tokenisation == 0
    else:
        assert abs(loss.tokenisation) > 1


def test_a_trim_is_compared_with_its_source_wherever_the_first_token_lies(tmp_path: Path) -> None:
    tokenizer, first = learn("byte-level"), "<|begin|>"
    tokenizer.add_special_tokens([first])
    tokenizer.post_processor = TemplateProcessing(
        single=f"{first} $A", special_tokens=[(first, tokenizer.token_to_id(first))]
    )
    whole = with_weights(save(tokenizer, tmp_path / "m"), tied=True)
    mwanda.trim(whole, tmp_path / "t", "de")
    lines = {"de": [*texts("de")][-6:]}
    before, after = (mwanda.evaluate(folder, lines) for folder in (whole, tmp_path / "t"))
    assert before.settings["bos"] != after.settings["bos"]
    assert before.settings["start"] == after.settings["start"] == [first]
    assert mwanda.Comparison.of(before, after).worst.rise < 0


def test_code_that_a_model_brings_is_run_for_its_trim_too(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mwanda.trim(model, tmp_path / "t", "de")
    trusted = []

    def loaded(folder: Path, *, trust_remote_code: bool = False) -> Any:
        trusted.append(trust_remote_code)
        return load_tokenizer(folder, trust_remote_code=trust_remote_code)

    monkeypatch.setattr("mwanda.evaluation.trim_loss.load_tokenizer", loaded)
    options = mwanda.RunOptions(trust_remote_code=True)
    mwanda.trim_loss(model, tmp_path / "t", {"de": [*texts("de")][-2:]}, options=options)
    assert trusted == [True]


def test_a_folder_that_no_trim_made_is_refused(model: Path) -> None:
    with pytest.raises(InputError, match="mwanda trim wrote"):
        mwanda.trim_loss(model, model, {"de": ["Guten Tag"]})
