"""What is given from Python is taken as what it plainly is, or refused by one typed error."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

import mwanda
from mwanda import InputError, Recipe
from mwanda.text.given import GivenText, open_text
from mwanda.text.rows import Document
from tests.support.folders_made import Tiny
from tests.support.text import write_corpus

SHORT: dict[str, Any] = {
    "criterion": "wanda", "allocation": "uniform", "windows": 2, "window_length": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    write_corpus(folder, ["de", "sw"], lines=30)
    return folder


def lines(corpus: Path, tag: str) -> list[str]:
    return (corpus / f"{tag}.txt").read_text(encoding="utf-8").splitlines()


def masks(result: Any) -> list[str]:
    return [linear.mask_sha256 for linear in result.manifest.linears.values()]


@pytest.fixture(scope="module")
def wanted(tiny: Tiny, corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    out = tmp_path_factory.mktemp("wanted") / "out"
    return masks(mwanda.prune(tiny("llama"), out=out, calibration=corpus, sparsity=0.5, **SHORT))


FORMS: dict[str, Callable[[Path], Any]] = {
    "path": lambda corpus: corpus,
    "text": str,
    "lists": lambda corpus: {tag: lines(corpus, tag) for tag in ("de", "sw")},
    "generators": lambda corpus: {t: (line for line in lines(corpus, t)) for t in ("sw", "de")},
    "records": lambda corpus: {
        "de": [{"text": line, "id": n} for n, line in enumerate(lines(corpus, "de"))],
        "sw": [Document(line) for line in lines(corpus, "sw")],
    },
    "a source": open_text,
}
FORMS["other codes"] = lambda corpus: {"deu": lines(corpus, "de"), "swh_Latn": lines(corpus, "sw")}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("memory", [True, False])
def test_text_in_any_form(
    tiny: Tiny, corpus: Path, tmp_path: Path, wanted: list[str], form: str, memory: bool
) -> None:
    given = {"calibration": FORMS[form](corpus), "sparsity": "0.5", **SHORT}
    if memory:
        model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
        made = mwanda.prune(model, tokenizer=str(tiny("llama")), **given)
    else:
        made = mwanda.prune(tiny("llama"), out=str(tmp_path / "out"), **given)
    assert masks(made) == wanted


def test_given_texts_are_known_again(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    texts = {"de": lines(corpus, "de")}
    made = mwanda.prune(tiny("llama"), out=tmp_path / "out", calibration=texts, **SHORT).manifest
    assert made.calibration is not None
    assert made.calibration.source == "given texts"
    assert made.calibration.languages["de"].source_sha256 == GivenText(texts).fingerprint("de")
    with pytest.raises(InputError, match="share sentences with it"):
        mwanda.evaluate(tmp_path / "out", texts)
    other = {"de": ["Etwas ganz anderes steht in diesem einen Satz."]}
    assert mwanda.evaluate(tmp_path / "out", other, languages="de").seen == ("de",)


@pytest.mark.parametrize(
    ("given", "tags"),
    [("de", ["de"]), ("de, swa", ["de", "sw"]), (("sw", "de"), ["sw", "de"]), ({"sw", "de"}, None),
     ((tag for tag in ["sw"]), ["sw"]), ({"de": 1}.keys(), ["de"])],
)  # fmt: skip
def test_languages_in_any_form(corpus: Path, given: Any, tags: list[str] | None) -> None:
    assert list(mwanda.read_texts(corpus, given).texts) == (tags or ["de", "sw"])


def test_the_tokenizer_of_a_processor_or_a_folder(tiny: Tiny, corpus: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny("llama"))
    own = AutoTokenizer.from_pretrained(tiny("llama"))
    processor = type("Processor", (), {"tokenizer": own})()
    results = [
        mwanda.evaluate(model, corpus, sentences=2, tokenizer=one).languages["de"].sentence_nll
        for one in (own, processor, tiny("llama"), str(tiny("llama")))
    ]
    assert all(one == results[0] for one in results)


def test_a_recipe_in_any_form(tiny: Tiny, corpus: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    fields = {"sparsity": 0.25, "languages": "de", **SHORT}
    path.write_text("".join(f"{k}: {v}\n" for k, v in fields.items()), encoding="utf-8")
    plans = {
        mwanda.plan(tiny("llama"), recipe=one, calibration=corpus).removed
        for one in (path, str(path), fields, Recipe.build(fields))
    }
    assert len(plans) == 1


def test_verify_takes_text(tiny: Tiny, tmp_path: Path) -> None:
    mwanda.prune(tiny("llama"), out=tmp_path / "o", criterion="magnitude")
    assert not mwanda.verify(str(tmp_path / "o")).problems


def test_a_mistake_in_a_recipe_has_one_traceback() -> None:
    with pytest.raises(InputError) as caught:
        mwanda.prune("model", sparsity=2)
    assert caught.value.__suppress_context__
